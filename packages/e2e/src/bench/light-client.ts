import { connect, type Socket } from "node:net";

// A WebSocket client that does next to nothing for a frame, so that thousands in one process can take more than a server
// gives. Only what servers send is understood (RFC 6455, section 5.2): unmasked, unfragmented data frames, and close.

/** What all clients of one load have received. */
export interface Tally {
  frames: number;
  closed: number;
  /** Called whenever `frames` has grown. */
  onProgress?: () => void;
}

const closeOpcode = 8;

export interface Target {
  readonly host?: string;
  readonly port: number;
  readonly path: string;
}

/** Of all clients: one is read at a time. A buffer for each read made more garbage than all else of the load. */
const readBuffer = Buffer.alloc(65_536);

export class LightClient {
  readonly #socket: Socket;
  readonly #tally: Tally;
  #carry: Buffer | undefined;
  #isUpgraded = false;
  /** Bytes of the current frame that are still to come and are not looked at. */
  #skip = 0;
  #waiter: { readonly text: string; readonly resolve: () => void } | undefined;
  /** Given every frame; undefined: frames are counted only. */
  onFrame: ((payload: Buffer) => void) | undefined;
  /** Whoever ended it. */
  onClose: (() => void) | undefined;

  private constructor(socket: Socket, tally: Tally) {
    this.#socket = socket;
    this.#tally = tally;
    socket.setNoDelay(true);
    socket.on("close", () => {
      tally.closed++;
      this.onClose?.();
    });
    socket.on("error", () => undefined); // told by the close
  }

  /** Resolves when the server has taken the upgrade. */
  static async open(target: Target, tally: Tally): Promise<LightClient> {
    const { host = "127.0.0.1", port } = target;
    const callback = (length: number, buffer: Uint8Array): boolean => {
      client.#take((buffer as Buffer).subarray(0, length));
      return true;
    };
    const socket = connect({ host, port, onread: { buffer: readBuffer, callback } });
    const client = new LightClient(socket, tally);
    socket.write(
      `GET ${target.path} HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        "Sec-WebSocket-Key: d2FsY2FzdC1iZW5jaG1hcg==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    await client.#until("");
    return client;
  }

  /** Sends text frames in one write. */
  send(...texts: readonly string[]): void {
    this.#socket.write(Buffer.concat(texts.map((text) => maskedFrame(Buffer.from(text)))));
  }

  /** Resolves at the first frame that holds the text. Call it before the server can have sent it. */
  until(text: string): Promise<void> {
    return this.#until(text);
  }

  end(): void {
    this.#socket.destroy();
  }

  #until(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiter = { text, resolve };
      this.#socket.once("close", () => reject(new Error(`the connection ended before '${text}'`)));
    });
  }

  /** The chunk is somebody else's when it returns. */
  #take(chunk: Buffer): void {
    let bytes = this.#carry === undefined ? chunk : Buffer.concat([this.#carry, chunk]);
    this.#carry = undefined;
    if (!this.#isUpgraded) {
      const end = bytes.indexOf("\r\n\r\n");
      if (end === -1) return void (this.#carry = Buffer.from(bytes));
      if (!bytes.toString("latin1", 0, 12).endsWith("101")) return this.end();
      this.#isUpgraded = true;
      bytes = bytes.subarray(end + 4);
      this.#found();
    }
    const before = this.#tally.frames;
    const rest = this.#frames(bytes);
    if (rest < bytes.length) this.#carry = Buffer.from(bytes.subarray(rest));
    if (this.#tally.frames !== before) this.#tally.onProgress?.();
  }

  /** Returns where what is left for the next chunk begins. */
  #frames(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at);
        this.#skip -= skipped;
        at += skipped;
        if (this.#skip === 0) this.#tally.frames++;
        continue;
      }
      const short = (bytes[at + 1] ?? 0) & 127;
      const header = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (at + header > bytes.length) return at;
      const length = short === 126 ? bytes.readUInt16BE(at + 2) : short === 127 ? bytes.readUInt32BE(at + 6) : short;
      if (((bytes[at] ?? 0) & 15) === closeOpcode) this.end();
      if (this.#waiter === undefined && this.onFrame === undefined) {
        at += header;
        this.#skip = length;
        if (length === 0) this.#tally.frames++;
        continue;
      }
      const end = at + header + length;
      if (end > bytes.length) return at;
      const payload = bytes.subarray(at + header, end);
      this.onFrame?.(payload);
      if (this.#waiter !== undefined && payload.includes(this.#waiter.text)) this.#found();
      this.#tally.frames++;
      at = end;
    }
    return at;
  }

  #found(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resolve();
  }
}

/** Masked as clients must, with a mask of zeros. */
function maskedFrame(payload: Buffer): Buffer {
  const { length } = payload;
  const header = length < 126 ? Buffer.from([0x81, 0x80 | length, 0, 0, 0, 0]) : Buffer.alloc(length < 65_536 ? 8 : 14);
  if (length >= 126 && length < 65_536) {
    header.set([0x81, 0xfe]);
    header.writeUInt16BE(length, 2);
  } else if (length >= 65_536) {
    header.set([0x81, 0xff]);
    header.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([header, payload]);
}

/** Opens clients, so many at a time that the server's backlog of connections holds them. */
export async function openMany(count: number, open: (index: number) => Promise<LightClient>): Promise<LightClient[]> {
  const clients: LightClient[] = [];
  const atOnce = 100;
  for (let i = 0; i < count; i += atOnce) {
    const some = Array.from({ length: Math.min(atOnce, count - i) }, (_, j) => open(i + j));
    clients.push(...(await Promise.all(some)));
  }
  return clients;
}
