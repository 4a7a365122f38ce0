/** Something on this machine keeps the command from running. The message is one paragraph: what, why, what to do. */
export class ToolchainError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "ToolchainError";
  }
}

/** The user or a supervisor asked us to end while we were still installing. */
export class InterruptedError extends Error {
  constructor(signal) {
    super(`interrupted by ${signal}`);
    this.name = "InterruptedError";
    this.interruptedBy = signal;
  }
}

const REMEDIES = [
  [/ENOSPC/u, "The disk is full: free some space and run the command again."],
  [/EACCES|EPERM|EROFS/u, "A folder cannot be written: run as the owner of this checkout, or repair its permissions."],
  [
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|network|CERT|certificate/iu,
    "The npm registry does not answer: connect to the network, or set the registry, proxy and cafile in ~/.npmrc.",
  ],
  [/E401|E403|ERR_PNPM_FETCH_40[13]/u, "The npm registry refuses access: log in, or correct the token in ~/.npmrc."],
  [
    /E404|ETARGET|ERR_PNPM_FETCH_404|NO_MATCHING_VERSION/u,
    "The npm registry in use lacks this version: set one that has it.",
  ],
  [
    /OUTDATED_LOCKFILE/u,
    "A package.json changed without the lockfile: run `node deploy/toolchain/run.mjs pnpm install`.",
  ],
];

/** Pairs the end of an installer's output with the remedy it points to. */
export function explainFailure(what, output) {
  const tail = output.trim().split("\n").slice(-15).join("\n");
  const remedy = REMEDIES.find(([pattern]) => pattern.test(output))?.[1] ?? "The installer's last words are below.";
  return `${what} failed. ${remedy}\n${tail}`;
}
