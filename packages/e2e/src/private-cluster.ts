import { SignJWT } from "jose";
import { inject } from "vitest";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";

// A cluster whose gateway verifies tokens and connects as the role that the README's recipe makes: by itself it may read
// nothing.

const secret = "a-secret-of-at-least-32-characters!!";
/** The role that the gateway connects as. */
export const gate = "private_gate";

export async function startPrivate({ schema }: { readonly schema?: string } = {}): Promise<Cluster> {
  const started = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways: 0,
    ...(schema === undefined ? {} : { schema }),
    env: {
      SECURE_CHANNELS: "true",
      JWT_SECRET: secret,
      POLICY_CACHE_MS: "200",
      PRESENCE_ENABLED: "true",
      CHANNEL_ERROR_BACKOFF_MS: "0",
    },
  });
  await started.sql.query(`
    DO $$ BEGIN CREATE ROLE ${gate} LOGIN NOINHERIT PASSWORD 'gate'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    DO $$ BEGIN CREATE ROLE private_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    GRANT private_user TO ${gate}`);
  const url = new URL(started.database.url);
  url.username = gate;
  url.password = "gate";
  await untilHealthy(await started.addGateway({ DATABASE_URL: url.href }));
  return started;
}

/** Of a `private_user` unless the claims name another role. */
export const privateToken = (claims: object): Promise<string> =>
  new SignJWT({ role: "private_user", ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
