import { choice, integer, optionalText, ratio, secret, z, type Config, type Setting } from "@walcast/config";

const defaultEndpoint = "http://localhost:4318";

/** Traces, under OpenTelemetry's names ("OpenTelemetry Environment Variable Specification", "OTLP Exporter Configuration"). */
export const tracingSettings = {
  OTEL_TRACES_EXPORTER: choice("`otlp` sends traces from commit to delivery, sampled, over OTLP/HTTP.", {
    of: ["none", "otlp"],
    default: "none",
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint("The collector's URL; traces go to `/v1/traces` below it."),
  OTEL_EXPORTER_OTLP_HEADERS: checked(
    secret("Headers for the collector, as `name=value,name=value`; values URL-encoded."),
    (headers) => pairsOf(headers?.reveal()) !== undefined,
  ),
  OTEL_EXPORTER_OTLP_TIMEOUT: integer("How long an export may take.", { default: 10_000, min: 1, unit: "ms" }),
  OTEL_TRACES_SAMPLER_ARG: ratio(
    "The share of batches that is traced. The ingester decides by the trace's id (`parentbased_traceidratio`), gateways follow.",
    { default: 0.01 },
  ),
  OTEL_SERVICE_NAME: optionalText(
    "Names the service in traces.",
    "walcast-ingester, walcast-gateway, walcast-standalone",
  ),
  OTEL_RESOURCE_ATTRIBUTES: checked(
    optionalText("What is said of the service in traces, as `name=value,name=value`; values URL-encoded."),
    (attributes) => pairsOf(attributes) !== undefined,
  ),
};

export type TracingConfig = Config<typeof tracingSettings>;

function endpoint(description: string): Setting<URL> {
  const plain = optionalText(description, defaultEndpoint);
  const schema = plain.schema.transform((text = defaultEndpoint, context) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url?.protocol === "https:" || url?.protocol === "http:") return url;
    context.addIssue({ code: "custom", message: `must be an http or https URL, is "${text}"` });
    return z.NEVER;
  });
  return { ...plain, schema };
}

function checked<T>(setting: Setting<T>, isPairs: (value: T) => boolean): Setting<T> {
  const error = "must be name=value pairs, separated by commas, with values URL-encoded";
  return { ...setting, schema: setting.schema.refine(isPairs, { error }) };
}

/** `a=1,b=x%20y` as an object; undefined when it is something else. */
export function pairsOf(text = ""): Readonly<Record<string, string>> | undefined {
  const pairs: Record<string, string> = {};
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const [, name, value] = /^\s*([^=\s]+)\s*=(.*)$/u.exec(part) ?? [];
    if (name === undefined || value === undefined) return undefined;
    try {
      pairs[name] = decodeURIComponent(value.trim());
    } catch {
      return undefined;
    }
  }
  return pairs;
}
