import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { pause, type World } from "../world.ts";
import { argsIn } from "./watch-args.ts";
import { dependencyOf, type Dependency } from "./dependency.ts";
import type { QueryProcesses } from "./processes.ts";
import { classify } from "./statement.ts";
import { Waiting } from "./waiting.ts";
import { Watch, type Member, type WatchAsk, type WatchListener } from "./watch.ts";
import { WatchIndex, type Touched } from "./watch-index.ts";
import type { Reads, WatchRequest, WatchValue } from "./watch-job.ts";
import type { Result, WatchState } from "./watch-state.ts";

/** A file of tables, and the commit that it holds at least. */
export interface WatchedPlace {
  readonly file: string;
  readonly seq: number;
  /** Of a file that is kept for as long as somebody reads it. */
  release?(): void;
}

/** What a batch of commits did to the tables of `main`. */
export interface AppliedBatch {
  readonly seq: number;
  readonly schemaChanged: boolean;
  readonly touched: Touched;
}

export interface WatchedTables {
  current(): Promise<WatchedPlace>;
  onApplied(listener: (applied: AppliedBatch) => void): () => void;
  want(table: string): () => void;
}

export interface WatchesParts {
  readonly db: Pick<Db, "log">;
  readonly tables: WatchedTables;
  /** The tables of another point than the head of `main`. */
  readonly at: (point: { branch: string; seq: number }) => Promise<WatchedPlace>;
  readonly processes: Pick<QueryProcesses, "run">;
  readonly world: World;
  readonly most?: { readonly all: number; readonly each: number; readonly keptBytes: number };
}

/** What somebody who watches holds. */
export interface Joined {
  /** Resolves with a state as new as the db was when it was asked for. Rejects with what keeps it from being watched. */
  readonly ready: Promise<WatchState>;
  /** Undefined when its rows were let go of: then there is another one soon. */
  state(): WatchState | undefined;
  /** The hash of the result, and a commit at which it still was that. */
  place(): { readonly seq: number; readonly hash: string };
  /** The result at an earlier commit; undefined when it cannot be had. */
  resultAt(seq: number): Promise<Result | undefined>;
  leave(): void;
}

/**
 * The watches of one db. Equal ones are evaluated once, by a query process, on the tables as they are after a batch
 * of commits; a batch that touches nothing of what a watch reads costs it nothing. One evaluation of a watch is under
 * way at most, and what came meanwhile has one more after it, so a burst costs two.
 */
export class Watches {
  readonly #parts: WatchesParts;
  readonly #watches = new Map<string, Watch>();
  readonly #index: WatchIndex<Watch>;
  readonly #waiting = new Waiting<Watch>();
  readonly #each = new Map<string, number>();
  /** Those with rows, from the one that was longest not evaluated on. */
  readonly #kept = new Map<Watch, number>();
  #keptBytes = 0;
  #members = 0;
  #running = 0;
  /** The last batch that was heard of, and the last that changed the schema. */
  #applied = 0;
  #schemaAt = 0;
  #stop: (() => void) | undefined;
  #following = false;
  #ended = false;
  /** Evaluations since the start. */
  evaluations = 0;

  constructor(parts: WatchesParts) {
    this.#parts = parts;
    this.#index = new WatchIndex((table) => parts.tables.want(table));
  }

  get size(): number {
    return this.#members;
  }

