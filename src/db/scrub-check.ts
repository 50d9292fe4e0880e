import { SkaldError } from "../errors.ts";
import type { LogStorage } from "../store/contract.ts";
import { openSqliteLog } from "../store/sqlite-log.ts";
import { STAGES, checkDerived, checkLog, type CheckProgress, type LogChecked } from "./check.ts";
import type { Engine } from "./engine.ts";
import type { CheckFinding } from "./invariants.ts";

/** What the scrub needs of the engine. */
export type ScrubbedEngine = Pick<Engine, "list" | "has" | "use" | "hold" | "folderOf" | "world">;

/** Checks one db: yields between slices how far it is, and ends with what is wrong. Throws when it cannot be checked. */
export type Checker = (
  engine: ScrubbedEngine,
  dbId: string,
) => AsyncGenerator<ScrubStep, readonly ScrubFinding[]>;

export interface ScrubStep {
  /** Steps done and steps in all, of this db; steps may be parts of one. */
  readonly done: number;
  readonly of: number;
  /** Commits read in this slice. */
  readonly commits: number;
}

export interface ScrubFinding {
  readonly what: string;
  readonly where: string;
}

/**
 * Runs the checker on one db in slices: its log through a reader of its own that is open for one page, then
 * what is derived of it, with the db held until somebody waits for it to close. What is wrong with the log
 * is given back; derived damage is thrown, through the engine, which then makes it anew. Throws UNAVAILABLE
 * when the db is wanted by others.
 */
export async function* scrubDb(
  engine: ScrubbedEngine,
  dbId: string,
): AsyncGenerator<ScrubStep, readonly ScrubFinding[]> {
  const storage = slicedLog(engine.folderOf(dbId), dbId);
  const { world } = engine;
  const counted = { commits: 0 };
  const log: LogChecked = yield* steps(checkLog(storage, { world }), counted);
  yield { done: 1, of: STAGES.length, commits: log.seq - counted.commits };
  // What is read of one that was deleted on the way, or made anew, says nothing. Nothing waits from here until it
  // is held, so that is this one.
  if (!isThere(engine, dbId, storage)) return [];
  if (log.findings.some(({ heals }) => heals === undefined)) return log.findings;
  const asked: { left: boolean; damage?: unknown } = { left: false };
  const held = engine.hold(dbId, (damage) => {
    asked.left = true;
    asked.damage = damage;
  });
  if (!held) throw new SkaldError("UNAVAILABLE", `The db ${dbId} is being closed.`);
  let derived: readonly CheckFinding[];
  try {
    const options = { world, stop: () => asked.left };
    ({ findings: derived } = yield* steps(checkDerived(held.db, held.db.storage, log.walk, options)));
  } finally {
    held.release();
  }
  if (asked.damage !== undefined) throw asked.damage;
  const found = [...log.findings, ...derived];
  const inLog = found.filter(({ heals }) => heals === undefined);
  const [first] = found;
  if (first && inLog.length === 0) {
    const more = found.length > 1 ? `, and ${found.length - 1} more` : "";
    await engine.use(dbId, () => {
      throw new SkaldError("DERIVED_DAMAGED", `${first.what}: ${first.where}${more}.`, {
        details: { db: dbId, what: first.what, where: first.where },
      });
    });
  }
  return inLog;
}

/** A check's progress as that of the db: each stage counts as one step. */
async function* steps<T>(
  check: AsyncGenerator<CheckProgress, T>,
  counted = { commits: 0 },
): AsyncGenerator<ScrubStep, T> {
  for (;;) {
    const step = await check.next();
    if (step.done) return step.value;
    const { stage, done, of } = step.value;
    const commits = stage === "log" ? done - counted.commits : 0;
    counted.commits += commits;
    yield { done: STAGES.indexOf(stage) + done / Math.max(1, of), of: STAGES.length, commits };
  }
}

/** Whether the db is still the one that was begun with, and in the same life. */
function isThere(engine: ScrubbedEngine, dbId: string, storage: LogStorage): boolean {
  const { identity } = storage;
  const lives = storage.lives();
  if (!engine.has(dbId)) return false;
  const now = openSqliteLog(engine.folderOf(dbId), dbId, { readonly: true });
  try {
    return Buffer.compare(now.identity.uid, identity.uid) === 0 && now.lives().length === lives.length;
  } finally {
    now.close();
  }
}

/** SQLite goes through its structure in one go, so that is left out where it would take long: records vouch for themselves. */
const INSPECT_MAX = 8 * 1024 * 1024;

/** The log as it is on disk, opened for each call and closed after it. */
function slicedLog(folder: string, dbId: string): LogStorage {
  const once = <T>(work: (storage: LogStorage) => T): T => {
    const storage = openSqliteLog(folder, dbId, { readonly: true });
    try {
      return work(storage);
    } finally {
      storage.close();
    }
  };
  const identity = once((storage) => storage.identity);
  const lives = once((storage) => storage.lives());
  const refuse = (): never => {
    throw new Error("the scrub only reads");
  };
  return {
    identity,
    last: () => once((storage) => storage.last()),
    append: refuse,
    replace: refuse,
    stage: refuse,
    unstage: refuse,
    adopt: refuse,
    tidy: refuse,
    lives: () => lives,
    staged: () => undefined,
    stagedPage: () => [],
    read: (seq) => once((storage) => storage.read(seq)),
    page: (from, limit) => once((storage) => storage.page(from, limit)),
    ranges: () => once((storage) => storage.ranges()),
    bytes: () => once((storage) => storage.bytes()),
    inspect: () => once((storage) => (storage.bytes() > INSPECT_MAX ? [] : storage.inspect())),
    close: () => {},
  };
}
