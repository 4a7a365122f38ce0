import type { Serializer } from "./frames.ts";
import { serializerV1 } from "./serializer-v1.ts";
import { serializerV2 } from "./serializer-v2.ts";

/**
 * The serializer for the query parameter `vsn`: 1.0.0 when absent, `~> 1.0.0` and `~> 2.0.0` otherwise; `undefined` for
 * any other version, which is refused with HTTP 403 (protocol.md 1.2).
 */
export function negotiateSerializer(vsn: string | undefined): Serializer | undefined {
  if (vsn === undefined || vsn === "") return serializerV1;
  const match = /^([12])\.0\.\d+(?:-[0-9A-Za-z.-]+)?$/.exec(vsn);
  if (match === null) return undefined;
  return match[1] === "1" ? serializerV1 : serializerV2;
}
