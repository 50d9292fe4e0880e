import { isSkaldError } from "../errors.ts";
import { checkCollection } from "../ids/names.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import type { Receipt } from "../log/log.ts";
import { applyEvent, setEvent, type RetentionRule } from "../log/retention.ts";
import { SkaldError } from "../errors.ts";
import { nextTurn, realWorld, type World } from "../world.ts";
import type { Db } from "./db.ts";
import type { Engine } from "./engine.ts";

export type { RetentionRule } from "../log/retention.ts";

/**
 * Retention: what a collection keeps of documents past an age. A rule is an event in the log; applying it erases
 * documents by commits that say which rule did it, and to which time. See specs/22-erasure.md.
 */

/** Sets the rule of a collection, or takes it away. Throws NAME_INVALID, BAD_REQUEST. */
export function setRetention(db: Db, author: string, rule: RetentionRule, clientTxId = ""): Promise<Receipt> {
  checkCollection(rule.collection);
  const { maxAge } = rule;
  if (maxAge !== undefined && !(Number.isSafeInteger(maxAge) && maxAge >= 1))
    throw new SkaldError("BAD_REQUEST", "A rule of retention has an age of whole seconds from 1 on.");
  return db.log.write({ author, clientTxId, writes: [], events: [setEvent(rule)] });
}

export interface Applied {
  /** Documents that were erased. */
  readonly documents: number;
  /** Seqs of the commits that erased them. */
  readonly commits: readonly number[];
  /** Whether nothing of them is left. */
  readonly removed: boolean;
}

/**
 * Erases what the rules in force no longer keep: documents that were deleted at least so long ago and, where the rule
 * says so, documents that are there and were last written as long ago. One that is written meanwhile is left alone.
 */
export async function applyRetention(db: Db, author = "skald"): Promise<Applied> {
  let documents = 0;
  let removed = true;
  const commits: number[] = [];
  for (const rule of db.log.retention()) {
    const before = db.log.world.now() - (rule.maxAge as number) * 1000;
    const upTo = db.log.seqAt(before);
    if (upTo === 0) continue;
    for (let after = ""; ;) {
      const page = db.log.list(`${rule.collection}/`, after, PAGE, true);
      const last = page.at(-1);
      if (!last) break;
      after = last.name;
      const due = page
        .map(({ name }) => db.log.state(name))
        .filter((state) => state !== undefined && isDue(state, rule, upTo)) as DocState[];
      const done = await erase(db, author, rule.collection, before, due);
      if (done) {
        documents += due.length;
        commits.push(done.seq);
        removed &&= done.removed;
      }
      await nextTurn(db.log.world);
    }
  }
  return { documents, commits, removed };
}

function isDue({ last, deleted, erased }: DocState, { expire }: RetentionRule, upTo: number): boolean {
  return erased === undefined && last <= upTo && (deleted || expire);
}

async function erase(
  db: Db,
  author: string,
  collection: string,
  before: number,
  due: readonly DocState[],
): Promise<{ seq: number; removed: boolean } | undefined> {
  if (due.length === 0) return undefined;
  try {
    const { receipt, removed } = await db.erase({
      author,
      docs: due.map(({ name }) => name),
      reason: "retention",
      base: new Map(due.map((state) => [state.name, headsOf(state)])),
      events: [applyEvent(collection, Math.max(0, before), due.length)],
    });
    return { seq: receipt.seq, removed };
  } catch (error) {
    // One was written just now: the next pass comes by again.
    if (isSkaldError(error) && error.code === "HEADS_CONFLICT") return undefined;
    throw error;
  }
}

const PAGE = 500;
/** Between two passes over all dbs, and between two dbs. */
const PASS_MS = 3_600_000;
const DB_MS = 50;

interface SweepOptions {
  readonly engine: Pick<Engine, "list" | "use">;
  readonly onError: (error: unknown) => void;
  readonly world?: World;
}

/** Applies the rules of every db of a directory, once an hour. */
export class RetentionSweep {
  readonly #options: SweepOptions;
  readonly #world: World;
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #after = "";
  #stopped = false;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#world = options.world ?? realWorld;
    this.#next(PASS_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }

  #next(ms: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#world.timer(ms, () => {
      this.#running = this.#one().finally(() => {
        this.#running = undefined;
      });
    });
  }

  async #one(): Promise<void> {
    const { engine, onError } = this.#options;
    try {
      const [row] = engine.list(this.#after, 1);
      this.#after = row?.dbId ?? "";
      if (row) await engine.use(row.dbId, (db) => applyRetention(db));
    } catch (error) {
      // A db that was deleted meanwhile, a disk that is full: the next one may do.
      if (!isSkaldError(error) || error.code !== "DB_NOT_FOUND") onError(error);
    }
    this.#next(this.#after === "" ? PASS_MS : DB_MS);
  }
}
