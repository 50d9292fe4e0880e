import type * as z from "zod";
import type { Action } from "../auth/actions.ts";
import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import { checkTxId } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { memberTexts } from "../protocol/json-source.ts";
import type { SqlRequest } from "../protocol/query-wire.ts";
import type { Statement } from "../query/queries.ts";
import type { Classified } from "../query/statement.ts";
import { jsonText } from "./body.ts";
import { notAllowed } from "./dispatch.ts";
import { notModified } from "./etag.ts";
import { argsOf, argsOfUrl } from "./query-args.ts";
import { noted } from "./noted.ts";
import { withHint } from "./query-hints.ts";
import type { QueryOutcome } from "./query-tally.ts";
import { cursorAt, pointHeaders } from "./point.ts";
import { json, type Answer, type Call } from "./route.ts";
import { idempotencyKey } from "./tx-routes.ts";

export const CSV = "text/csv";
export const NDJSON = "application/x-ndjson";
export const JSON_TYPE = "application/json";
/** Forms in which rows go out. */
export type Form = "json" | "ndjson" | "csv";
const TYPES: Readonly<Record<Form, string>> = {
  json: JSON_TYPE,
  ndjson: NDJSON,
  csv: `${CSV}; charset=utf-8; header=present`,
};

/** What of a statement a request says; the rest is of its caller. */
export type Asked = Omit<Statement, "principal" | "author"> & {
  readonly clientTxId?: string;
  readonly dryRun?: boolean;
};

export async function execAnswer(call: Call): Promise<Answer> {
  const { sql, branch, at, message, ...rest } = call.body.value as z.infer<typeof SqlRequest>;
  const classified = classify(call, sql);
  for (const action of actionsOf(classified)) mustHave(call, action);
  const args = argsOf(memberTexts(jsonText(call.body.bytes)).get("args"));
  const { kind } = classified;
  const statement: Asked = { sql, ...given({ args, branch, at, message }) };
  if (kind !== "write" && kind !== "schema")
    return call.db((db) => rowsAnswer(call, db, statement, formOf(call.header("accept"))));
  const clientTxId = clientTxIdOf(call, rest.client_tx_id);
  const dryRun = isDryRun(call, rest.dry_run);
  return call.db(async (db) => {
    const answer = await jsonAnswer(call, db, { ...statement, ...given({ clientTxId }), dryRun }, kind);
    if (kind === "schema" && dryRun !== true) await noted(call, "schema.change", { detail: sql });
    return answer;
  });
}

/** The method QUERY. */
export async function queryAnswer(call: Call): Promise<Answer> {
  const { at, branch, ...named } = call.query as Record<string, string>;
  const form = formOf(call.header("accept"));
  if (call.body.type === "application/sql") {
    const sql = utf8(call.body.bytes);
    mustRead(call, sql);
    const statement = { sql, args: argsOfUrl(named), ...given({ at, branch }) };
    return call.db((db) => rowsAnswer(call, db, statement, form));
  }
  const [name] = Object.keys(named);
  if (name !== undefined)
    throw new SkaldError(
      "BAD_REQUEST",
      `With a body of JSON, arguments stand in its \`args\`, not in ?${name.slice(0, 80)}=.`,
    );
  const body = call.body.value as z.infer<typeof SqlRequest>;
  mustRead(call, body.sql);
  const args = argsOf(memberTexts(jsonText(call.body.bytes)).get("args"));
  const statement = { sql: body.sql, ...given({ args, at: body.at ?? at, branch: body.branch ?? branch }) };
  return call.db((db) => rowsAnswer(call, db, statement, form));
}

/** The rows of a statement that reads. */
export async function rowsAnswer(
  call: Call,
  db: Db,
  asked: Asked,
  form: Form,
  headers: (seq: number) => Record<string, string> = () => ({}),
): Promise<Answer> {
  if (form === "json") return jsonAnswer(call, db, asked, "read", headers);
  const { streamMs, streamRows, streamBytes } = LIMITS.sql;
  const bounds = { ms: streamMs.value, rows: streamRows.value, bytes: streamBytes.value };
  const statement = { ...asked, ...callerOf(call), format: form, bounds };
  const stream = await counted(call, "read", () => call.services.queries.stream(db, statement, call.signal));
  const { seq, columns, pages } = stream;
  return {
    status: 200,
    headers: { "content-type": TYPES[form], vary: "accept", ...pointHeaders(db, seq), ...headers(seq) },
    body: form === "csv" ? pages : linesOf(db, seq, columns, pages, call.failed),
  };
}

/** An answer of a query process goes out as it came, with the cursor behind its other members. */
async function jsonAnswer(
  call: Call,
  db: Db,
  asked: Asked,
  outcome: QueryOutcome,
  headers: (seq: number) => Record<string, string> = () => ({}),
): Promise<Answer> {
  const statement = { ...asked, ...callerOf(call) };
  const { seq, json } = await counted(call, outcome, () => call.services.queries.exec(db, statement, call));
  const body = Buffer.from(json as string);
  return {
    status: 200,
    headers: { "content-type": JSON_TYPE, vary: "accept", ...pointHeaders(db, seq), ...headers(seq) },
    body: Buffer.concat([body.subarray(0, -1), Buffer.from(`,"cursor":"${cursorAt(db, seq)}"}`)]),
  };
}

