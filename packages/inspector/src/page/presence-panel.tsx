import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { InspectedChannel, Inspection } from "./inspection.ts";

export interface PresencePanelProps {
  readonly inspection: Inspection;
  readonly channel: InspectedChannel;
}

/** Who is present in the topic; the page can be, too. */
export function PresencePanel({ inspection, channel }: PresencePanelProps): JSX.Element {
  const state = useSignal('{"name": "inspector"}');
  const problem = useSignal("");
  const present = channel.present.value;
  const isTracking = channel.isTracking.value;
  const track = (): void => {
    problem.value = "";
    try {
      const parsed = JSON.parse(state.value) as unknown;
      if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Error("no object");
      void inspection.track(channel, parsed as Record<string, unknown>);
    } catch {
      problem.value = 'What is tracked is a JSON object, such as {"name": "Ann"}.';
    }
  };
  return (
    <div class="presence">
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          track();
        }}
      >
        <label class="grow">
          What this page tracks
          <input
            name="presence"
            spellcheck={false}
            value={state.value}
            onInput={({ currentTarget }) => (state.value = currentTarget.value)}
          />
        </label>
        <button type="submit">{isTracking ? "Update" : "Track"}</button>
        <button type="button" disabled={!isTracking} onClick={() => void inspection.untrack(channel)}>
          Untrack
        </button>
      </form>
      {problem.value !== "" && (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      )}
      {present.length === 0 ? (
        <p class="empty">Nobody is present in {channel.name}.</p>
      ) : (
        <ul class="members">
          {present.map(({ key, metas }) => (
            <li key={key}>
              <code class="key">{key}</code>
              {metas.map(({ presence_ref: ref, ...meta }) => (
                <code key={String(ref)}>{JSON.stringify(meta)}</code>
              ))}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
