export interface BannerFacts {
  readonly host: string;
  readonly port: number;
  readonly isOpen: boolean;
  /** INSPECTOR */
  readonly hasInspector: boolean;
  /** Set when the database is our own. */
  readonly demo: { readonly databaseUrl: string; readonly dataDir: string } | undefined;
}

/** What a person sees when standalone is up: where to connect, what to paste, what to run. */
export function banner({ host, port, isOpen, hasInspector, demo }: BannerFacts): string {
  const reachable = host === "0.0.0.0" || host === "::" ? "localhost" : host;
  const url = `ws://${reachable}:${port}/socket`;
  const table = demo === undefined ? "your_table" : "todos";
  const lines = [
    "",
    `  walcast is ready:  ${url}`,
    isOpen
      ? `  Open: no keys are set (JWT_SECRET, JWT_JWKS, JWT_JWKS_URL), so tokens are not verified (SECURE_CHANNELS=false), listening on ${host}.`
      : "  Tokens are verified: give the client a JWT that your keys verify as params.apikey.",
    ...(demo === undefined ? [] : [`  Database: ${demo.databaseUrl}  (data in ${demo.dataDir})`]),
    ...(hasInspector
      ? [
          `  Inspector: http://${reachable}:${port}/inspector${demo === undefined ? "" : `#table=${table}`}`,
          "             Open it, press Join, change a row: it shows every change, and why a filter keeps one out.",
        ]
      : []),
    "",
    "  Paste into listen.mjs, then: npm install @supabase/realtime-js && node listen.mjs",
    "",
    '    import { RealtimeClient } from "@supabase/realtime-js";',
    `    const client = new RealtimeClient("${url}", { params: { apikey: "${isOpen ? "any" : "<jwt>"}" } });`,
    '    client.channel("demo")',
    `      .on("postgres_changes", { event: "*", schema: "public", table: "${table}" }, (change) => console.log(change))`,
    "      .subscribe((status) => console.log(status));",
    "",
    ...(demo === undefined
      ? []
      : [
          "  Then change something, in a second terminal:",
          "",
          `    npm run sql -- "INSERT INTO todos (task) VALUES ('see it live')"`,
          `    npm run sql -- "UPDATE todos SET done = true"`,
          `    npm run sql -- "DELETE FROM todos"`,
          "",
        ]),
    "  Ctrl-C stops everything.",
    "",
  ];
  return lines.join("\n");
}
