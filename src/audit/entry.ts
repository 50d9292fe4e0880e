import type { World } from "../world.ts";

/** What is noted in the audit log, and the document that it becomes there. */

/** Who did something: his principal, or its id alone. */
export type Actor = string | { readonly id: string; readonly subject: string };

export interface AuditEntry {
  /** Whoever acted; `nobody` is for what comes without a credential, `server` for the server itself. */
  readonly principal: Actor;
  /** What was done: a noun and a verb such as `token.create`. Fixed for all versions, as people search for it. */
  readonly action: string;
  /** The db it was done to. */
  readonly db?: string;
  /** Free text, cut at 1,000 characters; never a token or another secret. */
  readonly detail?: string;
  /** Where from: see `Call.address`. */
  readonly address?: string;
  readonly request_id?: string;
}

/** An entry as it is kept and as everybody reads it: nothing that is not known has a field. */
export interface AuditDocument {
  /** RFC 3339, UTC, with milliseconds. */
  readonly time: string;
  readonly who: string;
  readonly subject?: string;
  readonly action: string;
  readonly db?: string;
  readonly detail?: string;
  readonly address?: string;
  readonly request_id?: string;
  /** How often, of what is summed up; absent: once. */
  readonly count?: number;
}

/** An entry with its name in the log. */
export interface Named {
  readonly key: string;
  readonly document: AuditDocument;
}

/** The collection of the audit log's documents. */
export const ENTRIES = "entries";
const DETAIL_CHARACTERS = 1000;
const FIELD_CHARACTERS = 256;

export function documentOf(entry: AuditEntry, time: number, count = 1): AuditDocument {
  const { principal, action, db, detail, address, request_id } = entry;
  const { id, subject } = typeof principal === "string" ? { id: principal, subject: "" } : principal;
  return {
    time: new Date(time).toISOString(),
    who: cut(id === "" ? "nobody" : id),
    ...(subject === "" || subject === id ? {} : { subject: cut(subject) }),
    action: cut(action),
    ...(db === undefined ? {} : { db: cut(db) }),
    ...(detail === undefined ? {} : { detail: cut(detail, DETAIL_CHARACTERS) }),
    ...(address === undefined || address === "" ? {} : { address: cut(address) }),
    ...(request_id === undefined ? {} : { request_id: cut(request_id) }),
    ...(count === 1 ? {} : { count }),
  };
}

/** Half a surrogate pair, cut or sent, has no UTF-8. */
function cut(text: string, most = FIELD_CHARACTERS): string {
  return text.slice(0, most).toWellFormed();
}

/** Beyond every time that there will be; its digits are those of every key. */
const END = 99_999_999_999_999;
const MOST_IN_A_MS = 999_999;

/** Start of the keys of a millisecond: later ones come first, as they do in every list of what happened. */
export function keyAt(time: number): string {
  return String(END - Math.min(Math.max(0, time), END)).padStart(14, "0");
}

/** Names for entries: none is given twice, not by an earlier or later run either. */
export function entryNames(world: World): (time: number) => string {
  let run: string | undefined;
  let last = 0;
  let number = 0;
  return (time) => {
    run ??= Buffer.from(world.random(5)).toString("hex");
    number = time === last ? number + 1 : 0;
    last = time;
    return `${keyAt(time)}-${String(MOST_IN_A_MS - number).padStart(6, "0")}-${run}`;
  };
}
