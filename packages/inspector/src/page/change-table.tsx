import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { lagOf, wasDelivered, type BindingReport, type Change, type TermReport } from "./change-list.ts";
import type { InspectedChannel } from "./inspection.ts";
import { millisText } from "./lag.ts";
import { mainReason, reasonOf, truthText } from "./reasons.ts";
import { timeText } from "./time.ts";
import { wishText } from "./wish.ts";

export type Shown = "all" | "matched" | "not matched";

export interface ChangeTableProps {
  readonly channel: InspectedChannel;
  readonly shown: Shown;
}

const emptyTexts: Readonly<Record<InspectedChannel["status"]["value"], string>> = {
  joining: "Joining.",
  joined: "Joined; the subscription to changes is on its way.",
  subscribed: "Waiting for changes.",
  refused: "The gateway refused this channel, or its subscription to changes.",
  closed: "The channel is closed.",
};

/** One line a change, the newest first; each opens. */
export function ChangeTable({ channel, shown }: ChangeTableProps): JSX.Element {
  const { skipped } = channel.counts.value;
  const changes = channel.changes.value.filter(
    (change) => shown === "all" || wasDelivered(change) === (shown === "matched"),
  );
  return (
    <>
      {skipped > 0 && (
        <p class="note">
          {skipped} {skipped === 1 ? "change was" : "changes were"} not explained: too many at once. What matched was
          delivered all the same.
        </p>
      )}
      {changes.length === 0 ? (
        <p class="empty">{emptyTexts[channel.status.value]}</p>
      ) : (
        <ol class="changes" onKeyDown={walkLines}>
          {changes.map((change) => (
            <ChangeItem key={change.position} change={change} channel={channel} />
          ))}
        </ol>
      )}
    </>
  );
}

/** Arrow keys go from line to line. */
function walkLines(event: KeyboardEvent): void {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" } as const;
  const way = event.key === "ArrowDown" || event.key === "ArrowUp" ? step[event.key] : undefined;
  const { target } = event;
  if (way === undefined || !(target instanceof HTMLElement) || !target.classList.contains("line")) return;
  const next = target.parentElement?.[way]?.querySelector<HTMLElement>(".line");
  if (next === null || next === undefined) return;
  event.preventDefault();
  next.focus();
}

interface ChangeItemProps {
  readonly change: Change;
  readonly channel: InspectedChannel;
}

function ChangeItem({ change, channel }: ChangeItemProps): JSX.Element {
  const isOpen = useSignal(false);
  const reason = mainReason(change);
  const lag = lagOf(change);
  const row = change.kind === "DELETE" ? change.oldRecord : change.record;
  return (
    <li data-tone={reason.tone}>
      <button type="button" class="line" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>
        <time class="time">{timeText(change.receivedAtMs)}</time>
        <span class="kind" data-kind={change.kind}>
          {change.kind}
        </span>
        <span class="table">{change.schema === "public" ? change.table : `${change.schema}.${change.table}`}</span>
        <span class="values">{row === undefined ? "" : JSON.stringify(row)}</span>
        <span class="why" data-tone={reason.tone}>
          {reason.short}
        </span>
        <span class="lag">{lag === undefined ? "–" : millisText(lag)}</span>
      </button>
      {isOpen.value && <ChangeDetails change={change} channel={channel} />}
    </li>
  );
}

function ChangeDetails({ change, channel }: ChangeItemProps): JSX.Element {
  const { position, committedAtMs, record, oldRecord, reports } = change;
  return (
    <div class="details">
      <dl>
        <dt>Position</dt>
        <dd>
          <code>{position}</code>
        </dd>
        <dt>Committed</dt>
        <dd>{committedAtMs === undefined ? "not told" : new Date(committedAtMs).toISOString()}</dd>
      </dl>
      <h3>Why</h3>
      {reports === undefined ? (
        <p class="muted">The gateway has not explained it.</p>
      ) : (
        <ul class="reports">
          {reports.map((report, i) => (
            <Report key={i} report={report} channel={channel} />
          ))}
        </ul>
      )}
      {record !== undefined && <Json title="Row" value={record} />}
      {oldRecord !== undefined && <Json title="Old row" value={oldRecord} />}
    </div>
  );
}

function Report({
  report,
  channel,
}: {
  readonly report: BindingReport;
  readonly channel: InspectedChannel;
}): JSX.Element {
  const at = channel.bindingIds.value.indexOf(report.id);
  const binding = channel.wish.bindings[at];
  const reason = reasonOf(report);
  return (
    <li>
      <span class="number">{at + 1}</span>
      <span class="why" data-tone={reason.tone}>
        {report.verdict === "filter" ? "filter not met" : reason.short}
      </span>
      {binding !== undefined && <code>{wishText(binding)}</code>}
      <p>{reason.long}</p>
      {report.terms !== undefined && report.terms.length > 0 && <Terms terms={report.terms} />}
    </li>
  );
}

const Terms = ({ terms }: { readonly terms: readonly TermReport[] }): JSX.Element => (
  <ul class="terms">
    {terms.map((term, i) => (
      <li key={i}>
        <code>{term.text}</code> <span class="truth">is {truthText(term)}</span>
        {term.terms !== undefined && <Terms terms={term.terms} />}
      </li>
    ))}
  </ul>
);

const Json = ({ title, value }: { readonly title: string; readonly value: object }): JSX.Element => (
  <>
    <h3>{title}</h3>
    <pre tabIndex={0}>{JSON.stringify(value, undefined, 2)}</pre>
  </>
);
