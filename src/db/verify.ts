import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { openSqliteLog } from "../store/sqlite-log.ts";
import { inspectSubscriptions } from "../store/sqlite-subscriptions.ts";
import type { World } from "../world.ts";
import { checkDerived, checkLog, type CheckProgress, type LogChecked, type Stage } from "./check.ts";
import type { HeldReceipt } from "./check-evidence.ts";
import { brokenBy } from "./derived-damage.ts";
import type { Db } from "./db.ts";
import type { Engine, HeldDb } from "./engine.ts";
import { FILE_INVARIANTS, INVARIANTS, type CheckFinding, type FileInvariant } from "./invariants.ts";

export interface VerifyOptions {
  /** The log alone: nothing that is derived of it is looked at. */
  readonly only?: "log";
  /** What the caller holds receipts for. */
  readonly receipts?: readonly HeldReceipt[];
  /** What differs of the tables that SQL reads from what the log makes; they are above this folder. */
  readonly tables?: (db: Db) => Promise<readonly string[]>;
}

const SHOWN_MS = 200;

/**
 * Checks a db: its log as it is on disk, through a reader of its own, and when that is sound everything
 * that is derived of it. Yields lines of JSON: progress with its stage, then the verdict. Works in slices
 * that leave room for others; writers go on meanwhile. Damage of what is derived that the db comes upon by
 * itself ends the check with a verdict that says so. Throws DB_NOT_FOUND, also when the db was deleted
 * meanwhile, and what opening it throws; UNAVAILABLE when somebody waits for it to close.
 */
export async function* verifyLines(
  engine: Engine,
  dbId: string,
  signal: AbortSignal,
  { only, receipts = [], tables }: VerifyOptions = {},
): AsyncGenerator<string> {
  const storage = openSqliteLog(engine.folderOf(dbId), dbId, { readonly: true });
  let held: HeldDb | undefined;
  try {
    const log = yield* shown(engine.world, checkLog(storage, { receipts, world: engine.world }), signal);
    if (!log) return;
    let stages: readonly Stage[] = ["log"];
    let derived: readonly VerifyFinding[] = [];
    if (only !== "log" && log.findings.every(({ heals }) => heals === "rebuild")) {
      const asked: Asked = { left: false };
      held = await hold(engine, dbId, (damage) => {
        asked.left = true;
        asked.damage = damage;
      });
      if (Buffer.compare(held.db.log.identity.uid, storage.identity.uid) !== 0)
        throw new SkaldError("DB_NOT_FOUND", `The db ${dbId} was deleted while it was checked.`);
      const options = { world: engine.world, stop: () => asked.damage !== undefined };
      const found = yield* shown(
        engine.world,
        checkDerived(held.db, storage, log.walk, options),
        signal,
        asked,
      );
      if (!found) return;
      stages = ["log", ...found.stages];
      derived = asked.damage ? [...found.findings, healing(asked.damage)] : found.findings;
      if (tables && derived.length === 0) derived = (await tables(held.db)).map(otherTable);
    }
    const files =
      only === "log" ? [] : inspectSubscriptions(engine.folderOf(dbId), storage.identity.uid).map(damaged);
    yield verdictLine(log, stages, [...log.findings, ...derived, ...files], receipts.length);
  } finally {
    held?.release();
    storage.close();
  }
}

type VerifyFinding =
  CheckFinding | { readonly what: FileInvariant; readonly where: string; readonly heals?: "rebuild" };

function otherTable(where: string): VerifyFinding {
  return { what: "tables", where, heals: "rebuild" };
}

function damaged(where: string): VerifyFinding {
  return { what: "subscriptions", where };
}

const MEANS: Readonly<Record<VerifyFinding["what"], string>> = { ...INVARIANTS, ...FILE_INVARIANTS };

/** Whether somebody waits for the db to close, and the damage of what is derived if it is for that. */
interface Asked {
  left: boolean;
  damage?: SkaldError | undefined;
}

/** What the db came upon by itself while it was checked. */
function healing(damage: SkaldError): CheckFinding {
  return { what: brokenBy(damage), where: `${damage.message} It is being made anew.`, heals: "rebuild" };
}

/** The lines of a check that runs; gives what it ends with, or nothing when nobody listens any more. */
async function* shown<T>(
  world: World,
  check: AsyncGenerator<CheckProgress, T>,
  signal: AbortSignal,
  asked: Asked = { left: false },
): AsyncGenerator<string, T | undefined> {
  let last = -Infinity;
  let stage: Stage | undefined;
  for (;;) {
    const step = await check.next();
    if (step.done) return step.value;
    if (signal.aborted) return undefined;
    if (asked.left && !asked.damage)
      throw new SkaldError("UNAVAILABLE", "The db is being closed; the check broke off.");
    const now = world.monotonic();
    if (now - last < SHOWN_MS && step.value.stage === stage) continue;
    last = now;
    ({ stage } = step.value);
    const { done, of } = step.value;
    yield `${JSON.stringify({ stage, checked: done, of })}\n`;
  }
}

function verdictLine(
  { seq, of, head, walk }: LogChecked,
  stages: readonly Stage[],
  findings: readonly VerifyFinding[],
  receipts: number,
): string {
  const { signatures } = walk;
  const erased = walk.erased();
  const verdict = findings.length === 0 ? "sound" : "damaged";
  const problems = findings.map(({ what, where, heals }) => ({
    what,
    where,
    means: MEANS[what],
    ...(heals ? { heals } : {}),
  }));
  return `${JSON.stringify({
    checked: seq,
    of,
    verdict,
    stages,
    seq: of,
    commit: head ? cidToString(head) : null,
    ...(receipts > 0 ? { receipts } : {}),
    ...(signatures.commits > 0 ? { signatures: { ...signatures, signers: [...signatures.signers] } } : {}),
    ...(erased.documents > 0 ? { erased } : {}),
    problems,
  })}\n`;
}

/** The db open, for as long as nobody waits for it to close. */
async function hold(engine: Engine, dbId: string, leave: (damage?: SkaldError) => void): Promise<HeldDb> {
  for (;;) {
    const held = engine.hold(dbId, leave);
    if (held) return held;
    await engine.use(dbId, () => {});
  }
}
