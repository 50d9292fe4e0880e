import { quoted } from "../tables/tokens.ts";

/**
 * What a statement did to rows, as triggers noted it: for each row that was inserted, updated or deleted the keys, in
 * the order in which it happened. From that follows which documents are new, gone, changed, or moved to another key.
 */

/** A row of the note: place of the table, what happened, the key, and the key before. */
export type Noted = readonly [table: number, what: number, key: unknown, before: unknown, ...rest: unknown[]];

export const INSERTED = 0;
export const UPDATED = 1;
export const DELETED = 2;
/** `documents.seq` was given a value, which is nobody's to give. */
export const SEQ_WRITTEN = 3;

export const NOTE_TABLE = "CREATE TEMP TABLE skald_note (n INTEGER PRIMARY KEY, t, what, k, o, c, oc)";
export const READ_NOTE = "SELECT t, what, k, o, c, oc FROM skald_note ORDER BY n";
export const CLEAR_NOTE = "DELETE FROM skald_note";

/** The triggers that note what happens to a table, whose place in the list of tables is `place`. */
export function triggersOf(table: string, key: string, place: number): string[] {
  const k = quoted(key);
  const isDocuments = table === "documents";
  const collection = (row: string): string => (isDocuments ? `${row}.collection` : "NULL");
  const note = (on: string, what: number, after: string, before: string): string =>
    `CREATE TEMP TRIGGER skald_${on.toLowerCase()}_${place} AFTER ${on} ON main.${quoted(table)} BEGIN
       INSERT INTO skald_note (t, what, k, o, c, oc) VALUES
         (${place}, ${what}, ${after}.${k}, ${before}.${k}, ${collection(after)}, ${collection(before)}); END`;
  const triggers = [
    note("INSERT", INSERTED, "new", "new"),
    note("UPDATE", UPDATED, "new", "old"),
    note("DELETE", DELETED, "old", "old"),
  ];
  if (!isDocuments) return triggers;
  const seq = (on: string, when: string): string =>
    `CREATE TEMP TRIGGER skald_seq_${on.toLowerCase()} AFTER ${on} ON main.documents WHEN ${when} BEGIN
       INSERT INTO skald_note (t, what) VALUES (${place}, ${SEQ_WRITTEN}); END`;
  return [
    ...triggers,
    seq("INSERT", "new.seq IS NOT 0"),
    seq("UPDATE", "new.seq IS NOT old.seq AND new.seq IS NOT 0"),
  ];
}

/** What became of a document's row. `from`: the document whose fields it goes on with; undefined for a fresh one. */
export interface Effect {
  readonly name: string;
  readonly from: string | undefined;
  /** It was not there before the statement. */
  readonly isNew: boolean;
}

/** One thing that happened, by the documents' names. */
export interface Happened {
  readonly what: number;
  readonly name: string;
  readonly before: string;
}

/** The documents that were touched, in the order in which they first were, and where their rows came from. */
export function effectsOf(happened: readonly Happened[]): Effect[] {
  // By name: the document that its row goes on with, "" for a fresh or gone one.
  const origins = new Map<string, string>();
  const created = new Set<string>();
  const originOf = (name: string): string => origins.get(name) ?? name;
  const arrive = (name: string, origin: string): void => {
    if (!origins.has(name)) created.add(name);
    origins.set(name, origin);
  };
  for (const { what, name, before } of happened) {
    if (what === INSERTED) arrive(name, FRESH);
    else if (what === DELETED) origins.set(name, FRESH);
    else if (name === before) origins.set(name, originOf(name));
    else {
      const origin = originOf(before);
      origins.set(before, FRESH);
      arrive(name, origin);
    }
  }
  return [...origins].map(([name, origin]) => ({
    name,
    from: origin === FRESH ? undefined : origin,
    isNew: created.has(name),
  }));
}

const FRESH = "";
