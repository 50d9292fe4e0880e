import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import { LIMITS } from "../limits.ts";
import { memberTexts } from "../protocol/json-source.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { readText, withConnection, type Connection } from "./connection.ts";
import { CliError, usageError } from "./failure.ts";
import { splitLines } from "./line-splitter.ts";
import { note, openSink, print } from "./output.ts";
import { argumentsJson, isOfSchema, statementsOf } from "./sql-arguments.ts";
import { answerTexts, distinctNames, objectText, sqlTable } from "./sql-output.ts";

/** How the answer of a statement is shown. */
export interface FormFlags extends ClientFlags {
  readonly csv?: true;
  readonly ndjson?: true;
  readonly output?: string;
}

interface QueryFlags extends FormFlags {
  readonly param: readonly string[];
  readonly at?: string;
  readonly branch?: string;
  readonly message?: string;
  readonly dryRun?: true;
  readonly file?: string;
}

export const TYPES = { csv: "text/csv", ndjson: "application/x-ndjson", json: "application/json" } as const;

/** Adds the options of every command that shows rows. */
export function rowsCommand(command: Command, examples: readonly string[]): Command {
  return clientCommand(command, examples)
    .option("--csv", "as CSV, with the names first")
    .option("--ndjson", "a JSON object a line, one for each row")
    .option("-o, --output <file>", "file to write")
    .option(
      "--param <name=value>",
      "argument for :name; repeat for more",
      (given: string, before: string[]) => [...before, given],
      [],
    )
    .option("--at <point>", "as it was at a seq, a commit or a time")
    .option("--branch <name>", "on another branch than main");
}

export function addQuery(program: Command): void {
  rowsCommand(
    program
      .command("query <db> [sql] [args...]")
      .description("run an SQL statement; - reads it from stdin")
      .option("--file <path>", "run the statements of a file; those between two of the schema are one commit")
      .option("--message <text>", "of the commit that a write makes")
      .option("--dry-run", "answer as if written and keep nothing"),
    [
      `skald query shop 'SELECT key, value ->> ''price'' AS price FROM documents WHERE collection = ?' items`,
      `skald query shop 'CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, price REAL)'`,
      `skald query shop 'SELECT name FROM items WHERE price < :most' --param most=10 --csv`,
      `skald query shop 'SELECT count(*) FROM items' --at 2026-01-31T12:00:00Z`,
      `skald query shop 'UPDATE items SET price = price * 1.1' --dry-run`,
      `skald query shop --file schema.sql`,
    ],
  ).action(async (db: string, sql: string | undefined, args: string[], flags: QueryFlags) => {
    if ((sql === undefined) === (flags.file === undefined))
      throw usageError("Give a statement, - for stdin, or --file.");
    if (flags.file !== undefined) return runFile(db, flags.file, flags);
    checkForm(flags);
    const statement = sql === "-" ? await readAll(process.stdin) : (sql as string);
    const argsText = argumentsJson(args, flags.param);
    const { at, branch, message, dryRun } = flags;
    const body = `{"sql":${JSON.stringify(statement)}${argsText === undefined ? "" : `,"args":${argsText}`}${rest({ at, branch, message, dry_run: dryRun })}}`;
    return withConnection(flags, async (connection) => {
      const reply = await connection.send({
        method: "POST",
        path: `${dbPath(db)}/query/exec`,
        headers: { "content-type": TYPES.json, accept: acceptOf(flags) },
        body,
      });
      await showRows(reply, flags);
    });
  });
}

/** Throws USAGE when more than one form is asked for. */
export function checkForm({ csv, ndjson, json }: FormFlags): void {
  if ([csv, ndjson, json].filter((given) => given).length > 1)
    throw usageError("--csv, --ndjson and --json are three forms: give one of them.");
}

export function acceptOf({ csv, ndjson }: FormFlags): string {
  return csv ? TYPES.csv : ndjson ? TYPES.ndjson : TYPES.json;
}

