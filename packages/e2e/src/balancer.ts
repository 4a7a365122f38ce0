import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** Connections go to one server after the other; one that refuses is passed over. */
export interface Balancer {
  readonly port: number;
  stop(): void;
}

/** `ports`: asked for each connection, so that servers may come and go. */
export async function startBalancer(ports: () => readonly number[]): Promise<Balancer> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const pass = (near: Socket, targets: readonly number[]): void => {
    const [port, ...others] = targets;
    if (port === undefined) return void near.destroy();
    const far = connect({ host: "127.0.0.1", port, noDelay: true });
    let isOpen = false;
    far.once("connect", () => {
      isOpen = true;
      near.pipe(far);
      far.pipe(near);
    });
    far.on("error", () => undefined); // told by the close
    far.once("close", () => {
      sockets.delete(far);
      if (isOpen || near.destroyed) near.destroy();
      else pass(near, others);
    });
    near.once("close", () => far.destroy());
    sockets.add(far);
  };
  const server = createServer({ noDelay: true }, (near) => {
    sockets.add(near);
    near.on("error", () => undefined);
    near.once("close", () => sockets.delete(near));
    const all = ports();
    const first = turn++ % Math.max(1, all.length);
    pass(near, [...all.slice(first), ...all.slice(0, first)]);
  });
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 });
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
