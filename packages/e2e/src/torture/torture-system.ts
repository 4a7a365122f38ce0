import { startRedis, waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { startBalancer, type Balancer } from "../balancer.ts";
import { ChaosService } from "../chaos/chaos-service.ts";
import { startChaosSystem, type ChaosSystem } from "../chaos/chaos-system.ts";
import { role, tortureSchema } from "./workload.ts";

const secret = "a-secret-of-at-least-32-characters!!";

export interface TortureSystem {
  readonly chaos: ChaosSystem;
  readonly gateways: readonly ChaosService[];
  /** Two ways to the same gateways, so that some clients can be kept away. */
  readonly balancers: readonly Balancer[];
  stop(): Promise<void>;
}

/** PostgreSQL, NATS and two ingesters as in the chaos suite, and Redis and two gateways behind balancers. */
export async function startTortureSystem(env: Readonly<Record<string, string>>): Promise<TortureSystem> {
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).toReversed()) await end();
  };
  try {
    const chaos = await startChaosSystem({
      nats: "single",
      syncIntervalMs: 1_000,
      schema: tortureSchema,
      env: { LOG_LEVEL: "info", ...env },
    });
    stops.push(() => chaos.stop());
    const redis = await startRedis();
    stops.push(() => redis.stop());
    const gateways: ChaosService[] = [];
    for (const name of ["gateway 1", "gateway 2"]) {
      const gateway = await ChaosService.start({
        service: "gateway",
        name,
        postgresUrl: chaos.postgres.url,
        natsUrls: chaos.nats.map(({ url }) => url),
        env: {
          SOURCE_NAME: chaos.source,
          REDIS_URL: redis.url,
          JWT_SECRET: secret,
          DRAIN_MS: "2000",
          ...env,
        },
      });
      stops.push(() => gateway.stop());
      gateways.push(gateway);
    }
    for (const gateway of gateways)
      await waitUntil(async () => (await fetch(`http://127.0.0.1:${gateway.port}/readyz`)).ok, {
        what: `${gateway.name} to be ready`,
        timeoutMs: 30_000,
      });
    const running = (): number[] => gateways.filter(({ isRunning }) => isRunning).map(({ port }) => port);
    const balancers = [await startBalancer(running), await startBalancer(running)];
    for (const balancer of balancers) stops.push(() => balancer.stop());
    return { chaos, gateways, balancers, stop };
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
}

export const tokenOf = (user: string): Promise<string> =>
  new SignJWT({ role, sub: user })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("6h")
    .sign(new TextEncoder().encode(secret));
