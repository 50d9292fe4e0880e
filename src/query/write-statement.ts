import { SkaldError } from "../errors.ts";
import type { Statement } from "../store/sqlite.ts";
import { is, tokensOf, type Token } from "../tables/tokens.ts";
import { bindNothing, parametersOf, type Parameters } from "./binding.ts";
import { fillMissing, fillNulls, readInsert, type Insert } from "./fill-key.ts";
import { classify } from "./statement.ts";
import { DOCUMENTS, type TrialTable, type TrialTables } from "./trial-tables.ts";
import type { Instruction } from "./walls.ts";
import { inspectWrite, type WriteVerdict } from "./write-walls.ts";

/** A statement of a job that writes, looked through. */
export interface WriteStatement {
  readonly sql: string;
  readonly parameters: Parameters;
  readonly statement: Statement;
  readonly verdict: WriteVerdict;
  /** Tables whose keys it may have made here. */
  readonly makesKeys: readonly TrialTable[];
  /** The same statement with keys in the place of NULL; undefined when it is no INSERT that gives any. */
  readonly withoutNulls: (() => Statement) | undefined;
  /**
   * Whether all that it looks at are the rows that it changes: then only these need be as they were. `some` when that
   * holds only if it changed one.
   */
  readonly looksAt: "own rows" | "own rows, if it changes some" | "tables";
}

/** Throws what refuses the statement. Within a transaction or not. */
export function prepareWrite(tables: TrialTables, sql: string): WriteStatement {
  const classified = classify(sql);
  if (classified.kind !== "write" && classified.kind !== "read")
    throw new SkaldError(
      "SQL_NOT_ALLOWED",
      "Only statements that read or write rows go together in one commit.",
      {
        hint: "Statements of the schema are commits of their own.",
      },
    );
  const { tokens } = classified;
  const parameters = parametersOf(tokens);
  const { sqlite } = tables;
  const explained = sqlite.prepare(`EXPLAIN ${classified.sql}`).raw();
  const program = explained.all(...bindNothing(parameters)) as unknown as Instruction[];
  const names = new Set(tables.tables.map(({ name }) => name));
  const verdict = inspectWrite(program, tables.openable, names);
  const insert = classified.kind === "write" ? readInsert(tokens, classified.sql) : undefined;
  const table = insert && tables.table(insert.table);
  const filled = insert && table ? fillMissing(classified.sql, insert, table.filled) : undefined;
  const text = filled ?? classified.sql;
  const statement = sqlite.prepare(text);
  if (statement.reader) statement.raw().safeIntegers();
  const makesKeys = filled !== undefined && table ? [table] : [];
  return {
    sql,
    parameters,
    statement,
    verdict,
    makesKeys,
    withoutNulls: insert && table ? nullsFilled(tables, text, table) : undefined,
    looksAt: looksAt(tables, classified.sql, { tokens, verdict, insert, table, parameters }),
  };
}

function nullsFilled(tables: TrialTables, text: string, table: TrialTable): (() => Statement) | undefined {
  const insert = readInsert(tokensOf(text), text) as Insert;
  const filled = fillNulls(text, insert, table.filled);
  if (filled === undefined) return undefined;
  let made: Statement | undefined;
  return () => {
    if (made) return made;
    made = tables.sqlite.prepare(filled);
    if (made.reader) made.raw().safeIntegers();
    return made;
  };
}

interface LookedAt {
  readonly tokens: readonly Token[];
  readonly verdict: WriteVerdict;
  readonly insert: Insert | undefined;
  readonly table: TrialTable | undefined;
  readonly parameters: Parameters;
}

/** Words that let a statement look at rows that it does not change, or pass over some silently. */
const ELSEWHERE: ReadonlySet<string> = new Set(["SELECT", "WITH", "IN", "OR", "NOTHING", "EXISTS"]);

function looksAt(
  tables: TrialTables,
  sql: string,
  { tokens, verdict, insert, table, parameters }: LookedAt,
): WriteStatement["looksAt"] {
  const [name, ...others] = verdict.written;
  if (name === undefined || others.length > 0 || verdict.tables.length > 1) return "tables";
  const written = table ?? tables.table(name);
  if (!written || [...written.unique].some((root) => verdict.roots.has(root))) return "tables";
  // Of `documents` the rows of tables follow, and these may refuse one for another's sake.
  if (name === DOCUMENTS && tables.tables.some(({ unique }) => unique.size > 0)) return "tables";
  if (tokens.some((token, i) => ELSEWHERE.has(token.word) && !isReplacing(tokens, i))) return "tables";
  if (insert) {
    const counted =
      written.keyType === "INTEGER" && written.filled.missing.size > 0 && leavesKeyOut(insert, written);
    return !counted && Array.isArray(insert.source) && !hasUpsertFilter(tokens) ? "own rows" : "tables";
  }
  const plan = tables.sqlite.prepare(`EXPLAIN QUERY PLAN ${sql}`).raw();
  const steps = plan.all(...bindNothing(parameters)) as unknown as [number, number, number, string][];
  const [step] = steps;
  const byKey =
    name === DOCUMENTS
      ? /^SEARCH documents USING (?:COVERING )?PRIMARY KEY \(collection=\? AND key=\?\)$/
      : /^SEARCH .* USING (?:COVERING )?PRIMARY KEY \([^()]*=\?\)$/;
  return steps.length === 1 && step && byKey.test(step[3]) ? "own rows, if it changes some" : "tables";
}

/** OR of `INSERT OR REPLACE`, which changes every row that it looks at. */
function isReplacing(tokens: readonly Token[], i: number): boolean {
  return is(tokens[i], "OR") && is(tokens[i - 1], "INSERT") && is(tokens[i + 1], "REPLACE");
}

function leavesKeyOut({ columns, source }: Insert, { key }: TrialTable): boolean {
  if (source === "default") return true;
  return columns !== undefined && !columns.some((name) => name.toLowerCase() === key.toLowerCase());
}

/** `ON CONFLICT … DO UPDATE … WHERE` passes over rows that it looked at. */
function hasUpsertFilter(tokens: readonly Token[]): boolean {
  return tokens.some((token) => is(token, "WHERE"));
}