  /**
   * Whoever joins hears of every state from the one that `ready` gives on. Throws what refuses the statement,
   * RATE_LIMITED, UNAVAILABLE, BRANCH_NOT_FOUND, WATCH_ENDED.
   */
  join(ask: WatchAsk, listener: WatchListener): Joined {
    this.#checkRoom(ask.principal);
    const classified = classify(ask.sql);
    if (classified.kind !== "read") throw notWatched();
    this.#checkBranch(ask.branch);
    const { sql } = classified;
    const key = JSON.stringify([ask.branch, sql, sortedArgs(ask.args), ask.bounds]);
    let watch = this.#watches.get(key);
    if (!watch) {
      watch = new Watch(key, { ...ask, sql }, classified.tokens);
      // Before it is evaluated: whatever is committed from now on counts.
      this.#listen();
      this.#watches.set(key, watch);
      this.#index.set(watch, "everything");
    }
    const own = watch;
    const member: Member = { listener, delta: ask.delta };
    own.members.add(member);
    this.#members += 1;
    this.#each.set(ask.principal, (this.#each.get(ask.principal) ?? 0) + 1);
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      this.#members -= 1;
      const rest = (this.#each.get(ask.principal) ?? 1) - 1;
      if (rest > 0) this.#each.set(ask.principal, rest);
      else this.#each.delete(ask.principal);
      own.members.delete(member);
      if (own.members.size === 0) this.#drop(own);
    };
    const ready = this.#ready(own);
    // Whoever leaves before need not look.
    ready.catch(() => {});
    return {
      ready,
      leave,
      state: () => {
        if (!own.state) this.#again(own);
        return own.state;
      },
      place: () => ({ seq: this.#validAt(own), hash: own.hash ?? "" }),
      resultAt: (seq) => this.#resultAt(own, seq),
    };
  }

  /** Ends all of them with UNAVAILABLE. */
  close(): void {
    this.#ended = true;
    for (const watch of this.#watches.values())
      this.#fail(watch, new SkaldError("UNAVAILABLE", "The db is closing."));
  }

  async #ready(watch: Watch): Promise<WatchState> {
    try {
      const seq = await this.#headOf(watch);
      if (watch.state && this.#validAt(watch) >= seq) return watch.state;
      const waits = watch.wait(seq);
      this.#raise(watch, seq);
      return await waits;
    } catch (error) {
      if (watch.members.size > 0 && !watch.state) this.#fail(watch, error);
      throw error;
    }
  }

  async #headOf(watch: Watch): Promise<number> {
    const { branch } = watch.ask;
    if (branch !== MAIN) return this.#branchHead(branch);
    const { seq } = await this.#parts.tables.current();
    // Of every batch up to there it was told before.
    this.#applied = Math.max(this.#applied, seq);
    return seq;
  }

  /** A commit at which the last result surely still was the result. */
  #validAt(watch: Watch): number {
    if (watch.stale || watch.ask.branch !== MAIN) return watch.seq;
    return Math.max(watch.seq, this.#applied);
  }

  /** Has it evaluated at a commit or later, unless it was. */
  #raise(watch: Watch, seq: number): void {
    watch.needed = Math.max(watch.needed, seq);
    this.#queue(watch);
  }

  /** Has it evaluated whatever it was evaluated at. */
  #again(watch: Watch): void {
    watch.wanted = true;
    this.#queue(watch);
  }

  #queue(watch: Watch): void {
    if (watch.busy || !watch.stale || !this.#isOpen(watch)) return;
    watch.busy = true;
    this.#waiting.add(watch.ask.principal, watch);
    this.#next();
  }

