import { readFrame, withExplain, type Frame } from "./frame.ts";

export interface Tap {
  readonly onOpen: () => void;
  readonly onClose: () => void;
  readonly onFrame: (frame: Frame) => void;
}

/** A WebSocket that is looked at from outside, and whose joins also ask why. */
export function tappedSocket({ onOpen, onClose, onFrame }: Tap): typeof WebSocket {
  return class TappedSocket extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener("open", onOpen);
      this.addEventListener("close", onClose);
      this.addEventListener("message", ({ data }) => onFrame(readFrame(data, { direction: "in", atMs: Date.now() })));
    }

    override send(data: string | ArrayBuffer | Blob | ArrayBufferView<ArrayBuffer>): void {
      const sent = typeof data === "string" ? withExplain(data) : data;
      onFrame(readFrame(sent, { direction: "out", atMs: Date.now() }));
      super.send(sent);
    }
  };
}
