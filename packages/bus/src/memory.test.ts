import { describeBus } from "./conformance.ts";
import { MemoryNetwork } from "./memory.ts";

describeBus("MemoryNetwork", () => {
  const network = new MemoryNetwork();
  return { open: () => Promise.resolve(network.open()) };
});
