import type { JSX } from "preact";
import type { Frame } from "./frame.ts";
import { timeText } from "./time.ts";

/** What went over the socket, as it was, the newest first. */
export const FrameTable = ({ frames }: { readonly frames: readonly Frame[] }): JSX.Element =>
  frames.length === 0 ? (
    <p class="empty">Nothing went over the socket yet.</p>
  ) : (
    <ol class="frames">
      {frames.map((frame, i) => (
        <li key={frames.length - i}>
          <details>
            <summary>
              <time class="time">{timeText(frame.atMs)}</time>
              <span class="direction" data-direction={frame.direction}>
                {frame.direction === "in" ? "↓ in" : "↑ out"}
              </span>
              <span class="table">{frame.event}</span>
              <span class="values">{frame.topic}</span>
              <span class="lag">{frame.bytes} B</span>
            </summary>
            <pre tabIndex={0}>{frame.text}</pre>
          </details>
        </li>
      ))}
    </ol>
  );