  #next(): void {
    while (this.#running < AT_ONCE) {
      const watch = this.#waiting.peek(() => true);
      if (!watch) return;
      this.#waiting.take(watch.ask.principal);
      if (!this.#isOpen(watch)) continue;
      this.#running += 1;
      void this.#evaluate(watch).finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }

  async #evaluate(watch: Watch): Promise<void> {
    const { world } = this.#parts;
    const started = world.monotonic();
    const before = watch.seq;
    let rest = 0;
    watch.wanted = false;
    try {
      const { result, value } = await this.#run(watch);
      if (!this.#isOpen(watch)) return;
      this.#describe(watch, value);
      if (watch.take(result)) {
        this.#keep(watch, result.rows.byteLength);
        watch.tell();
      }
      watch.settle(this.#validAt(watch));
      if (watch.ending && !watch.stale) return this.#fail(watch, watch.ending);
      const took = world.monotonic() - started;
      // One that is always behind leaves half of the time to others.
      if (took > QUICK_MS) rest = Math.min(took, REST_MS);
      // Tables that are not where they are said to be are not asked without a pause.
      if (watch.stale && watch.seq === before) rest = Math.max(rest, PAUSE_MS);
    } catch (error) {
      watch.wanted = true;
      if (!this.#isOpen(watch)) return;
      if (!isPassing(error) || (watch.tries += 1) > TRIES) return this.#fail(watch, error);
      rest = PAUSE_MS * 2 ** watch.tries;
    }
    const again = (): void => {
      watch.busy = false;
      this.#queue(watch);
    };
    if (rest > 0) world.timer(rest, again);
    else again();
  }

  async #run(watch: Watch, seq?: number): Promise<{ result: Result; value: WatchValue }> {
    const { sql, args, bounds, principal } = watch.ask;
    const place = await this.#placeOf(watch, seq);
    try {
      const request: WatchRequest = {
        file: place.file,
        sql,
        args,
        ...(watch.schema === undefined ? {} : { schema: watch.schema }),
      };
      this.evaluations += 1;
      const { body, ...value } = await this.#parts.processes.run<WatchValue>(
        { kind: "watch", principal, request },
        bounds,
      );
      const { hash, columns, types, count } = value;
      return { value, result: { seq: value.seq, hash, columns, types, count, rows: body } };
    } finally {
      place.release?.();
    }
  }

  #placeOf(watch: Watch, seq: number | undefined): Promise<WatchedPlace> {
    const { branch } = watch.ask;
    const { tables, at } = this.#parts;
    if (seq === undefined && branch === MAIN) return tables.current();
    return at({ branch, seq: seq ?? this.#branchHead(branch) });
  }

  async #resultAt(watch: Watch, seq: number): Promise<Result | undefined> {
    try {
      return (await this.#run(watch, seq)).result;
    } catch {
      // The whole result is as good.
      return undefined;
    }
  }

  /** Files it under what it hangs on, as far as that is known for the schema as it is. */
  #describe(watch: Watch, { reads, schema, seq }: WatchValue): void {
    if (watch.ask.branch !== MAIN || !reads || seq < this.#schemaAt) return;
    watch.schema = schema;
    this.#index.set(watch, dependencyIn(watch, reads));
  }

  #listen(): void {
    if (this.#stop) return;
    this.#applied = 0;
    const ends = [
      this.#parts.tables.onApplied((applied) => this.#hear(applied)),
      this.#parts.db.log.onCommit(() => {
        this.#hearBranches();
        void this.#follow();
      }),
    ];
    this.#stop = () => ends.forEach((end) => end());
  }

  /** The tables follow by themselves once the writers pause; those who watch want to see sooner. */
  async #follow(): Promise<void> {
    if (this.#following) return;
    this.#following = true;
    const { db, tables, world } = this.#parts;
    try {
      while (this.#hasMain() && this.#applied < db.log.head().seq) {
        const started = world.monotonic();
        const { seq } = await tables.current();
        this.#applied = Math.max(this.#applied, seq);
        await pause(world, Math.max(FOLLOW_MS, world.monotonic() - started));
      }
    } catch {
      // Whoever asks next hears why; the next commit tries again.
    } finally {
      this.#following = false;
    }
  }

  #hasMain(): boolean {
    for (const { ask } of this.#watches.values()) if (ask.branch === MAIN) return true;
    return false;
  }

  #hear({ seq, schemaChanged, touched }: AppliedBatch): void {
    // An erasure takes rows away, and no commit has happened in the tables.
    const same = seq <= this.#applied;
    this.#applied = Math.max(this.#applied, seq);
    if (!schemaChanged) {
      this.#index.concerned(touched, (watch) => {
        if (watch.ask.branch !== MAIN) return;
        if (same) watch.wanted = true;
        this.#raise(watch, seq);
      });
      return;
    }
    this.#schemaAt = Math.max(this.#schemaAt, seq);
    for (const watch of this.#watches.values()) {
      if (watch.ask.branch !== MAIN) continue;
      watch.schema = undefined;
      this.#index.set(watch, "everything");
      this.#raise(watch, seq);
    }
  }

  #hearBranches(): void {
    const { log } = this.#parts.db;
    for (const watch of this.#watches.values()) {
      const { branch } = watch.ask;
      if (branch === MAIN) continue;
      const found = log.branch(branch);
      if (found) this.#raise(watch, found.head.seq);
      if (found?.state === "open") continue;
      watch.ending = ended(branch);
      if (!found || !watch.stale) this.#fail(watch, watch.ending);
    }
  }

  #branchHead(branch: string): number {
    const { log } = this.#parts.db;
    log.branchId(branch);
    return log.branch(branch)?.head.seq ?? 0;
  }

  #checkBranch(branch: string): void {
    const { log } = this.#parts.db;
    log.branchId(branch);
    if (branch !== MAIN && log.branch(branch)?.state !== "open") throw ended(branch);
  }

  #checkRoom(principal: string): void {
    const { all, each } = this.#parts.most ?? MOST;
    if (this.#ended) throw new SkaldError("UNAVAILABLE", "The db is closing.");
    if ((this.#each.get(principal) ?? 0) >= each)
      throw new SkaldError("RATE_LIMITED", `This token has ${each} watches of this db open.`);
    if (this.#members >= all) throw new SkaldError("UNAVAILABLE", `This db has ${all} watches open.`);
  }

  #isOpen(watch: Watch): boolean {
    return this.#watches.get(watch.key) === watch;
  }

  #keep(watch: Watch, bytes: number): void {
    this.#forget(watch);
    this.#kept.set(watch, bytes);
    this.#keptBytes += bytes;
    const { keptBytes } = this.#parts.most ?? MOST;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= keptBytes || oldest === watch) return;
      this.#forget(oldest);
      oldest.forget();
    }
  }

  #forget(watch: Watch): void {
    this.#keptBytes -= this.#kept.get(watch) ?? 0;
    this.#kept.delete(watch);
  }

  #fail(watch: Watch, error: unknown): void {
    this.#drop(watch);
    watch.fail(error);
  }

  #drop(watch: Watch): void {
    if (!this.#isOpen(watch)) return;
    this.#watches.delete(watch.key);
    this.#index.delete(watch);
    this.#forget(watch);
    if (watch.busy) this.#waiting.remove(watch.ask.principal, watch);
    if (this.#watches.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }
}

const MAIN = "main";
/** Evaluations of one db under way. */
const AT_ONCE = 4;
/** What an evaluation may take without having to rest, and what it rests at most. */
const QUICK_MS = 10;
const REST_MS = 5000;
/** Between two batches that are asked for: what is committed meanwhile shares one. */
const FOLLOW_MS = 5;
/** Before what came to nothing is tried again: doubled each time. */
const PAUSE_MS = 25;
const TRIES = 8;

/** Results that are kept for those who come later, and for deltas. */
const KEPT_BYTES = 64 * 1024 * 1024;

const MOST = {
  all: LIMITS.watch.perDb.value,
  each: LIMITS.watch.perToken.value,
  keptBytes: KEPT_BYTES,
};

/** What another try may mend: the processes are busy or were replaced, the tables are made anew. */
const PASSING: ReadonlySet<string> = new Set(["QUERY_BUSY", "UNAVAILABLE", "WORK_BUSY", "DERIVED_DAMAGED"]);

function isPassing(error: unknown): boolean {
  return isSkaldError(error) && PASSING.has(error.code);
}

function dependencyIn(watch: Watch, { tables, virtual, shape }: Reads): Dependency | "everything" {
  // What feeds it is not said.
  if (virtual) return "everything";
  return dependencyOf(watch.tokens, argsIn(watch.ask.args), tables, shape);
}

function sortedArgs(args: WatchAsk["args"]): unknown {
  return Array.isArray(args) ? args : Object.entries(args).sort(([a], [b]) => (a < b ? -1 : 1));
}

function ended(branch: string): SkaldError {
  return new SkaldError("WATCH_ENDED", `The branch ${branch} takes no more commits, or is there no more.`, {
    hint: "What nothing can change need not be watched: `query/exec` reads it.",
  });
}

function notWatched(): SkaldError {
  return new SkaldError("SQL_NOT_ALLOWED", "A watch is of a statement that reads: SELECT, WITH or VALUES.");
}
