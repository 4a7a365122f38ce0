const actions = new Set<() => void>();
let isListening = false;

/**
 * Runs a synchronous action when this process ends by itself or by a signal, unless the returned function was called
 * before. Children started by tests would otherwise outlive an interrupted run.
 */
export function onProcessEnd(action: () => void): () => void {
  actions.add(action);
  listen();
  return () => actions.delete(action);
}

function listen(): void {
  if (isListening) return;
  isListening = true;
  process.on("exit", runActions);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    const onSignal = (): void => {
      // Whoever else listens (vitest does) decides when to end, and `exit` follows. Alone, we owe the default effect.
      if (process.listenerCount(signal) > 1) return;
      runActions();
      process.off(signal, onSignal);
      process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}

function runActions(): void {
  for (const action of actions) {
    actions.delete(action);
    action();
  }
}
