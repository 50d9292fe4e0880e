import { SkaldError } from "../errors.ts";
import { bind, type WireArgs } from "./binding.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";
import { NewKeys } from "./new-keys.ts";
import type { DocumentEdit } from "./pending.ts";
import { byteLimit, rowLimit, typeOf } from "./read-job.ts";
import { exactRow, type Cell } from "./rows-text.ts";
import { TrialTables } from "./trial-tables.ts";
import { Trial } from "./trial.ts";
import { prepareWrite, type WriteStatement } from "./write-statement.ts";

/** Statements that write, all of them or none. */
export interface WriteJobRequest {
  /** The tables file. */
  readonly file: string;
  readonly statements: readonly {
    readonly sql: string;
    /** Arguments of each time that it is run. */
    readonly runs: readonly WireArgs[];
  }[];
  /** For keys that are made here: milliseconds since 1970, and 10 bytes in base64. */
  readonly now: number;
  readonly random: string;
  /** Documents that one commit may write. */
  readonly documents: number;
}

/** What the statements would do. Nothing of it is kept: the file is as it was. */
export interface WriteJobValue {
  /** What the file held. */
  readonly seq: number;
  readonly branch: number;
  readonly edits: readonly DocumentEdit[];
  /** Collections that were looked at as a whole; `all` for whatever there is in the db. */
  readonly collections: readonly string[] | "all";
  /** Rows that each statement changed. */
  readonly affected: readonly number[];
}

/** The rows of each statement that gives any, as JSON text: `[{"columns","types","rows"} or null, …]`. */
export function writeJob(request: WriteJobRequest, bounds: Bounds): JobAnswer {
  const tables = tablesOf(request.file);
  const prepared: WriteStatement[] = [];
  const affected: number[] = [];
  const rows = new Answers(bounds);
  const { sqlite } = tables;
  let at = 0;
  try {
    sqlite.exec("BEGIN IMMEDIATE");
    const { seq, branch } = tables.head();
    for (at = 0; at < request.statements.length; at += 1)
      prepared.push(statementOf(tables, request.statements[at]?.sql as string));
    const keys = new NewKeys(request.now, Buffer.from(request.random, "base64"));
    const trial = new Trial(tables, prepared, keys, request.documents);
    tables.clearNote();
    for (at = 0; at < prepared.length; at += 1) {
      const statement = prepared[at] as WriteStatement;
      const { runs } = request.statements[at] as WriteJobRequest["statements"][number];
      let changes = 0;
      for (const args of runs) {
        const ran = trial.run(statement, bind(statement.parameters, args));
        changes += ran.changes;
        if (ran.rows) rows.add(at, statement, ran.rows);
      }
      affected.push(changes);
    }
    const edits = trial.edits();
    if (edits.length > request.documents) throw tooMany(edits.length, request.documents);
    const { collections } = trial;
    const value: WriteJobValue = { seq, branch, edits, collections, affected };
    return { value, body: rows.text(prepared.length) };
  } catch (error) {
    const sql = request.statements[at]?.sql ?? "";
    throw request.statements.length > 1 ? ofStatement(failureOf(error, sql), at) : failureOf(error, sql);
  } finally {
    if (sqlite.inTransaction) sqlite.exec("ROLLBACK");
  }
}

export function tooMany(documents: number, max: number): SkaldError {
  return new SkaldError(
    "QUERY_LIMIT",
    `One commit writes at most ${max} documents, and this would be ${documents}.`,
    {
      details: { limit: "documents", max },
      hint: "Write fewer rows at a time: with a range of keys, or in several batches.",
    },
  );
}

function ofStatement(error: SkaldError, statement: number): SkaldError {
  const { code, message, hint, details, cause } = error;
  return new SkaldError(code, message, { hint, details: { ...details, statement }, cause });
}

/** The rows of the statements, within what an answer may have. */
class Answers {
  readonly #bounds: Bounds;
  readonly #of = new Map<number, { columns: string[]; types: (string | null)[]; text: string[] }>();
  #rows = 0;
  #length = 0;

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  add(at: number, { statement }: WriteStatement, rows: Iterable<Cell[]>): void {
    let answer = this.#of.get(at);
    if (!answer) {
      const columns = statement.columns();
      answer = {
        columns: columns.map(({ name }) => name),
        types: columns.map(({ type }) => type),
        text: [],
      };
      this.#of.set(at, answer);
    }
    for (const row of rows) {
      if (this.#rows === this.#bounds.rows) throw rowLimit(this.#bounds);
      this.#rows += 1;
      const text = exactRow(row);
      this.#length += text.length + 1;
      if (this.#length > this.#bounds.bytes) throw byteLimit(this.#bounds);
      answer.text.push(text);
      for (let i = 0; i < row.length; i += 1) answer.types[i] ??= typeOf(row[i] as Cell);
    }
  }

  text(statements: number): string {
    const parts = Array.from({ length: statements }, (_, at) => {
      const answer = this.#of.get(at);
      if (!answer) return "null";
      const { columns, types, text } = answer;
      return `{"columns":${JSON.stringify(columns)},"types":${JSON.stringify(types)},"rows":[${text.join()}],"row_count":${text.length}}`;
    });
    const all = `[${parts.join()}]`;
    if (Buffer.byteLength(all) > this.#bounds.bytes + 1024 * statements) throw byteLimit(this.#bounds);
    return all;
  }
}

/** The file whose triggers stand, and the statements that were looked through on it. */
let open:
  | { readonly file: string; readonly tables: TrialTables; readonly statements: Map<string, WriteStatement> }
  | undefined;
/** Statements that a connection keeps prepared. */
const KEPT = 64;

function tablesOf(file: string): TrialTables {
  try {
    if (open && (open.file !== file || open.tables.stale)) {
      open.tables.close();
      open = undefined;
    }
    open ??= { file, tables: new TrialTables(file), statements: new Map() };
    return open.tables;
  } catch (error) {
    open = undefined;
    throw failureOf(error);
  }
}

function statementOf(tables: TrialTables, sql: string): WriteStatement {
  const known = open?.statements.get(sql);
  if (known) return known;
  const prepared = prepareWrite(tables, sql);
  if (open) {
    if (open.statements.size >= KEPT) open.statements.clear();
    open.statements.set(sql, prepared);
  }
  return prepared;
}
