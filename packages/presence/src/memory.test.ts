import { describePresenceStore, testLeaseMs } from "./conformance.ts";
import { MemoryPresenceStore } from "./memory.ts";

describePresenceStore("MemoryPresenceStore", () => {
  const store = new MemoryPresenceStore({ leaseMs: testLeaseMs });
  return { open: () => store, close: () => undefined };
});
