import { SkaldError } from "../errors.ts";
import type { Statement } from "../store/sqlite.ts";
import { bindNothing, parametersOf, type Parameters } from "./binding.ts";
import { isBounded } from "./bounded.ts";
import { failureOf } from "./failure.ts";
import { pragmaOf, type Seen } from "./pragma.ts";
import type { Cell } from "./rows-text.ts";
import { classify } from "./statement.ts";
import { explainable, inspect, type Instruction, type Openable, type Verdict } from "./walls.ts";

/** A statement that was looked through and may run, as long as the schema is as it was. */
export interface Prepared {
  readonly statement: Statement;
  readonly parameters: Parameters;
  readonly columns: readonly string[];
  /** As declared; null of a column that is computed. */
  readonly declared: readonly (string | null)[];
  readonly verdict: Verdict;
  /** Whether its program provably does next to nothing. */
  readonly bounded: boolean;
  /** What becomes of each row before anybody sees it; undefined leaves it out. */
  readonly sift?: (row: Cell[]) => Cell[] | undefined;
}

/** A tables file as a statement sees it, and what its program may open. */
export interface Walled extends Seen {
  readonly openable: Openable;
}

const NOTHING: Verdict = { tables: [], deterministic: true, dates: false };

/** Prepares a statement that reads. Within a transaction of its tables. Throws what refuses it. */
export function prepare(tables: Walled, sql: string): Prepared {
  const classified = classify(sql);
  const parameters = parametersOf(classified.tokens);
  const { sqlite } = tables;
  try {
    switch (classified.kind) {
      case "read": {
        const program = programOf(tables, classified.sql, parameters);
        const verdict = inspect(program, tables.openable);
        return whole(sqlite.prepare(classified.sql), parameters, verdict, isBounded(program));
      }
      case "explain": {
        const { inner } = classified;
        if (inner === undefined || inner.kind === "schema") throw notRead();
        const program = programOf(tables, inner.sql, parameters);
        if (inner.kind === "read") inspect(program, tables.openable);
        else explainable(program, tables.openable);
        // It only tells of a statement, also of one that would write.
        return { ...told(sqlite.prepare(classified.sql), parameters, NOTHING), sift: withoutAddress };
      }
      case "pragma": {
        const { text, sift } = pragmaOf(classified.tokens, tables);
        return { ...whole(sqlite.prepare(text), parameters, NOTHING), ...(sift ? { sift } : {}) };
      }
      default:
        throw notRead();
    }
  } catch (error) {
    throw failureOf(error, sql);
  }
}

function notRead(): SkaldError {
  return new SkaldError("SQL_NOT_ALLOWED", "The statement does more than read.");
}

export function programOf(tables: Walled, sql: string, parameters: Parameters): Instruction[] {
  const explained = tables.sqlite.prepare(`EXPLAIN ${sql}`).raw();
  return explained.all(...bindNothing(parameters)) as unknown as Instruction[];
}

function whole(statement: Statement, parameters: Parameters, verdict: Verdict, bounded = false): Prepared {
  if (!statement.reader || !statement.readonly) throw notRead();
  return told(statement, parameters, verdict, bounded);
}

function told(statement: Statement, parameters: Parameters, verdict: Verdict, bounded = false): Prepared {
  const columns = statement.columns();
  return {
    statement: statement.raw(),
    parameters,
    columns: columns.map(({ name }) => name),
    declared: columns.map(({ type }) => type),
    verdict,
    bounded,
  };
}

/** A program names virtual tables by where they are in memory, which is nobody's business. */
function withoutAddress(row: Cell[]): Cell[] {
  return row.map((cell) => (typeof cell === "string" && cell.startsWith("vtab:") ? "vtab" : cell));
}
