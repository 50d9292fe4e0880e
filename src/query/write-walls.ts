import { SkaldError } from "../errors.ts";
import { inspect, type Instruction, type Openable, type Verdict } from "./walls.ts";

/** What a statement that writes touches. */
export interface WriteVerdict extends Verdict {
  /** Tables that are written, sorted; they are among `tables`, since whoever writes a row looks at others. */
  readonly written: readonly string[];
  /** Root pages of tables and indexes that are written. */
  readonly roots: ReadonlySet<number>;
}

/**
 * Throws SQL_NOT_ALLOWED for what a statement may not do that writes tables in `writable` and no others. Looks at the
 * statement's own program: what EXPLAIN lists behind it are the triggers of this job, for there are no others. Pure.
 */
export function inspectWrite(
  listed: readonly Instruction[],
  openable: Openable,
  writable: ReadonlySet<string>,
): WriteVerdict {
  const written = new Set<string>();
  const roots = new Set<number>();
  const rest: Instruction[] = [];
  for (const instruction of ownProgram(listed)) {
    const [, opcode, p1, p2, p3, , p5] = instruction;
    switch (opcode) {
      case "OpenWrite":
        note(p3 === 0 && (p5 & ROOT_IN_REGISTER) === 0 ? p2 : 0);
        break;
      case "Clear":
        note(p2 === 0 ? p1 : 0);
        break;
      case "Transaction":
        // Of the file, for writing; and of the temporary tables that the triggers write.
        if (p1 > 1) throw refused(opcode);
        break;
      case "Program":
        break;
      default:
        if (!WRITING.has(opcode)) rest.push(instruction);
    }
  }
  const verdict = inspect(rest, openable);
  const tables = new Set([...verdict.tables, ...written]);
  return { ...verdict, tables: [...tables].sort(), written: [...written].sort(), roots };

  function note(root: number): void {
    const table = openable.roots.get(root);
    if (table === undefined || !writable.has(table))
      throw new SkaldError("SQL_NOT_ALLOWED", "The statement writes a table that is not written by SQL.", {
        hint: "Tables of collections and `documents` are written; everything else follows from them.",
        details: table === undefined ? {} : { table },
      });
    written.add(table);
    roots.add(root);
  }
}

/** OPFLAG_P2ISREG: p2 names a register that holds the page. */
const ROOT_IN_REGISTER = 0x10;

/** Instructions of statements that write which touch what was opened and nothing else. */
const WRITING: ReadonlySet<string> = new Set([
  "ResetCount",
  "TypeCheck",
  "FkCheck",
  "FkCounter",
  "FkIfZero",
  "Expire",
  "RowKey",
]);

/** Programs of triggers stand behind the statement's own, and each begins at 0 again. */
function ownProgram(listed: readonly Instruction[]): readonly Instruction[] {
  const second = listed.findIndex(([address], i) => i > 0 && address === 0);
  return second < 0 ? listed : listed.slice(0, second);
}

function refused(opcode: string): SkaldError {
  return new SkaldError("SQL_NOT_ALLOWED", `The statement does more than write rows (${opcode}).`);
}
