import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { lagOf } from "./change-list.ts";
import type { InspectedChannel } from "./inspection.ts";
import { LagChart } from "./lag-chart.tsx";
import { lagPoints, millisText, quantile } from "./lag.ts";

const tickEveryMs = 1_000;

/** Where the channel is, and how long changes take to come here. */
export function LagPanel({ channel }: { readonly channel: InspectedChannel }): JSX.Element {
  const nowMs = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (nowMs.value = Date.now()), tickEveryMs);
    return () => clearInterval(timer);
  }, [nowMs]);
  const changes = channel.changes.value;
  const now = Math.max(nowMs.value, changes[0]?.receivedAtMs ?? 0);
  const points = lagPoints(changes, now);
  const lags = points.map(({ lagMs }) => lagMs);
  const [median, high] = [quantile(lags, 0.5), quantile(lags, 0.95)];
  const { delivered, others } = channel.counts.value;
  const isSkewed = changes.some((change) => (lagOf(change) ?? 0) < 0);
  return (
    <section class="panel lag-panel" aria-label="Position and lag">
      <dl class="figures">
        <Figure name="Last position" value={changes[0]?.position ?? "–"} isCode />
        <Figure name="Lag, median" value={median === undefined ? "–" : millisText(median)} />
        <Figure name="Lag, 95 %" value={high === undefined ? "–" : millisText(high)} />
        <Figure name="Received" value={String(delivered)} />
        <Figure name="Not matched" value={String(others)} />
      </dl>
      <LagChart points={points} nowMs={now} />
      <p class="legend muted">
        <span class="key yes" /> received <span class="key no" /> not matched
        <span class="grow" />
        commit → here, the last minute
      </p>
      {isSkewed && <p class="note">Some lags are negative: the clocks of the database and of this machine differ.</p>}
    </section>
  );
}

interface FigureProps {
  readonly name: string;
  readonly value: string;
  readonly isCode?: true;
}

const Figure = ({ name, value, isCode }: FigureProps): JSX.Element => (
  <div>
    <dt>{name}</dt>
    <dd class={isCode === true ? "code" : ""}>{value}</dd>
  </div>
);
