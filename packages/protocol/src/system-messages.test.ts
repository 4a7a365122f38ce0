import { describe, expect, it } from "vitest";
import { resumeGap, serverDisconnect, shutdown, subscribed, subscribeFailed, subtopicOf } from "./system-messages.ts";

describe("system messages", () => {
  it("name the channel without its prefix", () => {
    expect(subtopicOf("realtime:public:todos")).toBe("public:todos");
    expect(subtopicOf("realtime:")).toBe("");
    expect(subtopicOf("other:realtime:")).toBe("other:realtime:");
  });

  it("say what the peer says", () => {
    expect(subscribed("realtime:room", "1.0/1.0")).toEqual({
      position: "1.0/1.0",
      extension: "postgres_changes",
      status: "ok",
      message: "Subscribed to PostgreSQL",
      channel: "room",
    });
    expect(subscribeFailed("realtime:room", "no")).toEqual({
      extension: "postgres_changes",
      status: "error",
      message: "no",
      channel: "room",
    });
    expect(shutdown("realtime:room", "Token has expired 3 seconds ago")).toEqual({
      extension: "system",
      status: "error",
      message: "Token has expired 3 seconds ago",
      channel: "room",
    });
    expect(serverDisconnect).toEqual({ extension: "system", status: "ok", message: "Server requested disconnect" });
  });

  it("tell of a gap where it is and where to go on", () => {
    expect(resumeGap("realtime:room", { after: "1.0/1.0", current: "2.0/5.0" })).toEqual({
      extension: "resume",
      status: "error",
      message: expect.stringMatching(/^ResumeGap: changes after 1\.0\/1\.0 up to 2\.0\/5\.0 /),
      channel: "room",
      position: "2.0/5.0",
    });
  });
});