/** Fields of a JSON object after the first, those that are undefined left out. */
function rest(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`)
    .join("");
}

/** Shows an answer in the form that was asked for. A write has no other than JSON, whatever was asked. */
export async function showRows(reply: IncomingMessage, flags: FormFlags): Promise<void> {
  const type = (reply.headers["content-type"] ?? "").split(";", 1)[0];
  const sink = await openSink(flags.output);
  try {
    if (type === TYPES.csv) for await (const part of reply) await sink.write(part as Buffer);
    else if (type === TYPES.ndjson) for await (const line of objectLines(reply)) await sink.write(line);
    else {
      const text = await readText(reply);
      if (flags.json) await sink.write(`${text}\n`);
      else {
        const width = flags.output === undefined && process.stdout.isTTY ? process.stdout.columns : undefined;
        const answer = answerTexts(text);
        if (answer) await sink.write(flags.ndjson ? linesOf(answer) : sqlTable(answer, width));
        note(summaryOf(text));
      }
    }
    await sink.finish();
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

function linesOf({
  columns,
  rows,
}: {
  columns: readonly string[];
  rows: readonly (readonly string[])[];
}): string {
  const names = distinctNames(columns);
  return rows.map((row) => `${objectText(names, row)}\n`).join("");
}

/** The rows between head and end. Throws what the last line tells of, and FAILED when there is none. */
async function* objectLines(reply: IncomingMessage): AsyncGenerator<string> {
  let last = "{}";
  let lines = 0;
  for await (const bytes of splitLines(reply, LIMITS.cli.recordBytes.value)) {
    // The first is the head, and which is the last nobody knows before the end.
    if (lines > 1) yield `${last}\n`;
    last = bytes.toString("utf8");
    lines += 1;
  }
  const end = JSON.parse(last) as {
    row_count?: number;
    seq?: number;
    error?: { code?: string; detail?: string; hint?: string };
  };
  if (end.error) {
    const { code = "FAILED", detail = "", hint } = end.error;
    throw new CliError(code, detail, hint === undefined ? {} : { hint });
  }
  if (end.row_count === undefined) throw new CliError("FAILED", "The answer broke off before its end.");
  note(`${plural(end.row_count, "row")} at seq ${end.seq ?? 0}.`);
}

function summaryOf(text: string): string {
  const members = memberTexts(text);
  const number = (name: string): number | undefined => {
    const found = members.get(name);
    return found === undefined ? undefined : Number(found);
  };
  const seq = number("seq") ?? 0;
  const changed = number("rows_affected");
  if (changed !== undefined) {
    const commit = members.get("commit") ?? "null";
    return `${plural(changed, "row")} changed${commit === "null" ? "" : ` by commit ${seq}`}.`;
  }
  return `${plural(number("row_count") ?? 0, "row")} at seq ${seq}.`;
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

async function runFile(db: string, file: string, flags: QueryFlags): Promise<void> {
  if (flags.param.length > 0 || flags.at !== undefined || flags.csv || flags.ndjson)
    throw usageError("--file takes --branch, --message, --dry-run and --json beside it.");
  const text = file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  const statements = statementsOf(text.replace(/^\uFEFF/, ""));
  if (statements.length === 0) throw usageError(`${file} has no statement.`);
  await withConnection(flags, async (connection) => {
    for (const part of partsOf(statements)) await runPart(connection, db, part, flags);
  });
}

/** A statement of the schema is a commit of its own; the others between two of them are one commit. */
function partsOf(statements: readonly string[]): string[][] {
  const parts: string[][] = [];
  let open: string[] | undefined;
  for (const sql of statements) {
    if (isOfSchema(sql)) {
      parts.push([sql]);
      open = undefined;
    } else if (open) open.push(sql);
    else parts.push((open = [sql]));
  }
  return parts;
}

async function runPart(
  connection: Connection,
  db: string,
  statements: readonly string[],
  { branch, message, dryRun, json }: QueryFlags,
): Promise<void> {
  const [first = ""] = statements;
  const alone = isOfSchema(first);
  const body = alone ? { sql: first } : { statements: statements.map((sql) => ({ sql })) };
  const reply = await connection.send({
    method: "POST",
    path: `${dbPath(db)}/query/${alone ? "exec" : "batch"}`,
    headers: { "content-type": TYPES.json },
    body: JSON.stringify({ ...body, branch, message, dry_run: dryRun }),
  });
  const text = await readText(reply);
  if (json) await print(`${text}\n`);
  else if (alone) note(`${first.split("\n", 1)[0] ?? ""}: commit ${memberTexts(text).get("seq") ?? ""}.`);
  else note(`${plural(statements.length, "statement")}: ${summaryOf(text)}`);
}

/** For a URL: named arguments as they were typed. Throws USAGE. */
export function searchOf(flags: { readonly param: readonly string[]; at?: string; branch?: string }): string {
  const named = JSON.parse(argumentsJson([], flags.param) ?? "{}") as Record<string, unknown>;
  const values: Record<string, string | undefined> = { at: flags.at, branch: flags.branch };
  for (const given of flags.param) {
    const [, name = "", value = ""] = /^[:@$]?([^=]+)=([^]*)$/.exec(given) ?? [];
    if (Object.hasOwn(named, name)) values[name] = value;
  }
  return query(values);
}
