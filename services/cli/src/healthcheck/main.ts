import { get } from "node:http";
import { healthAddresses } from "./config.ts";

// The image's HEALTHCHECK: well when the service that listens in here says so. It stands alone, without the program's
// packages and with node:http, because loading those, or fetch, takes several times as long, every few seconds.

const statusOf = (url: string): Promise<number | undefined> =>
  new Promise((resolve) => {
    get(url, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on("error", () => resolve(undefined));
  });

const statuses = (await Promise.all(healthAddresses().map(statusOf))).filter((status) => status !== undefined);
process.exit(statuses.length > 0 && statuses.every((status) => status === 200) ? 0 : 1);
