export { startGateway, type GatewayParts } from "./compose.ts";
export { clientSettings, type ClientConfig } from "./config.ts";
