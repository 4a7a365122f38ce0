import { docker, lines } from "@walcast/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

// What the one image is made of, and what it is not.

const image = "walcast-test-image";
const build = (tag: string, ...options: readonly string[]): Promise<string> =>
  docker([
    "build",
    "--quiet",
    "--file",
    "deploy/docker/Dockerfile",
    "--target",
    "walcast",
    "--tag",
    tag,
    ...options,
    ".",
  ]);

const confined = ["--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"];
const inside = (script: string, tag = image): Promise<string> =>
  docker(["run", ...confined, "--entrypoint=sh", tag, "-c", script]);

const inspect = async <T>(format: string): Promise<T> =>
  JSON.parse(await docker(["inspect", "--format", `{{json ${format}}}`, image])) as T;

beforeAll(() => build(image, "--build-arg=VERSION=1.2.3", "--build-arg=REVISION=abc"));
afterAll(async () => void (await docker(["rmi", "--force", image])));

test("adds at most 60 MB to its base", async () => {
  const [whole, base] = [
    await inspect<number>(".Size"),
    Number(await docker(["inspect", "--format={{.Size}}", "node:22-bookworm-slim"])),
  ];
  const addedMB = (whole - base) / 1e6;
  process.stdout.write(`${JSON.stringify({ image: "walcast", wholeMB: whole / 1e6, addedMB })}\n`);
  expect(addedMB).toBeLessThan(60);
});

test("has what the lock file names, and nothing else", async () => {
  const { components, metadata, serialNumber } = JSON.parse(await inside("cat /app/sbom.cdx.json")) as Sbom;
  const named = components.map(
    ({ group, name, version }) => `${group === undefined ? "" : `${group}/`}${name}@${version}`,
  );
  const folders = lines(await inside("ls /app/node_modules/.pnpm")).filter(
    (folder) => !["node_modules", "lock.yaml"].includes(folder),
  );
  const installed = folders.map((folder) => folder.replace(/(?<=.)_.*$/u, "").replace("+", "/"));
  const others = installed.filter((name) => !name.includes("@file+"));
  expect(others.length).toBeGreaterThan(30);
  expect(new Set(named)).toEqual(new Set(others));
  expect([metadata.timestamp, serialNumber]).toEqual([undefined, undefined]);
});

interface Sbom {
  readonly components: readonly { readonly group?: string; readonly name: string; readonly version: string }[];
  readonly metadata: { readonly timestamp?: string };
  readonly serialNumber?: string;
}

test("has the inspector built, compressed, and without what it was built from", async () => {
  const folder = "/app/node_modules/.pnpm/@walcast+inspector*/node_modules/@walcast/inspector";
  const page = lines(await inside(`cd ${folder}/dist/page && find . -type f`));
  expect(page).toEqual(expect.arrayContaining(["./index.html", "./index.html.br", "./licenses.md"]));
  expect(page.filter((name) => /^\.\/assets\/index-[\w-]{8}\.js(?:\.br|\.gz)?$/u.test(name))).toHaveLength(3);
  expect(await inside("ls /app/node_modules/.pnpm | grep -E '^(vite|preact|rolldown|@supabase)' || true")).toBe("");
});

test("holds native code of its own platform only, no build tools, and no types", async () => {
  const natives = lines(await inside("find / -xdev -name '*.node' 2>/dev/null || true"));
  expect(natives).toEqual([expect.stringMatching(/uws_linux_(x64|arm64)_127\.node$/u)]);
  expect(await inside("which npm npx pnpm yarn corepack gcc cc make python3 || true")).toBe("");
  expect(await inside("find /app -name '*.d.ts' -o -name '*.map' -o -name '*.test.js' | head")).toBe("");
});

test("runs as a user who owns nothing in it", async () => {
  expect(await inspect(".Config.User")).toBe("1000:1000");
  expect(await inside("id -u; find /app -writable ! -type l | head")).toBe("1000");
});

test("says what it is", async () => {
  expect(await inspect(".Config.Labels")).toMatchObject({
    "org.opencontainers.image.title": "walcast",
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.version": "1.2.3",
    "org.opencontainers.image.revision": "abc",
  });
  const help = await docker(["run", ...confined, image, "--help"]);
  for (const command of ["standalone", "ingester", "gateway", "migrate", "doctor", "drop-slot"])
    expect(help).toMatch(new RegExp(`^ +${command}\\b`, "mu"));
});

test("its HEALTHCHECK fails where nothing listens", async () => {
  const [, command] = await inspect<readonly string[]>(".Config.Healthcheck.Test");
  expect(command).toBe("node");
  expect(await inside("node /app/dist/healthcheck/main.js; echo $?")).toBe("1");
});

test("wrong settings are told, with the exit code for that", async () => {
  const attempt = docker(["run", ...confined, "--env=INGESTER_PROT=1", "--env=DB_PORT=x", image, "ingester"]);
  await expect(attempt).rejects.toThrow(/DB_PORT: must be a whole number[\s\S]*INGESTER_PROT: no such setting/u);
});

test("is the same when it is built again from nothing", async () => {
  const again = `${image}-again`;
  await build(again, "--no-cache");
  onTestFinished(async () => void (await docker(["rmi", "--force", again])));
  // Contents and modes of every file that is ours, and where links point.
  const digest =
    "cd /app && { find . -type f -exec sha256sum {} + ; find . -printf '%p %m %l\\n'; } | sort | sha256sum";
  expect(await inside(digest, again)).toBe(await inside(digest));
});
