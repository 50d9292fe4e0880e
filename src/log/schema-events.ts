import { isSkaldError, SkaldError } from "../errors.ts";
import { CODEC_RAW, cidCodec, cidToString } from "../ids/cid.ts";
import { checkStatementName } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { mergeEventIn } from "./branch-events.ts";
import type { Branches } from "./branches.ts";
import { decodeEvent, encodeEvent, type Event } from "./event.ts";
import { isMerge, mergedIn } from "./merged.ts";
import type { SchemaStep } from "./schema-steps.ts";
import type { StoredCommit } from "./stored-commit.ts";

/**
 * What SQL says of a db that is no document: statements that make the schema, which belong to the branch that their
 * commit is of, and stored statements, which are the db's. The log keeps them as they are and never reads the SQL.
 */
export type SchemaEvent =
  | { readonly type: typeof SCHEMA_CHANGE; readonly sql: string }
  | {
      readonly type: typeof QUERY_SAVE;
      readonly name: string;
      readonly sql: string;
      readonly description?: string | undefined;
    }
  | { readonly type: typeof QUERY_REMOVE; readonly name: string };

export const SCHEMA_CHANGE = "schema.change";
export const QUERY_SAVE = "query.save";
export const QUERY_REMOVE = "query.remove";

/** Throws NAME_INVALID, BAD_REQUEST, TOO_LARGE for what no event of these types may hold. */
export function encodeSchemaEvent(event: SchemaEvent): Uint8Array {
  if (event.type !== SCHEMA_CHANGE) checkStatementName(event.name);
  if (event.type !== QUERY_REMOVE) checkText("statement", event.sql, LIMITS.schema.statementBytes.value);
  if (event.type === QUERY_SAVE && event.description !== undefined)
    checkText("description", event.description, LIMITS.schema.descriptionBytes.value);
  return encodeEvent({ ...event });
}

function checkText(what: string, text: string, max: number): void {
  if (text === "" || !text.isWellFormed())
    throw new SkaldError("BAD_REQUEST", `The ${what} is empty or has half a surrogate pair.`);
  if (Buffer.byteLength(text) <= max) return;
  throw new SkaldError("TOO_LARGE", `The ${what} has more than ${max} bytes.`, { details: { max } });
}

/** What an event of these types says; undefined when it is none that counts, whoever wrote it. */
export function schemaEventOf(event: Event): SchemaEvent | undefined {
  const { type, name, sql, description, ...rest } = event;
  if (Object.keys(rest).length > 0) return undefined;
  let read: SchemaEvent | undefined;
  if (type === SCHEMA_CHANGE && typeof sql === "string" && name === undefined && description === undefined)
    read = { type, sql };
  else if (type === QUERY_SAVE && typeof name === "string" && typeof sql === "string") {
    if (description !== undefined && typeof description !== "string") return undefined;
    read = { type, name, sql, ...(description === undefined ? {} : { description }) };
  } else if (type === QUERY_REMOVE && typeof name === "string" && sql === undefined) {
    if (description === undefined) read = { type, name };
  }
  try {
    if (read) encodeSchemaEvent(read);
    return read;
  } catch (error) {
    if (isSkaldError(error)) return undefined;
    throw error;
  }
}

/** An event of these types in a commit. */
export interface SaidSchema {
  readonly event: SchemaEvent;
  /** The commit that said it and its place among that one's events: the same however often merges bring it. */
  readonly id: string;
}

/**
 * The events of these types in a commit, in order; in a merge of two lines those of the commits in it. Erased events, and
 * what has the type and not the form, are left out.
 */
export function schemaEventsIn(stored: StoredCommit): SaidSchema[] {
  const { commit, blocks } = stored;
  if (commit.events.length === 0) return [];
  const from = blocks.length - commit.events.length;
  if (!isMerge(commit)) return saidBy(stored.cid, commit.events, (i) => blocks[from + i]);
  // Equal events of several commits stand in a merge once.
  const places = new Map(commit.events.map((cid, i) => [cidToString(cid), from + i]));
  return mergedIn(stored).flatMap((merged) =>
    isMerge(merged.commit)
      ? []
      : saidBy(merged.cid, merged.commit.events, (_i, cid) => blocks[places.get(cidToString(cid)) ?? -1]),
  );
}

function saidBy(
  commit: Uint8Array,
  events: readonly Uint8Array[],
  blockOf: (i: number, cid: Uint8Array) => Uint8Array | undefined,
): SaidSchema[] {
  return events.flatMap((cid, i): SaidSchema[] => {
    const block = cidCodec(cid) === CODEC_RAW ? blockOf(i, cid) : undefined;
    if (!block || block.length === 0) return [];
    const event = readEvent(block);
    const read = event && schemaEventOf(event);
    return read ? [{ event: read, id: `${cidToString(commit)}.${i}` }] : [];
  });
}

function readEvent(block: Uint8Array): Event | undefined {
  try {
    return decodeEvent(block);
  } catch (error) {
    if (isSkaldError(error)) return undefined;
    throw error;
  }
}

/** The steps of a commit, in order. `branches` are those before it, or after. */
export function schemaStepsOf(stored: StoredCommit, branches: Branches): SchemaStep[] {
  const { seq, branch: name } = stored.commit;
  const branch = branches.idOf(name, seq);
  if (stored.commit.events.length === 0 || branch === undefined) return [];
  const merge = mergeEventIn(stored);
  if (merge) {
    const from = branches.idOf(merge.from, merge.seq);
    return from === undefined ? [] : [{ seq, branch, from, upTo: merge.seq }];
  }
  return schemaEventsIn(stored)
    .filter(({ event }) => event.type === SCHEMA_CHANGE)
    .map(({ event, id }, index) => ({
      seq,
      branch,
      statement: { seq, index, sql: (event as { sql: string }).sql },
      id,
    }));
}

/** A stored statement. */
export interface StoredStatement {
  readonly name: string;
  readonly sql: string;
  readonly description?: string;
  /** The commit that saved it. */
  readonly seq: number;
}

/** What the catalog keeps of a stored statement's name; undefined when it was removed. */
export function readStatement(bytes: Uint8Array, seq: number): StoredStatement | undefined {
  const event = schemaEventOf(decodeEvent(bytes));
  if (event?.type !== QUERY_SAVE) return undefined;
  const { name, sql, description } = event;
  return { name, sql, ...(description === undefined ? {} : { description }), seq };
}
