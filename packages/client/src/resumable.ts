import { ResumeState, type ResumeStateOptions } from "./resume-state.ts";

type MessageHandler = ((event: { readonly data: unknown }) => void) | null;

/** The part of a WebSocket that is looked into. */
declare class SocketBase {
  constructor(url: string, protocols?: string | string[]);
  get onmessage(): MessageHandler;
  set onmessage(handler: MessageHandler);
  send(data: string | ArrayBufferLike | ArrayBufferView): void;
  addEventListener(type: string, listener: () => void): void;
  dispatchEvent(event: Event): boolean;
}

export interface ResumableOptions extends ResumeStateOptions {
  /** The platform's own unless given: browsers, Node 22, Deno and Bun have one. */
  readonly WebSocket?: unknown;
}

export interface Resumable {
  /** For the client's `transport` option. */
  readonly transport: new (url: string, protocols?: string | string[]) => WebSocket;
  /** Position after which the topic (`realtime:<name>`) would continue. */
  position(topic: string): string | undefined;
  /** The next join of the topic begins anew. */
  forget(topic: string): void;
}

/**
 * Makes a client continue where it was: pass `transport` to its constructor, and nothing else changes.
 *
 *     const resuming = resumable({ onGap: ({ topic }) => reload(topic) });
 *     new RealtimeClient(url, { transport: resuming.transport });
 *     createClient(url, key, { realtime: { transport: resuming.transport } });
 *
 * It remembers per channel the position of what was received, asks for the rest at each rejoin, and drops what came before.
 * Works on the wire, so with every version of the client. One for each client.
 */
export function resumable(options: ResumableOptions = {}): Resumable {
  const state = new ResumeState(options);
  const Base = (options.WebSocket ?? globalThis.WebSocket) as typeof SocketBase;

  class ResumingWebSocket extends Base {
    // Clients of version 1 hand over more than a socket takes.
    constructor(url: string, protocols?: string | string[]) {
      super(url, Array.isArray(protocols) && protocols.length === 0 ? undefined : protocols);
      closeAfterError(this);
    }

    override get onmessage(): MessageHandler {
      return super.onmessage;
    }

    override set onmessage(handler: MessageHandler) {
      super.onmessage =
        handler === null
          ? null
          : (event) => {
              if (typeof event.data !== "string" || state.incoming(event.data)) handler.call(this, event);
            };
    }

    override send(data: string | ArrayBufferLike | ArrayBufferView): void {
      super.send(typeof data === "string" ? state.outgoing(data) : data);
    }
  }

  return {
    transport: ResumingWebSocket as unknown as Resumable["transport"],
    position: (topic) => state.position(topic),
    forget: (topic) => state.forget(topic),
  };
}

/** Node 22's WebSocket says nothing more after a connection was refused, and clients wait for the close to try again. */
function closeAfterError(socket: SocketBase): void {
  let isClosed = false;
  socket.addEventListener("close", () => (isClosed = true));
  socket.addEventListener("error", () =>
    setTimeout(() => {
      if (!isClosed)
        socket.dispatchEvent(Object.assign(new Event("close"), { code: 1006, reason: "", wasClean: false }));
    }),
  );
}
