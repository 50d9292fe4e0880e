import { SkaldError } from "../errors.ts";
import { FUNCTIONS } from "./functions.ts";

/**
 * What a statement may do is read off the program that SQLite made of it (EXPLAIN), never off its text: a name can
 * be written in many ways and stand in a view, but a table is opened by its root page and a virtual one by its
 * address. Everything is a list of what may be; what is on none is refused.
 */

/** One instruction: addr, opcode, p1, p2, p3, p4, p5, comment. */
export type Instruction = readonly [number, string, number, number, number, string | null, number, unknown];

/** What may be opened, in this state of this connection. */
export interface Openable {
  /** Of tables and indexes in the file, by root page: the table's name. */
  readonly roots: ReadonlyMap<number, string>;
  /** Of virtual tables, by address as EXPLAIN writes it: the table's name. */
  readonly virtual: ReadonlyMap<string, string>;
}

export interface Verdict {
  /** Tables that are read, sorted. */
  readonly tables: readonly string[];
  /** Whether the same tables always give the same answer. Dates count as long as no text in the program is 'now'. */
  readonly deterministic: boolean;
  /** Whether it calls functions of dates, which may have been asked for the time now in ways that it does not show. */
  readonly dates: boolean;
}

/** Throws SQL_NOT_ALLOWED for what a reading statement may not do. Pure. */
export function inspect(program: readonly Instruction[], openable: Openable): Verdict {
  const tables = new Set<string>();
  let deterministic = true;
  let dates = false;
  let now = false;
  for (const [, opcode, p1, p2, p3, p4, p5] of program) {
    switch (opcode) {
      case "OpenRead":
      case "ReopenIdx": {
        const table = p3 === 0 && (p5 & ROOT_IN_REGISTER) === 0 ? openable.roots.get(p2) : undefined;
        if (table === undefined) throw hidden();
        tables.add(table);
        break;
      }
      case "VOpen": {
        const table = openable.virtual.get(p4 ?? "");
        if (table === undefined) throw hidden();
        tables.add(table);
        break;
      }
      case "Transaction":
        if (p1 !== 0 || p2 !== 0) throw refused(opcode);
        break;
      case "Function":
      case "PureFunc":
      case "AggStep":
      case "AggStep1":
      case "AggInverse":
      case "AggValue":
      case "AggFinal": {
        const name = (p4 ?? "").replace(/\(-?\d+\)$/, "");
        const known = FUNCTIONS.get(name);
        if (known === undefined || known === "refused")
          throw new SkaldError(
            "SQL_NOT_ALLOWED",
            `The function ${name}() is not for statements from outside.`,
          );
        if (known === "changing") deterministic = false;
        if (known === "date") dates = true;
        break;
      }
      case "String8":
      case "String":
        if (NOW.test(p4 ?? "")) now = true;
        break;
      default:
        if (!PLAIN.has(opcode)) throw refused(opcode);
    }
  }
  return { tables: [...tables].sort(), deterministic: deterministic && !(dates && now), dates };
}

/** OPFLAG_P2ISREG: p2 names a register that holds the page. */
const ROOT_IN_REGISTER = 0x10;
const NOW = /^\s*now\s*$/i;

function hidden(): SkaldError {
  return new SkaldError(
    "SQL_NOT_ALLOWED",
    "The statement reads a table that is not for statements from outside.",
  );
}

function refused(opcode: string): SkaldError {
  return new SkaldError("SQL_NOT_ALLOWED", `The statement does more than read (${opcode}).`);
}

/** Instructions that touch nothing but the statement's own registers, cursors and working tables. */
export const PLAIN: ReadonlySet<string> = new Set(
  `Init Goto Gosub Return InitCoroutine EndCoroutine Yield Jump Once If IfNot IsNull NotNull IsType IsTrue IfNullRow
  ZeroOrNull IfPos IfNotZero DecrJumpZero IfEmpty IfSizeBetween IfNoHope IfNotOpen MustBeInt Halt HaltIfNull ElseEq
  Eq Ne Lt Le Gt Ge Compare Permutation And Or Not BitAnd BitOr BitNot ShiftLeft ShiftRight
  Add Subtract Multiply Divide Remainder Concat AddImm Cast Affinity RealAffinity CollSeq
  Integer Int64 Real Null SoftNull Blob Variable Move Copy SCopy IntCopy BeginSubrtn
  Column ColumnsUsed Rowid RowCell RowData NullRow MakeRecord ResultRow Offset OffsetLimit Count Sequence SequenceTest
  OpenEphemeral OpenAutoindex OpenPseudo OpenDup SorterOpen ResetSorter Close
  Rewind Last Next Prev Sort SorterSort SorterNext SorterData SorterInsert SorterCompare
  SeekLT SeekLE SeekGE SeekGT SeekRowid SeekScan SeekHit SeekEnd NotExists NotFound Found NoConflict IFindKey
  IdxGE IdxGT IdxLE IdxLT IdxRowid IdxInsert DeferredSeek FinishSeek
  RowSetAdd RowSetRead RowSetTest Filter FilterAdd NewRowid Insert Delete IdxDelete
  VFilter VColumn VNext VInitIn ClrSubtype GetSubtype SetSubtype CursorHint CursorLock CursorUnlock
  Explain Noop Trace ReleaseReg Abortable`
    .trim()
    .split(/\s+/),
);

/** For EXPLAIN of a statement that writes, which is not run: it may name what it could read. Throws SQL_NOT_ALLOWED. */
export function explainable(program: readonly Instruction[], openable: Openable): void {
  for (const [, opcode, , p2, p3, p4] of program) {
    if (opcode === "OpenRead" || opcode === "OpenWrite" || opcode === "ReopenIdx") {
      if (p3 !== 0 || !openable.roots.has(p2)) throw hidden();
    } else if (opcode === "VOpen" || opcode === "VUpdate") {
      if (!openable.virtual.has(p4 ?? "")) throw hidden();
    } else if (
      opcode === "Clear" &&
      (p2 !== 0 || !openable.roots.has(program.find((i) => i[1] === "Clear")?.[2] ?? 0))
    ) {
      throw hidden();
    } else if (SCHEMA_WORK.has(opcode)) throw refused(opcode);
  }
}

const SCHEMA_WORK: ReadonlySet<string> = new Set([
  "Destroy",
  "CreateBtree",
  "ParseSchema",
  "SqlExec",
  "VCreate",
  "VDestroy",
]);
