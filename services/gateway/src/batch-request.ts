import { elementSlices, isObject, memberSlices, parseJson } from "@walcast/protocol";

/** One element of `messages`. */
export interface BatchMessage {
  readonly subtopic: string;
  readonly event: string;
  /** A JSON object, as spelled. */
  readonly payload: string;
  readonly isPrivate: boolean;
  readonly id: string | undefined;
}

/** By field, what is wrong with it; `{}` for a good message. */
export type FieldErrors = Readonly<Record<string, readonly string[]>>;

export type BatchRequest =
  | { readonly tag: "malformed" }
  | { readonly tag: "refused"; readonly errors: readonly string[] | readonly FieldErrors[] }
  | { readonly tag: "messages"; readonly messages: readonly BatchMessage[] };

const [blank, invalid] = ["can't be blank", "is invalid"];

/** One request is one turn of the event loop: others wait meanwhile. */
const messagesLimit = 1_000;
const tooMany = `should have at most ${messagesLimit} items`;

/** Reads the body of `POST /api/broadcast`: all of its messages are good or none counts (protocol.md 6.1). */
export function parseBatch(
  text: string,
  { isTooLarge }: { readonly isTooLarge: (message: { readonly payload: string }) => boolean },
): BatchRequest {
  const body = text.trim() === "" ? {} : parseJson(text);
  if (body === undefined) return { tag: "malformed" };
  const elements: unknown = isObject(body) ? body["messages"] : undefined;
  if (elements === undefined || elements === null || (Array.isArray(elements) && elements.length === 0))
    return { tag: "refused", errors: [blank] };
  if (Array.isArray(elements) && elements.length > messagesLimit) return { tag: "refused", errors: [tooMany] };
  if (!Array.isArray(elements) || !elements.every(isObject)) return { tag: "refused", errors: [invalid] };
  const slices = elementSlices(memberSlices(text).get("messages") ?? "[]");
  const read = elements.map((element, index) => {
    const payload = memberSlices(slices[index] ?? "{}").get("payload") ?? "{}";
    return { element, payload, errors: judge(element, isTooLarge({ payload })) };
  });
  if (read.some(({ errors }) => Object.keys(errors).length > 0))
    return { tag: "refused", errors: read.map(({ errors }) => errors) };
  return {
    tag: "messages",
    messages: read.map(({ element, payload }) => ({
      subtopic: String(element["topic"]),
      event: String(element["event"]),
      payload,
      isPrivate: isTrue(element["private"]),
      id: typeof element["id"] === "string" ? element["id"] : undefined,
    })),
  };
}

function judge(element: Readonly<Record<string, unknown>>, isPayloadTooLarge: boolean): FieldErrors {
  const errors: Record<string, readonly string[]> = {};
  const require = (field: string, isFine: (value: unknown) => boolean): void => {
    const value = element[field];
    if (value === undefined || value === null || value === "") errors[field] = [blank];
    else if (!isFine(value)) errors[field] = [invalid];
  };
  const isText = (value: unknown): boolean => typeof value === "string";
  require("topic", isText);
  require("event", isText);
  require("payload", isObject);
  if (errors["payload"] === undefined && isPayloadTooLarge) errors["payload"] = ["Payload size exceeds tenant limit"];
  if (!isBoolean(element["private"])) errors["private"] = [invalid];
  if (!isText(element["id"] ?? "")) errors["id"] = [invalid];
  return errors;
}

const isTrue = (value: unknown): boolean => value === true || value === "true";
const isBoolean = (value: unknown): boolean =>
  value === undefined || value === null || typeof value === "boolean" || value === "true" || value === "false";
