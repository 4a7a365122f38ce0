export { identify, parseBinding, type Binding, type IdentifiedRequest } from "./binding.ts";
export { startGateway, type GatewayParts } from "./compose.ts";
export { clientSettings, gatewaySettings, type ClientConfig } from "./config.ts";
export { Groups, type Audience, type Group, type View } from "./group.ts";
