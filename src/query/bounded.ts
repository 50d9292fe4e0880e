import type { Instruction } from "./walls.ts";

/**
 * Whether a program provably ends after a bounded amount of work, so that the server itself may run it. Pure.
 *
 * The proof: the first instruction jumps to the setup, which is straight and ends with the jump to the body; no
 * instruction of the body jumps back or out of it, and its last one ends the program. So each one runs at most once. None of those that are allowed works longer than
 * a search in one b-tree and reading one row; there are no functions, no working tables and no loops.
 */
export function isBounded(program: readonly Instruction[]): boolean {
  const [first] = program;
  if (first === undefined || program.length > MOST_INSTRUCTIONS || first[1] !== "Init") return false;
  const setup = first[3];
  const last = program.length - 1;
  // Or the body would run on into the setup, and from there into itself.
  if (setup < 2 || setup > last || program[setup - 1]?.[1] !== "Halt") return false;
  return program.every(([addr, opcode, , p2], at) => {
    // Addresses count from 0 without a gap, or the jumps below would mean something else.
    if (addr !== at) return false;
    if (at === 0) return true;
    if (at === last) return opcode === "Goto" && p2 === 1;
    if (at >= setup) return SETUP.has(opcode);
    if (JUMPS.has(opcode)) return p2 > at && p2 < setup;
    return STEPS.has(opcode);
  });
}

const MOST_INSTRUCTIONS = 200;

const SETUP: ReadonlySet<string> = new Set([
  "Transaction",
  "String8",
  "Integer",
  "Int64",
  "Real",
  "Null",
  "Noop",
]);

/** Their second parameter is where they go on; 0 means nowhere else, which is no place behind them. */
const JUMPS: ReadonlySet<string> = new Set(
  `Goto IsNull NotNull NotFound Found NotExists SeekRowid SeekGE SeekGT SeekLE SeekLT IdxGE IdxGT IdxLE IdxLT
  Eq Ne Lt Le Gt Ge If IfNot IfPos DecrJumpZero Once MustBeInt`
    .trim()
    .split(/\s+/),
);

/** `Halt` goes nowhere; the rest go to the next. */
const STEPS: ReadonlySet<string> = new Set(
  `Halt OpenRead Variable String8 Integer Int64 Real Null SoftNull Copy SCopy IntCopy Affinity RealAffinity Column
  Rowid IdxRowid DeferredSeek FinishSeek ColumnsUsed CollSeq MakeRecord ResultRow ReleaseReg Noop Explain`
    .trim()
    .split(/\s+/),
);
