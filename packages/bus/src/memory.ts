import { BusMessageTooLargeError } from "./errors.ts";
import { messageBytesLimit, type Address, type Bus, type BusHandler } from "./ports.ts";

/** The network inside one process, for standalone and tests. */
export class MemoryNetwork {
  readonly #buses = new Set<MemoryBus>();

  /** One more bus; all that are open hear each other. */
  open(): Bus {
    const bus = new MemoryBus(this.#buses);
    this.#buses.add(bus);
    return bus;
  }
}

class MemoryBus implements Bus {
  readonly #buses: Set<MemoryBus>;
  readonly #handlers = new Map<string, Set<BusHandler>>();

  constructor(buses: Set<MemoryBus>) {
    this.#buses = buses;
  }

  publish(address: Address, bytes: Uint8Array): "sent" | "away" {
    if (bytes.length > messageBytesLimit) throw new BusMessageTooLargeError(bytes.length, messageBytesLimit);
    if (!this.#buses.has(this)) return "away";
    const key = keyOf(address);
    for (const bus of this.#buses) {
      if (bus !== this && bus.#handlers.has(key)) queueMicrotask(() => bus.#take(key, bytes));
    }
    return "sent";
  }

  subscribe(address: Address, handler: BusHandler): () => void {
    const key = keyOf(address);
    const own: BusHandler = (bytes) => handler(bytes); // one subscription each, also for the same function
    const handlers = this.#handlers.get(key) ?? new Set();
    this.#handlers.set(key, handlers.add(own));
    return () => {
      handlers.delete(own);
      if (handlers.size === 0 && this.#handlers.get(key) === handlers) this.#handlers.delete(key);
    };
  }

  /** What was published before arrives in microtasks that were queued before. */
  flush(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#buses.delete(this);
    this.#handlers.clear();
    return Promise.resolve();
  }

  #take(key: string, bytes: Uint8Array): void {
    for (const handler of this.#handlers.get(key) ?? []) handler(bytes);
  }
}

const keyOf = ({ kind, topic }: Address): string => `${kind} ${topic}`;
