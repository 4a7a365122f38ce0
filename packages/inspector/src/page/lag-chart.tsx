import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { chartWindowMs, millisText, niceCeiling, quantile, type LagPoint } from "./lag.ts";

export interface LagChartProps {
  readonly points: readonly LagPoint[];
  readonly nowMs: number;
}

const size = { height: 116, left: 52, right: 10, top: 8, bottom: 20 };
const lines = [0, 0.5, 1];
const secondsAgo = [60, 45, 30, 15, 0];

/** One stem for each change of the last minute. */
export function LagChart({ points, nowMs }: LagChartProps): JSX.Element {
  const width = useSignal(600);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(() => (width.value = Math.max(200, element.clientWidth)));
    observer.observe(element);
    return () => observer.disconnect();
  }, [width]);
  const lags = points.map(({ lagMs }) => lagMs);
  const top = niceCeiling(Math.max(0, ...lags));
  const { height, left, right } = size;
  const base = height - size.bottom;
  const x = (atMs: number): number => left + (1 - (nowMs - atMs) / chartWindowMs) * (width.value - left - right);
  const y = (lagMs: number): number => base - (Math.max(0, lagMs) / top) * (base - size.top);
  const median = quantile(lags, 0.5);
  const label =
    median === undefined
      ? "Lag: no changes in the last minute"
      : `Lag of the last minute: ${points.length} changes, median ${millisText(median)}, highest ${millisText(Math.max(...lags))}`;
  return (
    <div class="chart" ref={box}>
      <svg role="img" aria-label={label} width={width.value} height={height} viewBox={`0 0 ${width.value} ${height}`}>
        {lines.map((share) => (
          <g key={share}>
            <line class="grid" x1={left} x2={width.value - right} y1={y(share * top)} y2={y(share * top)} />
            <text x={left - 8} y={y(share * top) + 4} text-anchor="end">
              {millisText(share * top)}
            </text>
          </g>
        ))}
        {secondsAgo.map((seconds) => (
          <text
            key={seconds}
            x={x(nowMs - seconds * 1_000)}
            y={height - 4}
            text-anchor={seconds === 60 ? "start" : seconds === 0 ? "end" : "middle"}
          >
            {seconds === 0 ? "now" : `${seconds} s`}
          </text>
        ))}
        {points.map(({ atMs, lagMs, isDelivered, position }) => (
          <g key={position} class={isDelivered ? "yes" : "no"}>
            <line x1={x(atMs)} x2={x(atMs)} y1={base} y2={y(lagMs)} />
            <circle cx={x(atMs)} cy={y(lagMs)} r={3}>
              <title>{`${position}: ${millisText(lagMs)}`}</title>
            </circle>
          </g>
        ))}
      </svg>
    </div>
  );
}
