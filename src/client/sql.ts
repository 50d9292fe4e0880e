import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import { SkaldError } from "./error.ts";
import type { Requests } from "./request.ts";
import { fromBase64, toBase64 } from "./storage.ts";

/** A value of a row: an integer beyond 2^53 is a bigint. */
export type SqlValue = null | number | bigint | string | Uint8Array;
/** An argument: booleans go as 1 and 0, lists and objects as their JSON text. */
export type SqlArg = SqlValue | boolean | readonly unknown[] | { readonly [key: string]: unknown };
/** In their order for `?`, or by their names for `:name`. */
export type SqlArgs = readonly SqlArg[] | { readonly [name: string]: SqlArg };

export interface SqlReadOptions {
  /** A seq, a commit's address or an RFC 3339 time; now when left out. */
  readonly at?: string | number;
  readonly branch?: string;
  readonly signal?: AbortSignal;
}

export interface SqlWriteOptions {
  readonly branch?: string;
  readonly message?: string;
  /** Its `client_tx_id`; made up when left out. Sent again with the same one, a write is not written again. */
  readonly txId?: string;
  /** Answer as if written and keep nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

export interface SqlRows<T> {
  /** By the names of the columns; a second column of one name is `name_2`. */
  readonly rows: readonly T[];
  readonly columns: readonly string[];
  /** As declared; null where there is none. */
  readonly types: readonly (string | null)[];
  /** The commit that the rows hold for. */
  readonly seq: number;
  readonly commit: string | undefined;
  /** A feed or a watch goes on from exactly here. */
  readonly cursor: string;
}

export interface SqlWritten<T> extends SqlRows<T> {
  readonly changed: number;
}

export interface SqlBatchResult {
  readonly changed: number;
  readonly seq: number;
  readonly commit: string | undefined;
  readonly cursor: string;
}

/** A statement of a batch: once, or once for each of `values`. */
export type SqlStatement =
  | { readonly sql: string; readonly args?: SqlArgs }
  | { readonly sql: string; readonly values: readonly (readonly SqlArg[])[] };

/** Runs a statement. `txId` makes it safe to send again, whatever it does. */
export async function execute<T>(
  requests: Requests,
  path: string,
  sql: string,
  args: SqlArgs | undefined,
  options: SqlReadOptions & SqlWriteOptions & { readonly txId: string },
): Promise<SqlWritten<T>> {
  const { at } = options;
  const text = await post(
    requests,
    `${path}/query/exec`,
    [
      member("sql", JSON.stringify(sql)),
      member("args", args === undefined ? undefined : argsJson(args)),
      member("at", at === undefined ? undefined : JSON.stringify(String(at))),
    ],
    options,
  );
  return readAnswer<T>(text);
}

/** Several statements as one commit: all of it or nothing. */
export async function executeBatch(
  requests: Requests,
  path: string,
  statements: readonly SqlStatement[],
  options: SqlWriteOptions & { readonly txId: string },
): Promise<SqlBatchResult> {
  const list = statements.map((statement) => {
    const given =
      "values" in statement
        ? member("values", `[${statement.values.map((row) => argsJson(row)).join()}]`)
        : member("args", statement.args === undefined ? undefined : argsJson(statement.args));
    return objectText([member("sql", JSON.stringify(statement.sql)), given]);
  });
  const text = await post(
    requests,
    `${path}/query/batch`,
    [member("statements", `[${list.join()}]`)],
    options,
  );
  const { rows_affected: changed, seq, commit, cursor } = JSON.parse(text) as Answer;
  return { changed: changed ?? 0, seq, commit: commit ?? undefined, cursor };
}

/** What a watch asks with, as JSON text. */
export function watchText(
  sql: string,
  args: SqlArgs | undefined,
  branch: string | undefined,
  since: string | undefined,
  heartbeat: number,
): string {
  return objectText([
    member("sql", JSON.stringify(sql)),
    member("args", args === undefined ? undefined : argsJson(args)),
    member("branch", branch === undefined ? undefined : JSON.stringify(branch)),
    member("since", since === undefined ? undefined : JSON.stringify(since)),
    member("delta", "true"),
    member("heartbeat", String(heartbeat)),
  ]);
}

