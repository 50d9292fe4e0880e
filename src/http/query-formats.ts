/**
 * The forms in which rows of SQL leave: JSON, lines of JSON, CSV. All of them are exact: an integer has all
 * its digits, bytes are told from text.
 */

/** What SQLite has: INTEGER as a number or, beyond 2^53, a bigint. */
export type SqlValue = null | number | bigint | string | Uint8Array;

export const CSV = "text/csv";
export const NDJSON = "application/x-ndjson";
export const JSON_TYPE = "application/json";
export type QueryForm = typeof CSV | typeof NDJSON | typeof JSON_TYPE;

/** JSON text of a value: bytes as documents have them, what is no number in JSON as null. */
export function jsonOf(value: SqlValue): string {
  switch (typeof value) {
    case "bigint":
      return String(value);
    case "object":
      return value === null ? "null" : `{"/":{"bytes":"${base64(value).replace(/=+$/, "")}"}}`;
    default:
      return JSON.stringify(value);
  }
}

export function rowJson(row: readonly SqlValue[]): string {
  return `[${row.map(jsonOf).join()}]`;
}

/**
 * A record of RFC 4180, its line end included. NULL is nothing at all, an empty text is `""`, bytes are base64.
 * What a spreadsheet would take for a formula is left as it is: the file holds what the db holds.
 */
export function csvRow(row: readonly SqlValue[]): string {
  return `${row.map(csvField).join()}\r\n`;
}

function csvField(value: SqlValue): string {
  if (value === null) return "";
  if (typeof value === "string") return MUST_QUOTE.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  if (value instanceof Uint8Array) return base64(value);
  return Number.isFinite(value) || typeof value === "bigint" ? String(value) : "";
}

/** Spaces at either end too: some readers cut them off. */
const MUST_QUOTE = /[",\r\n]|^\s|\s$|^$/;

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
