import { serializerV1, serializerV2, type Serializer } from "@walcast/protocol";

/** Those who hear the same frames and speak one version of the wire format. */
export interface Listeners {
  readonly serializer: Serializer;
  /** The native topic that their sockets are subscribed to. */
  readonly name: string;
  count: number;
}

/** One for each serializer: a message costs as many frames, however many listen. `name` is unique on this gateway. */
export const createListeners = (name: string): readonly Listeners[] =>
  [serializerV1, serializerV2].map((serializer) => ({ serializer, name: `${name} ${serializer.vsn}`, count: 0 }));

/** What listening needs of a socket. */
export interface ListeningSocket {
  subscribe(name: string): void;
  unsubscribe(name: string): void;
}

/** Whether one channel listens, which its socket and the count of listeners follow. */
export class Listening {
  readonly #socket: ListeningSocket;
  readonly #listeners: Listeners | undefined;
  #isOn = false;

  constructor(socket: ListeningSocket, listeners: readonly Listeners[], serializer: Serializer) {
    this.#socket = socket;
    this.#listeners = listeners.find((those) => those.serializer === serializer);
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  set(isOn: boolean): void {
    if (isOn === this.#isOn || this.#listeners === undefined) return;
    if (isOn) this.#socket.subscribe(this.#listeners.name);
    else this.#socket.unsubscribe(this.#listeners.name);
    this.#count(this.#listeners, isOn);
  }

  /** `isOpen`: the socket is still there. */
  end({ isOpen }: { readonly isOpen: boolean }): void {
    if (isOpen) this.set(false);
    else if (this.#isOn && this.#listeners !== undefined) this.#count(this.#listeners, false);
  }

  #count(listeners: Listeners, isOn: boolean): void {
    listeners.count += isOn ? 1 : -1;
    this.#isOn = isOn;
  }
}
