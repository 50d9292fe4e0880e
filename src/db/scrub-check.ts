import { verifyLog, type Finding, type Verdict, type VerifyProgress } from "../log/verify.ts";
import type { LogStorage } from "../store/contract.ts";
import { openSqliteLog } from "../store/sqlite-log.ts";
import type { Db } from "./db.ts";
import type { Engine } from "./engine.ts";

/** What the scrub needs of the engine. */
export type ScrubbedEngine = Pick<Engine, "list" | "has" | "use" | "folderOf">;

/** Checks one db: yields between slices how far it is, and ends with what is wrong. Throws when it cannot be checked. */
export type Checker = (
  engine: ScrubbedEngine,
  dbId: string,
) => AsyncGenerator<ScrubStep, readonly ScrubFinding[]>;

export interface ScrubStep {
  /** Steps done and steps in all, of this db. */
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
 * What the scrub does with one db: every record of the log as `verify` reads it, through a reader of its own
 * that is open for one slice; then, beside the log, everything derived: that each commit, change and receipt
 * is found, that each document's row and its chain of commits are as they were written, its projection and
 * its saved form. Derived damage is thrown: the engine then makes it anew.
 */
export async function* checkDb(
  engine: ScrubbedEngine,
  dbId: string,
): AsyncGenerator<ScrubStep, readonly ScrubFinding[]> {
  const storage = slicedLog(engine.folderOf(dbId), dbId);
  const of = storage.last();
  const all = 2 * of + 1;
  const walk = verifyLog(storage);
  let findings: readonly Finding[] = [];
  for (let at = 0; ;) {
    const step: IteratorResult<VerifyProgress, Verdict> = walk.next();
    if (step.done) {
      findings = step.value.findings;
      break;
    }
    yield { done: step.value.checked, of: all, commits: step.value.checked - at };
    at = step.value.checked;
  }
  // What cannot be read of the log cannot be compared with what is derived from it.
  if (findings.length > 0) return findings;
  for (let from = 1; from <= of;) {
    from = await engine.use(dbId, (db) => {
      const commits = db.log.commits(from, COMMITS);
      for (const stored of commits) db.log.checkIndexed(stored);
      return (commits.at(-1)?.commit.seq ?? of) + 1;
    });
    yield { done: of + from - 1, of: all, commits: 0 };
  }
  for (let after: string | undefined = ""; after !== undefined;) {
    const from: string = after;
    after = await engine.use(dbId, (db) => checkDocuments(db, from));
    yield { done: 2 * of, of: all, commits: 0 };
  }
  return [];
}

/** Goes through the derived rows of some documents after `after`; gives the last name, or undefined at the end. */
function checkDocuments(db: Db, after: string): string | undefined {
  const docs = db.log.list("", after, DOCS, true);
  const { seq } = db.log.head();
  for (const { name } of docs) {
    db.log.history(name, seq, HISTORY);
    db.views.document(name);
    db.views.saved(name);
  }
  return docs.length < DOCS ? undefined : docs.at(-1)?.name;
}

/** Commits and documents in one slice: a few milliseconds. */
const COMMITS = 50;
const DOCS = 20;
const HISTORY = 1000;
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
  const last = once((storage) => storage.last());
  const refuse = (): never => {
    throw new Error("the scrub only reads");
  };
  return {
    identity,
    last: () => last,
    append: refuse,
    replace: refuse,
    tidy: refuse,
    read: (seq) => once((storage) => storage.read(seq)),
    page: (from, limit) => once((storage) => storage.page(from, limit)),
    ranges: () => once((storage) => storage.ranges()),
    bytes: () => once((storage) => storage.bytes()),
    inspect: () => once((storage) => (storage.bytes() > INSPECT_MAX ? [] : storage.inspect())),
    close: () => {},
  };
}
