import type { MemberSocket } from "./member.ts";

/** The socket as a connection sees it. Nothing may be called after it was closed. */
export interface ClientSocket extends MemberSocket {
  /** Bytes are a binary frame. */
  send(frame: string | Uint8Array): void;
  /** Text frames in one write. */
  sendAll(frames: readonly Uint8Array[]): void;
  /** What was sent and has not left this process. */
  unsentBytes(): number;
  end(code: number, reason: string): void;
  /** Behind everything that was sent and published so far. */
  ping?(payload: string): void;
}
