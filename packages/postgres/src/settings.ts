import { flag, integer, optionalText, secret, text } from "@walcast/config";

/** How to reach the source database, under Supabase's names (protocol.md 3.7). One URL may say it all instead. */
export const databaseSettings = {
  DATABASE_URL: secret("The source database as a URL; wins over the `DB_*` variables."),
  DB_HOST: optionalText("Host of the source database.", "localhost"),
  DB_PORT: integer("Port of the source database.", { default: 5432, min: 1, max: 65_535 }),
  DB_NAME: text("Name of the source database.", { default: "postgres" }),
  DB_USER: text("Role to connect as; the ingester's needs REPLICATION.", {
    default: "postgres",
  }),
  DB_PASSWORD: secret("Password of the role.", { default: "postgres" }),
  DB_SSL: flag("Connect with TLS, verifying the certificate.", { default: false }),
  DB_SSL_CA_CERT: optionalText("Path of the CA certificate to verify with; else the system's."),
};