interface Answer {
  readonly rows_affected?: number;
  readonly columns?: readonly string[];
  readonly types?: readonly (string | null)[];
  readonly rows?: readonly (readonly unknown[])[];
  readonly seq: number;
  readonly commit: string | null;
  readonly cursor: string;
}

async function post(
  requests: Requests,
  path: string,
  members: readonly (string | undefined)[],
  { branch, message, txId, dryRun, signal }: SqlWriteOptions & { readonly txId: string },
): Promise<string> {
  const response = await requests.send({
    method: "POST",
    path,
    headers: { "content-type": "application/json", accept: "application/json" },
    body: objectText([
      ...members,
      member("branch", branch === undefined ? undefined : JSON.stringify(branch)),
      member("message", message === undefined ? undefined : JSON.stringify(message)),
      member("client_tx_id", JSON.stringify(txId)),
      member("dry_run", dryRun ? "true" : undefined),
    ]),
    signal,
  });
  return new TextDecoder().decode(await requests.bytes(response));
}

const member = (name: string, text: string | undefined): string | undefined =>
  text === undefined ? undefined : `${JSON.stringify(name)}:${text}`;

function objectText(members: readonly (string | undefined)[]): string {
  return `{${members.filter((one) => one !== undefined).join()}}`;
}

function argsJson(args: SqlArgs): string {
  if (Array.isArray(args)) return `[${(args as readonly SqlArg[]).map(argJson).join()}]`;
  return objectText(
    Object.entries(args as object).map(([name, value]) => member(name, argJson(value as SqlArg))),
  );
}

/** Throws BAD_REQUEST for what has no JSON, such as undefined, NaN and functions. */
function argJson(value: SqlArg): string {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return `{"/":{"bytes":"${toBase64(value).replace(/=+$/, "")}"}}`;
  const text: unknown =
    typeof value === "number" && !Number.isFinite(value) ? undefined : JSON.stringify(value);
  if (typeof text === "string") return text;
  throw new SkaldError(
    "BAD_REQUEST",
    `An argument is ${typeof value === "number" ? value : typeof value}, which SQL has no value for.`,
    {
      hint: "null stands for NULL.",
    },
  );
}

/** Throws BAD_ANSWER. */
function readAnswer<T>(text: string): SqlWritten<T> {
  let answer: Answer;
  try {
    answer = JSON.parse(text) as Answer;
  } catch (error) {
    throw new SkaldError("BAD_ANSWER", "The answer is not JSON.", { cause: error });
  }
  const { columns = [], types = [], seq, commit, cursor, rows_affected: changed = 0 } = answer;
  // JSON.parse rounds integers from here on; most answers have none.
  const exact = /\d{16}/.test(text);
  const cells = exact
    ? itemTexts(memberTexts(text).get("rows") ?? "[]").map((row) => itemTexts(row).map(exactCell))
    : (answer.rows ?? []).map((row) => row.map(cellOf));
  const names = distinct(columns);
  const rows = cells.map((row) => rowOf<T>(row, names));
  return { rows, columns: names, types, seq, commit: commit ?? undefined, cursor, changed };
}

/** A row as an object by the names of its columns, which are distinct. */
export function rowOf<T>(cells: readonly SqlValue[], names: readonly string[]): T {
  const object = {} as Record<string, SqlValue>;
  cells.forEach((value, i) => put(object, names[i] as string, value));
  return object as T;
}

/** A value as its JSON text says it, with all its digits. */
export function exactCell(text: string): SqlValue {
  const value = JSON.parse(text) as unknown;
  if (typeof value === "number" && /^-?\d+$/.test(text) && !Number.isSafeInteger(value)) return BigInt(text);
  return cellOf(value);
}

/** An object in a row can be nothing but bytes. */
function cellOf(value: unknown): SqlValue {
  if (typeof value !== "object" || value === null) return value as SqlValue;
  return fromBase64((value as { "/": { bytes: string } })["/"].bytes);
}

function put(object: Record<string, SqlValue>, name: string, value: SqlValue): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Names of columns, of which later ones that were there are `name_2`. */
export function distinct(columns: readonly string[]): string[] {
  const used = new Set<string>();
  return columns.map((column) => {
    let name = column;
    for (let n = 2; used.has(name); n += 1) name = `${column}_${n}`;
    used.add(name);
    return name;
  });
}
