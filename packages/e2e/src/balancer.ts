import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** Connections go to one server after the other; one that refuses is passed over. */
export interface Balancer {
  readonly port: number;
  /** Ends the connections that are chosen, without a word; returns how many. */
  cut(isChosen: () => boolean): number;
  /** Ends all connections, and new ones at once, until `open()`. */
  shut(): void;
  open(): void;
  stop(): void;
}

/** `ports`: asked for each connection, so that servers may come and go. */
export async function startBalancer(ports: () => readonly number[]): Promise<Balancer> {
  const sockets = new Set<Socket>();
  const clients = new Set<Socket>();
  let turn = 0;
  let isShut = false;
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
    clients.add(near);
    near.on("error", () => undefined);
    near.once("close", () => {
      sockets.delete(near);
      clients.delete(near);
    });
    if (isShut) return void near.destroy();
    const all = ports();
    const first = turn++ % Math.max(1, all.length);
    pass(near, [...all.slice(first), ...all.slice(0, first)]);
  });
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 });
  await once(server, "listening");
  const cut = (isChosen: () => boolean): number => {
    const chosen = [...clients].filter(() => isChosen());
    for (const client of chosen) client.destroy();
    return chosen.length;
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    shut() {
      isShut = true;
      cut(() => true);
    },
    open() {
      isShut = false;
    },
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