/** Is another when a statement of the schema came in. */
export function schemaAnswer(call: Call): Promise<Answer> {
  return call.db(async (db) => {
    const { at, branch } = call.query as { at?: string; branch?: string };
    const { seq, tables } = await call.services.queries.names(db, call.principal.id, given({ at, branch }));
    const etag = `"schema.${db.log.schemaSeq(branch, seq)}"`;
    const headers = { ...pointHeaders(db, seq), etag };
    if (notModified(call.header("if-none-match"), etag)) return { status: 304, headers };
    const { "skald-commit": commit = null, "skald-cursor": cursor } = headers as Record<string, string>;
    return json(200, { tables, seq, commit, cursor }, headers);
  });
}

/** A head, the rows as they come, and an end that says how many there were or why they broke off. */
async function* linesOf(
  db: Db,
  seq: number,
  columns: readonly string[],
  pages: AsyncIterable<Uint8Array>,
  failed: (error: unknown) => void,
): AsyncGenerator<string | Uint8Array> {
  const { "skald-commit": commit = null, "skald-cursor": cursor } = pointHeaders(db, seq);
  const point = { seq, commit, cursor };
  yield `${JSON.stringify({ columns, ...point })}\n`;
  let rows = 0;
  try {
    for await (const page of pages) {
      for (let at = page.indexOf(LINE_END); at >= 0; at = page.indexOf(LINE_END, at + 1)) rows += 1;
      yield page;
    }
    yield `${JSON.stringify({ row_count: rows, ...point })}\n`;
  } catch (error) {
    if (!isSkaldError(error) || error.status >= 500) failed(error);
    const { code, message, hint, details } = isSkaldError(error)
      ? error
      : new SkaldError("INTERNAL", "The server failed.");
    yield `${JSON.stringify({ error: { code, detail: message, hint, ...details } })}\n`;
  }
}

const LINE_END = 0x0a;

/** Runs a statement, counted; what refuses it says what helps. */
export async function counted<T>(
  { services }: Call,
  outcome: QueryOutcome,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await services.queryTally.count(outcome, () => services.world.monotonic(), work);
  } catch (error) {
    throw withHint(error);
  }
}

export function classify({ services }: Call, sql: string): Classified {
  try {
    return services.queries.classify(sql);
  } catch (error) {
    throw withHint(error);
  }
}

/** Actions that a statement needs, by what it does. */
export function actionsOf({ kind, tokens }: Classified): Action[] {
  if (kind === "read" || kind === "explain") return ["query.read"];
  if (kind !== "write") return ["query.admin"];
  // What it gives back is read, whatever it writes.
  return tokens.some(({ word }) => word === "RETURNING") ? ["query.write", "query.read"] : ["query.write"];
}

/** Throws FORBIDDEN. */
export function mustHave({ principal, params }: Call, action: Action): void {
  if (!allows(principal, action, params["db"])) throw notAllowed(principal, action, params["db"]);
}

function mustRead(call: Call, sql: string): void {
  const { kind } = classify(call, sql);
  if (kind === "read" || kind === "explain") return;
  throw new SkaldError("SQL_NOT_ALLOWED", "The method QUERY only reads.", {
    hint: "POST …/query/exec takes statements that write.",
  });
}

/** Throws NOT_ACCEPTABLE. */
export function formOf(accept: string | undefined): Form {
  if (accept === undefined || accept.trim() === "") return "json";
  const weights: Record<Form, number> = { json: 0, ndjson: 0, csv: 0 };
  for (const part of accept.split(",")) {
    const [type = "", ...params] = part.split(";").map((piece) => piece.trim().toLowerCase());
    const q = Number(params.find((param) => param.startsWith("q="))?.slice(2) ?? 1);
    // What is named goes before what a wildcard covers.
    const named = q > 0 ? q + 0.001 : 0;
    if (type === JSON_TYPE) weights.json = Math.max(weights.json, named);
    else if (type === NDJSON) weights.ndjson = Math.max(weights.ndjson, named);
    else if (type === CSV) weights.csv = Math.max(weights.csv, named);
    else if (type === "*/*" || type === "application/*") weights.json = Math.max(weights.json, q);
    else if (type === "text/*") weights.csv = Math.max(weights.csv, q);
  }
  const best = (["json", "ndjson", "csv"] as const).reduce((a, b) => (weights[b] > weights[a] ? b : a));
  if (weights[best] === 0)
    throw new SkaldError("NOT_ACCEPTABLE", `Rows come as ${JSON_TYPE}, ${NDJSON} or ${CSV}.`);
  return best;
}

export function callerOf({ principal }: Call): { principal: string; author: string } {
  return { principal: principal.id, author: principal.subject };
}

export function clientTxIdOf(call: Call, given: string | undefined): string | undefined {
  return given === undefined ? idempotencyKey(call) : checkTxId(given);
}

export function isDryRun(call: Call, given: boolean | undefined): boolean {
  return given ?? call.query["dry_run"] === "true";
}

/** Without what is undefined. */
export function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Throws BAD_REQUEST. */
function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SkaldError("BAD_REQUEST", "The statement is not UTF-8.", { cause });
  }
}
