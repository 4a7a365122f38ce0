import type { KeysFacts, RedisFacts } from "./facts.ts";
import { elsewhere, setting, type Finding } from "./finding.ts";
import type { TokenSettings } from "./settings.ts";

/** What Redis does with presence when memory runs out, and whether it takes writes. */
export function checkRedis({ evictionPolicy, maxMemoryBytes, isReplica }: RedisFacts): readonly Finding[] {
  const findings: Finding[] = [];
  if (isReplica) {
    findings.push({
      severity: "error",
      code: "REDIS_REPLICA",
      subject: "Redis",
      reason: "it is a replica and takes no writes",
      fix: setting("REDIS_URL: the primary"),
    });
  }
  if (maxMemoryBytes > 0 && evictionPolicy !== undefined && evictionPolicy !== "noeviction") {
    findings.push({
      severity: "warning",
      code: "REDIS_EVICTION",
      subject: "Redis",
      reason: `maxmemory-policy is ${evictionPolicy}: when memory is full, members vanish from presence without leaving`,
      fix: elsewhere("CONFIG SET maxmemory-policy noeviction"),
    });
  }
  return findings;
}

/** RFC 7518, section 3.2: a key of HS256 has at least as many bits as its hash. */
const leastSecretBytes = 32;

/** Whether tokens can be verified, and are worth it. */
export function checkTokens(settings: TokenSettings, keys: KeysFacts | undefined): readonly Finding[] {
  const { areVerified, secretBytes, hasInlineKeys, keysUrl } = settings;
  const findings: Finding[] = [];
  if (!areVerified) {
    findings.push({
      severity: "warning",
      code: "TOKENS_OPEN",
      subject: "SECURE_CHANNELS",
      reason: "it is false: whoever connects reads every published change",
      fix: setting("JWT_SECRET (or JWT_JWKS, JWT_JWKS_URL), and SECURE_CHANNELS=true"),
    });
    return findings;
  }
  if (secretBytes === undefined && !hasInlineKeys && keysUrl === undefined) {
    findings.push({
      severity: "error",
      code: "TOKEN_KEYS_MISSING",
      subject: "JWT_SECRET",
      reason: "there is nothing to verify tokens with: gateways do not start",
      fix: setting("JWT_SECRET, JWT_JWKS or JWT_JWKS_URL"),
    });
  }
  if (secretBytes !== undefined && secretBytes < leastSecretBytes) {
    findings.push({
      severity: "warning",
      code: "TOKEN_SECRET_SHORT",
      subject: "JWT_SECRET",
      reason: `it has ${secretBytes} bytes; shorter than ${leastSecretBytes} it can be guessed from a token`,
      fix: setting("JWT_SECRET: `openssl rand -base64 48`, also where tokens are made"),
    });
  }
  if (keys?.problem !== undefined) {
    findings.push({
      severity: "error",
      code: "TOKEN_KEYS_UNAVAILABLE",
      subject: "JWT_JWKS_URL",
      reason: keys.problem,
      fix: setting("JWT_JWKS_URL, or let this machine reach it"),
    });
  }
  return findings;
}
