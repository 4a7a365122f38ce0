import type { JSX } from "preact";
import { ChannelView } from "./channel-view.tsx";
import { ChannelPicker } from "./channel-picker.tsx";
import { ConnectionBar } from "./connection-bar.tsx";
import type { Inspection } from "./inspection.ts";
import { JoinForm } from "./join-form.tsx";
import type { ChannelWish } from "./wish.ts";

export interface AppProps {
  readonly inspection: Inspection;
  readonly initial: ChannelWish;
}

export function App({ inspection, initial }: AppProps): JSX.Element {
  const problem = inspection.problem.value;
  const channel = inspection.selected.value;
  return (
    <>
      <a class="skip" href="#main">
        Skip to what came
      </a>
      <ConnectionBar inspection={inspection} />
      {problem !== "" && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <div class="columns">
        <aside aria-label="Channels">
          <JoinForm inspection={inspection} initial={initial} />
          <ChannelPicker inspection={inspection} />
        </aside>
        <main id="main" tabIndex={-1}>
          {channel === undefined ? <Welcome /> : <ChannelView inspection={inspection} channel={channel} />}
        </main>
      </div>
    </>
  );
}

const Welcome = (): JSX.Element => (
  <section class="welcome panel" aria-label="How to begin">
    <h2>See what this gateway sends, and why</h2>
    <ol>
      <li>If the gateway verifies tokens, enter yours above. It stays in this tab.</li>
      <li>
        Press <b>Join</b>. With <code>*</code> as table you get every published table of the schema.
      </li>
      <li>
        Change a row. With <code>npm start</code>, in a second terminal:
        <pre tabIndex={0}>npm run sql -- "INSERT INTO todos (task) VALUES ('see it live')"</pre>
      </li>
    </ol>
    <p class="muted">
      A filter such as <code>done=eq.false</code> shows which changes it keeps out, and which part of it does.
    </p>
  </section>
);
