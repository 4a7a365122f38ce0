import type { JSX } from "preact";
import type { InspectedChannel, Inspection } from "./inspection.ts";
import { wishText } from "./wish.ts";

/** The channels of this page's own socket. */
export function ChannelPicker({ inspection }: { readonly inspection: Inspection }): JSX.Element | null {
  const channels = inspection.channels.value;
  if (channels.length === 0) return null;
  return (
    <section class="panel picker" aria-labelledby="picker-title">
      <h2 id="picker-title">Joined here</h2>
      <ul>
        {channels.map((channel) => (
          <Item key={channel.topic} inspection={inspection} channel={channel} />
        ))}
      </ul>
    </section>
  );
}

function Item({
  inspection,
  channel,
}: {
  readonly inspection: Inspection;
  readonly channel: InspectedChannel;
}): JSX.Element {
  const { delivered, others } = channel.counts.value;
  return (
    <li>
      <button
        type="button"
        class="choose"
        aria-pressed={inspection.selected.value === channel}
        onClick={() => (inspection.selected.value = channel)}
      >
        <span class="name">{channel.name}</span>
        <span class="status" data-status={channel.status.value}>
          {channel.status.value}
        </span>
        <span class="wishes">
          {channel.wish.bindings.map((binding, i) => (
            <code key={i}>{wishText(binding)}</code>
          ))}
        </span>
        <span class="muted counts">
          {delivered} received, {others} not matched
        </span>
      </button>
      <button
        type="button"
        class="quiet leave"
        aria-label={`Leave ${channel.name}`}
        onClick={() => void inspection.leave(channel)}
      >
        ×
      </button>
    </li>
  );
}
