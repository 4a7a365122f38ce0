import type { JSX } from "preact";
import type { ConnectionState, Inspection } from "./inspection.ts";

const states: Readonly<Record<ConnectionState, string>> = {
  idle: "not connected",
  connecting: "connecting",
  open: "connected",
  away: "gateway does not answer",
  refused: "refused",
};

export function ConnectionBar({ inspection }: { readonly inspection: Inspection }): JSX.Element {
  const state = inspection.state.value;
  const session = inspection.session.value;
  return (
    <header class="bar">
      <h1>
        <span class="mark" aria-hidden="true" />
        walcast <span class="muted">inspector</span>
      </h1>
      <p class="state" role="status" data-state={state}>
        <span class="dot" aria-hidden="true" />
        {states[state]}
        {state === "open" && session !== undefined && (
          <span class="muted"> · {session.role === null ? "open gateway" : `role ${session.role}`}</span>
        )}
      </p>
      <form
        class="token"
        onSubmit={(event) => {
          event.preventDefault();
          inspection.useToken();
        }}
      >
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="off"
          spellcheck={false}
          placeholder="JWT or API key"
          value={inspection.token.value}
          onInput={({ currentTarget }) => (inspection.token.value = currentTarget.value)}
        />
        <button type="submit">Use</button>
      </form>
    </header>
  );
}
