import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Inspection } from "./inspection.ts";
import { anyBinding, events, type BindingWish, type ChannelWish } from "./wish.ts";

export interface JoinFormProps {
  readonly inspection: Inspection;
  readonly initial: ChannelWish;
}

export function JoinForm({ inspection, initial }: JoinFormProps): JSX.Element {
  const wish = useSignal(initial);
  const { topic, isPrivate, bindings } = wish.value;
  const change = (part: Partial<ChannelWish>): void => {
    wish.value = { ...wish.value, ...part };
  };
  const changeBinding = (at: number, part: Partial<BindingWish>): void => {
    change({ bindings: bindings.map((one, i) => (i === at ? { ...one, ...part } : one)) });
  };
  return (
    <form
      class="panel join"
      aria-label="Join a channel"
      onSubmit={(event) => {
        event.preventDefault();
        void inspection.join(wish.value);
      }}
    >
      <div class="row">
        <label class="grow">
          Topic
          <input
            name="topic"
            required
            spellcheck={false}
            value={topic}
            onInput={({ currentTarget }) => change({ topic: currentTarget.value })}
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            name="private"
            checked={isPrivate}
            onChange={({ currentTarget }) => change({ isPrivate: currentTarget.checked })}
          />
          private
        </label>
      </div>
      {bindings.map((binding, at) => (
        <BindingFields
          key={at}
          number={at + 1}
          binding={binding}
          onChange={(part) => changeBinding(at, part)}
          onRemove={bindings.length === 1 ? undefined : () => change({ bindings: bindings.toSpliced(at, 1) })}
        />
      ))}
      <div class="row actions">
        <button type="button" onClick={() => change({ bindings: [...bindings, bindings.at(-1) ?? anyBinding] })}>
          Add binding
        </button>
        <button type="submit" class="primary">
          Join
        </button>
      </div>
    </form>
  );
}

interface BindingFieldsProps {
  readonly number: number;
  readonly binding: BindingWish;
  readonly onChange: (part: Partial<BindingWish>) => void;
  readonly onRemove: (() => void) | undefined;
}

function BindingFields({ number, binding, onChange, onRemove }: BindingFieldsProps): JSX.Element {
  const field = (name: "schema" | "table" | "filter", label: string, placeholder: string): JSX.Element => (
    <label class={name}>
      {label}
      <input
        name={name}
        required={name !== "filter"}
        spellcheck={false}
        autocapitalize="off"
        placeholder={placeholder}
        value={binding[name]}
        onInput={({ currentTarget }) => onChange({ [name]: currentTarget.value })}
      />
    </label>
  );
  return (
    <fieldset>
      <legend>
        <span class="number">{number}</span> Binding
      </legend>
      {onRemove !== undefined && (
        <button type="button" class="quiet remove" aria-label={`Remove binding ${number}`} onClick={onRemove}>
          ×
        </button>
      )}
      <label class="event">
        Event
        <select
          name="event"
          value={binding.event}
          onChange={({ currentTarget }) => onChange({ event: currentTarget.value })}
        >
          {events.map((event) => (
            <option key={event} value={event}>
              {event === "*" ? "any" : event}
            </option>
          ))}
        </select>
      </label>
      {field("schema", "Schema", "public")}
      {field("table", "Table", "* for all")}
      {field("filter", "Filter", "done=eq.false")}
    </fieldset>
  );
}
