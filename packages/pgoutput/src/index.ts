export { decodeMessage } from "./decoder.ts";
export { ProtocolError } from "./errors.ts";
export { JsonBuffer } from "./json-buffer.ts";
export type * from "./messages.ts";
export { relationOidOf, RowTranscoder } from "./row-transcoder.ts";
export { toBytes, toText } from "./text.ts";
export { baseTypeOf, type TypeCatalog, type TypeInfo } from "./type-catalog.ts";
export { valueWriter, type ValueWriter } from "./value-writers.ts";
