import { describe, expect, it } from "vitest";
import { parseBatch, type BatchRequest } from "./batch-request.ts";

const parse = (text: string): BatchRequest => parseBatch(text, { isTooLarge: ({ payload }) => payload.length > 40 });
const message = '{"topic":"room","event":"e","payload":{"a":1}}';
const refused = (errors: unknown): unknown => ({ tag: "refused", errors });

describe("parseBatch", () => {
  it("reads messages, payloads as spelled", () => {
    const second = '{ "payload" : { "n": 9007199254740993.10 } ,"topic":"a:b","event":"","private":true,"id":"x"}';
    expect(parse(`{"messages": [ ${message} , ${second.replace('"event":""', '"event":"f"')} ], "more": 1}`)).toEqual({
      tag: "messages",
      messages: [
        { subtopic: "room", event: "e", payload: '{"a":1}', isPrivate: false, id: undefined },
        { subtopic: "a:b", event: "f", payload: '{ "n": 9007199254740993.10 }', isPrivate: true, id: "x" },
      ],
    });
  });

  it.each(["{", "[1", "nothing"])("takes %j for no JSON", (text) => {
    expect(parse(text)).toEqual({ tag: "malformed" });
  });

  it.each(["", " ", "{}", "[]", "7", '{"messages":[]}', '{"messages":null}'])("misses the messages in %j", (text) => {
    expect(parse(text)).toEqual(refused(["can't be blank"]));
  });

  it("takes a thousand messages, and not more: everybody else waits meanwhile", () => {
    const many = (count: number): string => `{"messages":[${Array.from({ length: count }, () => message).join()}]}`;
    expect(parse(many(1_000)).tag).toBe("messages");
    expect(parse(many(1_001))).toEqual(refused(["should have at most 1000 items"]));
    expect(parse(`{"messages":[${"{},".repeat(1_000)}{}]}`)).toEqual(refused(["should have at most 1000 items"]));
  });

  it.each(['{"messages":{}}', '{"messages":"x"}', '{"messages":[1]}', `{"messages":[${message},null]}`])(
    "does not take %s for messages",
    (text) => {
      expect(parse(text)).toEqual(refused(["is invalid"]));
    },
  );

  it.each<[string, object]>([
    ['{"topic":"t"}', { event: ["can't be blank"], payload: ["can't be blank"] }],
    ['{"topic":"","event":null,"payload":{}}', { topic: ["can't be blank"], event: ["can't be blank"] }],
    ['{"topic":1,"event":[],"payload":[]}', { topic: ["is invalid"], event: ["is invalid"], payload: ["is invalid"] }],
    [
      '{"topic":"t","event":"e","payload":{},"private":"maybe","id":7}',
      { private: ["is invalid"], id: ["is invalid"] },
    ],
    [
      `{"topic":"t","event":"e","payload":{"x":"${"x".repeat(40)}"}}`,
      { payload: ["Payload size exceeds tenant limit"] },
    ],
  ])("says of each message what is wrong with it: %s", (text, errors) => {
    expect(parse(`{"messages":[${text},${message}]}`)).toEqual(refused([errors, {}]));
  });
});
