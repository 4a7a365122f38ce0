import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface ProxyOptions {
  /** The URL of a server on this machine; any scheme. */
  readonly target: string;
}

/** A network between two programs that a test can break. */
export interface TcpProxy {
  /** The target's URL with the proxy's address. */
  readonly url: string;
  readonly port: number;
  /** How many connections stand. */
  readonly connections: number;
  /** Resets every connection and refuses new ones: both ends know at once. */
  cut(): void;
  /** Nothing passes, not even the end of a connection: what is sent waits, and neither end is told. */
  stall(): void;
  /** What passes takes this many milliseconds longer, in each direction. */
  delay(ms: number): void;
  /** Ends every trouble: what waited passes now. */
  heal(): void;
  /** New connections go to another server, as after a failover; those that stand stay. */
  retarget(target: string): void;
  stop(): Promise<void>;
}

const loopback = "127.0.0.1";

/** Unsent bytes in one direction at which reading stops, as a socket's buffers would make it. */
const laneLimitBytes = 1024 * 1024;

type Parcel = { readonly tag: "bytes"; readonly bytes: Buffer } | { readonly tag: "end" } | { readonly tag: "close" };

interface Conditions {
  isStalled: boolean;
  delayMs: number;
}

/** Listens on a free port of the loopback interface and passes everything on to the target. */
export async function startProxy({ target }: ProxyOptions): Promise<TcpProxy> {
  let to = new URL(target);
  const conditions: Conditions = { isStalled: false, delayMs: 0 };
  const links = new Set<Link>();
  let isCut = false;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    near.on("error", () => undefined); // `close` follows, and says enough
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: to.hostname, port: Number(to.port), allowHalfOpen: true, noDelay: true });
    far.on("error", () => undefined);
    const link = new Link({ near, far, conditions, onEnd: () => links.delete(link) });
    links.add(link);
  });
  server.listen(0, loopback);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const url = new URL(target);
  url.hostname = loopback; // `localhost` may be another address first
  url.port = String(port);
  const cutAll = (): void => {
    for (const link of links) link.reset();
  };
  return {
    url: target.endsWith("/") ? url.href : url.href.replace(/\/$/u, ""),
    port,
    get connections() {
      return links.size;
    },
    cut() {
      isCut = true;
      cutAll();
    },
    stall() {
      conditions.isStalled = true;
    },
    delay(ms) {
      conditions.delayMs = ms;
    },
    heal() {
      isCut = conditions.isStalled = false;
      conditions.delayMs = 0;
      for (const link of links) link.wake();
    },
    retarget(next) {
      to = new URL(next);
    },
    async stop() {
      server.close();
      cutAll();
      await once(server, "close");
    },
  };
}

/** One connection: a lane in each direction, which also carry its end, so that a stall holds that back too. */
class Link {
  readonly #sockets: readonly [near: Socket, far: Socket];
  readonly #lanes: readonly Lane[];
  readonly #onEnd: () => void;

  constructor(options: { near: Socket; far: Socket; conditions: Conditions; onEnd: () => void }) {
    const { near, far, conditions, onEnd } = options;
    this.#sockets = [near, far];
    this.#onEnd = onEnd;
    const ended = (): void => {
      if (near.destroyed && far.destroyed) onEnd();
    };
    this.#lanes = [new Lane(near, far, conditions), new Lane(far, near, conditions)];
    for (const socket of this.#sockets) socket.once("close", ended);
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    for (const lane of this.#lanes) lane.stop();
    this.#onEnd();
  }

  wake(): void {
    for (const lane of this.#lanes) lane.wake();
  }
}

class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #conditions: Conditions;
  readonly #parcels: { readonly parcel: Parcel; readonly arrivedMs: number }[] = [];
  #bytes = 0;
  #isClogged = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, conditions: Conditions) {
    [this.#from, this.#to, this.#conditions] = [from, to, conditions];
    from.on("data", (bytes) => this.#add({ tag: "bytes", bytes }));
    from.on("end", () => this.#add({ tag: "end" }));
    from.on("close", () => this.#add({ tag: "close" }));
    to.on("drain", () => {
      this.#isClogged = false;
      this.wake();
    });
  }

  wake(): void {
    const { isStalled, delayMs } = this.#conditions;
    clearTimeout(this.#timer);
    for (let head = this.#parcels[0]; head !== undefined; head = this.#parcels[0]) {
      if (isStalled || (this.#isClogged && !this.#to.destroyed)) return;
      const waitMs = head.arrivedMs + delayMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.wake(), Math.ceil(waitMs));
        return;
      }
      this.#parcels.shift();
      this.#deliver(head.parcel);
    }
    if (!this.#from.destroyed) this.#from.resume();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#parcels.length = 0;
  }

  #add(parcel: Parcel): void {
    if (parcel.tag === "bytes") this.#bytes += parcel.bytes.length;
    this.#parcels.push({ parcel, arrivedMs: performance.now() });
    if (this.#bytes > laneLimitBytes) this.#from.pause();
    this.wake();
  }

  #deliver(parcel: Parcel): void {
    switch (parcel.tag) {
      case "bytes":
        this.#bytes -= parcel.bytes.length;
        if (!this.#to.destroyed) this.#isClogged = !this.#to.write(parcel.bytes);
        return;
      case "end":
        return void this.#to.end();
      case "close":
        return void (this.#from.readableEnded ? this.#to.destroySoon() : this.#to.resetAndDestroy());
    }
  }
}
