import { findServerBinary } from "@walcast/testkit";
import { chromium, type Browser } from "playwright-core";

/** Chromium must not look for Google's hosts: a closed network would slow it down. */
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The machine's own Chromium, without a window. */
export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: findServerBinary("chromium"), args: flags });
