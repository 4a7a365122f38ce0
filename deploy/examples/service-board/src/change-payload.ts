import { Transformers } from "@supabase/realtime-js";
import { readService, readWholeNumber, RecordError, type UncheckedRecord } from "./record.ts";
import type { ServiceChange } from "./service.ts";

/** What older servers send in place of a long value that the UPDATE did not touch; newer ones leave the key out. */
const UNCHANGED_TOAST = "unchanged_toast";

type ClientColumns = Parameters<typeof Transformers.convertChangeData>[0];
type ClientRecord = Parameters<typeof Transformers.convertChangeData>[1];

const isRecord = (value: unknown): value is UncheckedRecord => typeof value === "object" && value !== null;

/** Some servers send every value as text, some send JSON numbers: the client's own conversion makes both alike. */
function convert(columns: unknown, record: unknown): UncheckedRecord {
  if (!isRecord(record) || !Array.isArray(columns)) return {};
  return Transformers.convertChangeData(columns as ClientColumns, record as ClientRecord, {});
}

/** An UPDATE leaves out a long value it did not touch; thanks to REPLICA IDENTITY FULL the old row still has it. */
function withUntouchedValues(record: UncheckedRecord, old: UncheckedRecord): UncheckedRecord {
  const touched = Object.entries(record).filter(([, value]) => value !== UNCHANGED_TOAST);
  return { ...old, ...Object.fromEntries(touched) };
}

/** Reads the payload of a change on `public.service`, or throws a {@link RecordError}. */
export function readChange(payload: unknown): ServiceChange {
  if (!isRecord(payload)) throw new RecordError("payload", payload);
  const { type, columns, errors } = payload;
  // A reader without the right to see a row is told that it changed, with empty records.
  if (Array.isArray(errors) && errors.length > 0) throw new RecordError("payload", errors);
  const old = convert(columns, payload["old_record"]);

  switch (type) {
    case "INSERT":
    case "UPDATE":
      return { tag: "written", service: readService(withUntouchedValues(convert(columns, payload["record"]), old)) };
    case "DELETE": {
      const hasRevision = old["revision"] !== undefined && old["revision"] !== null;
      const revision = hasRevision ? readWholeNumber(old, "revision") : undefined;
      return { tag: "deleted", id: readWholeNumber(old, "id"), revision };
    }
    case "TRUNCATE":
      return { tag: "truncated" };
    default:
      throw new RecordError("type", type);
  }
}
