import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { ChangeTable, type Shown } from "./change-table.tsx";
import { FrameTable } from "./frame-table.tsx";
import { GatewayChannels } from "./gateway-channels.tsx";
import type { InspectedChannel, Inspection } from "./inspection.ts";
import { LagPanel } from "./lag-panel.tsx";
import { PresencePanel } from "./presence-panel.tsx";
import { Tabs } from "./tabs.tsx";

type Tab = "changes" | "frames" | "presence" | "gateway";
const filters: readonly Shown[] = ["all", "matched", "not matched"];

export interface ChannelViewProps {
  readonly inspection: Inspection;
  readonly channel: InspectedChannel;
}

/** What PostgreSQL objected to comes behind what was asked for, and says more. */
function Problem({ message }: { readonly message: string }): JSX.Element {
  const [asked = "", objection] = message.split(/ Exception: (.*)/su);
  return (
    <div class="problem" role="alert">
      <p>
        <b>{objection ?? asked}</b>
      </p>
      {objection !== undefined && <p>{asked}</p>}
    </div>
  );
}

export function ChannelView({ inspection, channel }: ChannelViewProps): JSX.Element {
  const tab = useSignal<Tab>("changes");
  const shown = useSignal<Shown>("all");
  const isPaused = inspection.isPaused.value;
  return (
    <>
      {channel.message.value !== "" && <Problem message={channel.message.value} />}
      <LagPanel channel={channel} />
      <section class="panel feed" aria-label="What came">
        <div class="toolbar">
          <Tabs
            label="What to show"
            selected={tab.value}
            onSelect={(one) => (tab.value = one)}
            tabs={[
              { id: "changes", title: "Changes", count: channel.changes.value.length },
              { id: "presence", title: "Presence", count: channel.present.value.length },
              { id: "frames", title: "Frames", count: undefined },
              { id: "gateway", title: "Gateway", count: undefined },
            ]}
          />
          <div class="tools">
            {tab.value === "changes" && (
              <label class="inline">
                Show{" "}
                <select
                  name="shown"
                  value={shown.value}
                  onChange={({ currentTarget }) =>
                    (shown.value = filters.find((one) => one === currentTarget.value) ?? "all")
                  }
                >
                  {filters.map((one) => (
                    <option key={one}>{one}</option>
                  ))}
                </select>
              </label>
            )}
            <button type="button" aria-pressed={isPaused} onClick={() => (inspection.isPaused.value = !isPaused)}>
              Pause
            </button>
            <button type="button" onClick={() => inspection.clear()}>
              Clear
            </button>
          </div>
        </div>
        <div role="tabpanel" id={`panel-${tab.value}`} aria-labelledby={`tab-${tab.value}`}>
          {tab.value === "changes" && <ChangeTable channel={channel} shown={shown.value} />}
          {tab.value === "presence" && <PresencePanel inspection={inspection} channel={channel} />}
          {tab.value === "frames" && <FrameTable frames={inspection.frames.value} />}
          {tab.value === "gateway" && <GatewayChannels inspection={inspection} />}
        </div>
      </section>
    </>
  );
}
