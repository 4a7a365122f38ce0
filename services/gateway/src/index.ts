export { startGateway, type GatewayParts } from "./compose.ts";
export { clientSettings, gatewaySettings, type ClientConfig } from "./config.ts";
