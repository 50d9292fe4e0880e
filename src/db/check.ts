import { isSkaldError } from "../errors.ts";
import { collectFindings } from "../log/findings.ts";
import { Records } from "../log/records.ts";
import { verifyLog } from "../log/verify.ts";
import type { LogWalk } from "../log/walk.ts";
import type { LogStorage } from "../store/contract.ts";
import { nextTurn, pause, realWorld, type World } from "../world.ts";
import { checkCatalog } from "./check-catalog.ts";
import { checkDocuments } from "./check-documents.ts";
import { EvidenceCheck, type Evidence } from "./check-evidence.ts";
import { checkFeed } from "./check-feed.ts";
import { Replay } from "./check-replay.ts";
import { checkRoutes } from "./check-routes.ts";
import type { Checking, Progress } from "./checking.ts";
import type { Db } from "./db.ts";
import { brokenBy, isDerivedDamage } from "./derived-damage.ts";
import type { CheckFinding } from "./invariants.ts";

/**
 * The checker: everything that must hold of a db, worked out from its log. First the log itself, from its
 * first byte; then, trusting only the log, each thing that is derived of it. The names of what is checked
 * are in `invariants.ts`.
 *
 * A check is a generator that does some milliseconds of work between two yields and gives way to others
 * at each. Whoever wants it slower waits between two of them; leaving the loop ends it. Writers go on
 * meanwhile: what they add is taken in before it is compared.
 */
export type Stage = "log" | "feed" | "catalog" | "documents" | "routes";

/** In the order they run. A stage for what a further feature derives goes to the end. */
export const STAGES: readonly Stage[] = ["log", "feed", "catalog", "documents", "routes"];

export interface CheckProgress extends Progress {
  readonly stage: Stage;
}

export interface CheckOptions extends Evidence {
  /** Documents that are read by three routes. Default 16. */
  readonly sample?: number;
  /** From 0 to 1: which ones. Always the same ones when left out. */
  readonly random?: () => number;
  readonly world?: World;
  /** Asked between slices: true ends the check with what it has found so far. */
  readonly stop?: () => boolean;
}

export interface LogChecked {
  /** Also what `walk` comes upon when it goes on. */
  readonly findings: readonly CheckFinding[];
  /** The last commit that was checked, and its address: it vouches for all before. */
  readonly seq: number;
  readonly head: Uint8Array | undefined;
  /** Commits there should have been. */
  readonly of: number;
  readonly walk: LogWalk;
}

export interface Checked extends LogChecked {
  /** The stages that ran: what is derived of a damaged log is not looked at. */
  readonly stages: readonly Stage[];
}

export interface DerivedChecked {
  readonly findings: readonly CheckFinding[];
  /** The stages that ran, the last one perhaps not to its end. */
  readonly stages: readonly Stage[];
}

/**
 * Checks the log alone, with what is known of it outside. 0.1 ms a commit, and the memory that `LogWalk`
 * and `EvidenceCheck` say.
 */
export async function* checkLog(
  storage: LogStorage,
  { world = realWorld, ...evidence }: Evidence & { readonly world?: World } = {},
): AsyncGenerator<CheckProgress, LogChecked> {
  const steps = logSteps(storage, evidence);
  for (let step = steps.next(); ; step = steps.next()) {
    await nextTurn(world);
    if (step.done) return step.value;
    yield step.value;
  }
}

/** The same in one go, for whoever has nobody to give way to. */
export function checkLogNow(storage: LogStorage, evidence: Evidence = {}): LogChecked {
  const steps = logSteps(storage, evidence);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

function* logSteps(storage: LogStorage, evidence: Evidence): Generator<CheckProgress, LogChecked> {
  const { findings, add } = collectFindings<CheckFinding>();
  const known = new EvidenceCheck(storage, evidence, (what, where) => add({ what, where }));
  yield { stage: "log", done: 0, of: storage.last() };
  const steps = verifyLog(storage, (stored) => known.visit(stored));
  for (;;) {
    const step = steps.next();
    if (!step.done) {
      yield { stage: "log", done: step.value.checked, of: step.value.of };
      continue;
    }
    known.end();
    const { checked, of, head, walk, findings: ofLog } = step.value;
    return {
      get findings() {
        return [...ofLog, ...findings];
      },
      seq: checked,
      head,
      of,
      walk,
    };
  }
}

/**
 * Checks what is derived of a sound log that `walk` has gone through. Costs about as much as a rebuild;
 * memory: the walk's, and 16 MiB of changes at once.
 */
export async function* checkDerived(
  db: Db,
  storage: LogStorage,
  walk: LogWalk,
  { sample = 16, random = () => 0.5, world = realWorld, stop = () => false }: CheckOptions = {},
): AsyncGenerator<CheckProgress, DerivedChecked> {
  const { findings, add } = collectFindings<CheckFinding>();
  const checking: Checking = {
    db,
    storage,
    walk,
    records: new Records(storage),
    replay: new Replay(db.documents, world),
    report: (what, where, heals) => add({ what, where, ...(heals ? { heals } : {}) }),
    world,
    random,
    catchUp: () => {
      for (const _ of walk.read(db.log.head().seq));
    },
    nextSlice: () => nextTurn(world),
  };
  /** Whoever goes slowly finds many more commits than can be taken in at once. */
  const follow = async (): Promise<void> => {
    for (const _ of walk.read(db.log.head().seq)) await nextTurn(world);
    await nextTurn(world);
  };
  // The storage has commits a moment before the log says so.
  while (walk.seq > db.log.head().seq && db.log.writing) await pause(world, 1);
  const { seq } = db.log.head();
  if (walk.seq > seq) {
    // As after a write whose outcome is unknown: opening the db anew finds out.
    add({ what: "feed", where: `readers get commits up to ${seq}, the log goes on to ${walk.seq}` });
    return { findings, stages: ["feed"] };
  }
  const stages: [Stage, () => Iterable<Progress> | AsyncIterable<Progress>][] = [
    ["feed", () => checkFeed(checking)],
    ["catalog", () => checkCatalog(checking)],
    ["documents", () => checkDocuments(checking)],
    ["routes", () => checkRoutes(checking, sample)],
  ];
  const ran: Stage[] = [];
  for (const [stage, steps] of stages) {
    ran.push(stage);
    yield { stage, done: 0, of: stage === "feed" ? walk.seq : walk.docs.size };
    try {
      for await (const { done, of } of steps()) {
        if (stop()) return { findings, stages: ran };
        yield { stage, done, of };
        await follow();
      }
    } catch (error) {
      // The next stage may find more.
      if (isDerivedDamage(error)) add({ what: brokenBy(error), where: error.message, heals: "rebuild" });
      else if (isSkaldError(error) && error.code === "DB_DAMAGED") {
        add({ what: "record", where: error.message });
        return { findings, stages: ran };
      } else throw error;
    }
    if (stop()) break;
  }
  return { findings, stages: ran };
}

/** Checks an open db: its log through its own storage, and when that is sound everything derived of it. */
export async function* checkDb(db: Db, options: CheckOptions = {}): AsyncGenerator<CheckProgress, Checked> {
  const log = yield* checkLog(db.storage, options);
  if (log.findings.some(({ heals }) => heals === undefined)) return { ...log, stages: ["log"] };
  const derived = yield* checkDerived(db, db.storage, log.walk, options);
  return {
    ...log,
    findings: [...log.findings, ...derived.findings],
    stages: ["log", ...derived.stages],
  };
}

/** Runs a check to its end. */
export async function finished<T>(check: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const step = await check.next();
    if (step.done) return step.value;
  }
}
