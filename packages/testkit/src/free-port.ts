import { createServer } from "node:net";

/** A TCP port of the loopback interface that nothing listens on right now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") {
        reject(new Error("the listening socket has no port"));
        return;
      }
      server.close(() => resolve(address.port));
    });
  });
}
