import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ERROR_CODES, isSkaldError } from "../../src/errors.ts";
import { seeded } from "../support/fault-process.ts";
import type { Watchdog } from "./watchdog.ts";

/**
 * Hostile input for whatever reads bytes or text. A target makes inputs, runs them, and says what must
 * hold for those that are taken; the harness holds all of them to the rest: nothing but errors with a
 * stable code comes out, no input keeps the thread busy, and no memory stays behind.
 */
export type Input = Uint8Array | string;

export interface Target {
  readonly name: string;
  /** What it runs, as `file name` from `src/`: each decoder there must be in one target. */
  readonly covers: readonly string[];
  /** Inputs in CI. */
  readonly runs: number;
  make(random: Random): Input;
  /** Takes the input or throws; what it returns goes to `holds`. */
  run(input: Input): unknown;
  /** Codes it may refuse with. */
  readonly codes: readonly string[];
  /** Of an input that was taken: undefined, or what does not hold. */
  holds?(input: never, result: never): string | undefined;
  /** Literal inputs that always run: whatever broke something once. */
  readonly kept?: readonly Input[];
}

export interface Finding {
  readonly target: string;
  readonly what: string;
  readonly input: string;
}

export interface Tally {
  readonly runs: number;
  readonly taken: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
}

/** `SKALD_TEST_FUZZ` times the figures of the targets; CI has half of them. */
export const FACTOR = Number(process.env["SKALD_TEST_FUZZ"] ?? 0.1);

/** CPU time that one input may take on a main thread. */
export const MOST_MS = 50;
const BATCH = 64;

export class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = seeded(seed);
  }
  /** 0 to `n` - 1. */
  below(n: number): number {
    return Math.floor(this.#next() * n);
  }
  chance(share: number): boolean {
    return this.#next() < share;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

/** Runs one target. `seed` and `runs` repeat it exactly. */
export async function fuzz(target: Target, seed: number, runs: number, watchdog?: Watchdog): Promise<Tally> {
  // Most inputs are refused, nobody looks at where, and Jest has a hundred frames noted of each error.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return await all(target, seed, runs, watchdog);
  } finally {
    Error.stackTraceLimit = limit;
  }
}

async function all(target: Target, seed: number, runs: number, watchdog?: Watchdog): Promise<Tally> {
  const random = new Random(seed ^ hashOf(target.name));
  const refused: Record<string, number> = {};
  const findings = new Map<string, Finding>();
  let taken = 0;
  const note = (what: string, input: Input): void => {
    // One finding of a kind is enough, and a broken decoder has thousands.
    const kind = what.replaceAll(/\d+/g, "#").slice(0, 60);
    if (!findings.has(kind)) findings.set(kind, { target: target.name, what, input: shown(input) });
  };
  const one = async (input: Input): Promise<void> => {
    let result: unknown;
    watchdog?.begin(target.name, input);
    try {
      result = target.run(input);
      if (result instanceof Promise) result = await result;
    } catch (error) {
      const code = codeOf(error);
      if (code === undefined) note(`threw ${describe(error)}`, input);
      else if (!target.codes.includes(code)) note(`refused with ${code}`, input);
      refused[code ?? "none"] = (refused[code ?? "none"] ?? 0) + 1;
      return;
    }
    taken += 1;
    let broken: string | undefined;
    try {
      broken = target.holds?.(input as never, result as never);
    } catch (error) {
      broken = `what was taken does not go back: ${describe(error)}`;
    }
    if (broken !== undefined) note(broken, input);
  };
  const batch = async (inputs: readonly Input[]): Promise<void> => {
    const began = process.cpuUsage();
    for (const input of inputs) await one(input);
    watchdog?.rest();
    if (millis(began) < MOST_MS) return;
    for (const input of inputs) {
      const took = await least(target, input);
      if (took > MOST_MS) note(`took ${Math.round(took)} ms`, input);
    }
  };
  await batch(target.kept ?? []);
  for (let done = 0; done < runs; done += BATCH) {
    await batch(Array.from({ length: Math.min(BATCH, runs - done) }, () => target.make(random)));
  }
  return { runs: runs + (target.kept?.length ?? 0), taken, refused, findings: [...findings.values()] };
}

/** The least CPU time of up to five runs: noise only ever adds to it. */
async function least(target: Target, input: Input): Promise<number> {
  let best = Infinity;
  for (let tries = 0; tries < 5 && best > MOST_MS; tries += 1) {
    const began = process.cpuUsage();
    try {
      await target.run(input);
    } catch {
      // What it throws was looked at before.
    }
    best = Math.min(best, millis(began));
  }
  return best;
}

function millis(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1000;
}

/** The code of a refusal: of a SkaldError, or of the command line's own error. */
function codeOf(error: unknown): string | undefined {
  if (isSkaldError(error)) return Object.hasOwn(ERROR_CODES, error.code) ? error.code : undefined;
  const { name, code } = error as { name?: unknown; code?: unknown };
  return name === "CliError" && typeof code === "string" ? code : undefined;
}

function describe(error: unknown): string {
  const { name, message } = error as { name?: unknown; message?: unknown };
  return `${String(name)}: ${String(message).slice(0, 100)}`;
}

function shown(input: Input): string {
  const text = typeof input === "string" ? JSON.stringify(input) : Buffer.from(input).toString("hex");
  return text.length <= 4000 ? text : `${text.slice(0, 2000)}… (${text.length}) …${text.slice(-200)}`;
}

function hashOf(text: string): number {
  let hash = 0;
  for (const char of text) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) | 0;
  return hash;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes that the process holds once everything unreachable is gone. */
export function held(): number {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
