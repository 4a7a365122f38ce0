import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { ChannelList } from "./gateway-api.ts";
import type { Inspection } from "./inspection.ts";

const askEveryMs = 2_000;

/** The topics of this gateway, for those who may list them. */
export function GatewayChannels({ inspection }: { readonly inspection: Inspection }): JSX.Element {
  const list = useSignal<ChannelList | undefined>(undefined);
  const problem = useSignal("");
  const isAllowed = inspection.session.value?.mayListChannels === true;
  useEffect(() => {
    if (!isAllowed) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    const ask = async (): Promise<void> => {
      try {
        list.value = await inspection.listGateway();
        problem.value = "";
      } catch (error) {
        problem.value = error instanceof Error ? error.message : String(error);
      }
      if (!isOver) timer = setTimeout(() => void ask(), askEveryMs);
    };
    void ask();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [isAllowed, inspection, list, problem]);
  if (!isAllowed)
    return <p class="empty">Listing this gateway's topics takes a token whose role is among INSPECTOR_ROLES.</p>;
  if (problem.value !== "") return <p class="problem">{problem.value}</p>;
  if (list.value === undefined) return <p class="empty">Asking the gateway.</p>;
  const { topics, topicCount, channelCount } = list.value;
  return (
    <div class="topics">
      <p class="muted">
        {topicCount} {topicCount === 1 ? "topic" : "topics"}, {channelCount}{" "}
        {channelCount === 1 ? "channel" : "channels"} on this gateway
        {topicCount > topics.length && `; the ${topics.length} largest`}
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Topic</th>
            <th scope="col" class="figure">
              Channels
            </th>
          </tr>
        </thead>
        <tbody>
          {topics.map(({ topic, channels }) => (
            <tr key={topic}>
              <td>
                <code>{topic}</code>
              </td>
              <td class="figure">{channels}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
