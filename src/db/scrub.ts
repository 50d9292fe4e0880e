import { SkaldError, isSkaldError } from "../errors.ts";
import { realWorld, type World } from "../world.ts";
import { scrubDb, type Checker, type ScrubFinding, type ScrubbedEngine } from "./scrub-check.ts";

/**
 * Goes through every db of a directory, slowly and for ever, so that what rots is found before somebody needs
 * it and while a good copy of it is still about. One slice at a time, a bounded share of the time, later while
 * the process is busy; a db is let go when somebody waits for it.
 */
export interface ScrubOptions {
  readonly engine: ScrubbedEngine;
  /** A whole pass takes about this long, and less when there is little to read. 0: never. */
  readonly days: number;
  /** Told of each finding, and of what kept a db from being checked. */
  readonly onFinding: (error: unknown) => void;
  readonly check?: Checker;
  readonly world?: World;
}

export interface ScrubStatus {
  /** Of the pass under way, 0 to 1. */
  readonly progress: number;
  /** Commits read since the start. */
  readonly commits: number;
  /** Found in the last whole pass, or in the one under way when that has found more. */
  readonly findings: number;
  /** When the last whole pass ended, in milliseconds since 1970; undefined before the first. */
  readonly lastPass: number | undefined;
}

const DAY_MS = 86_400_000;
/** A slice of work is followed by at least this many times its length without any. */
const REST = 49;
const LEAST_REST_MS = 20;
const MOST_REST_MS = 30_000;
/** A timer that comes later than this says that the process is busy: the slice is put off, but not for ever. */
const LATE_MS = 25;
const MOST_PUT_OFF = 20;
const DBS_PAGE = 100;
/** What a timer of the machine can wait. */
const MOST_TIMER_MS = 2 ** 31 - 1;

export class Scrub {
  readonly #options: ScrubOptions;
  readonly #check: Checker;
  readonly #world: World;
  #walk: AsyncGenerator<void, void> | undefined;
  #running: Promise<void> | undefined;
  #cancel: () => void = () => {};
  #stopped = false;
  #progress = 0;
  #commits = 0;
  #found = 0;
  #foundBefore = 0;
  #nextPass = 0;
  #putOff = 0;
  #due = 0;
  #lastPass: number | undefined;

  constructor(options: ScrubOptions) {
    this.#options = options;
    this.#check = options.check ?? scrubDb;
    this.#world = options.world ?? realWorld;
  }

  start(): void {
    if (this.#options.days > 0) this.#later(LEAST_REST_MS);
  }

  /** Resolves when nothing of it is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
    await this.#walk?.return().catch(() => {});
  }

  status(): ScrubStatus {
    const { days } = this.#options;
    return {
      progress: days > 0 ? this.#progress : 0,
      commits: this.#commits,
      findings: Math.max(this.#found, this.#foundBefore),
      lastPass: this.#lastPass,
    };
  }

  #later(ms: number): void {
    if (this.#stopped) return;
    const wait = Math.min(ms, MOST_TIMER_MS);
    this.#due = this.#world.monotonic() + wait;
    this.#cancel = this.#world.timer(wait, () => {
      this.#running = this.#turn();
    });
  }

  async #turn(): Promise<void> {
    if (this.#world.monotonic() - this.#due > LATE_MS && this.#putOff < MOST_PUT_OFF) {
      this.#putOff += 1;
      return this.#later(1000);
    }
    this.#putOff = 0;
    if (!this.#walk) {
      // Through early: the next pass begins when this one was meant to end.
      const until = this.#nextPass - this.#world.monotonic();
      if (until > 0) return this.#later(until);
      this.#nextPass = this.#world.monotonic() + this.#options.days * DAY_MS;
      this.#walk = this.#pass();
    }
    const began = this.#world.monotonic();
    let done: boolean;
    try {
      done = (await this.#walk.next()).done === true;
    } catch (error) {
      this.#options.onFinding(error);
      done = true;
    }
    const worked = this.#world.monotonic() - began;
    if (!done) return this.#later(this.#rest(worked));
    this.#walk = undefined;
    this.#lastPass = this.#world.now();
    this.#progress = 1;
    this.#foundBefore = this.#found;
    this.#later(LEAST_REST_MS);
  }

  /** Long enough to be no burden and to be through in time, however little there is to read. */
  #rest(worked: number): number {
    const left = this.#options.days * DAY_MS * (1 - this.#progress);
    const pace =
      this.#progress > 0 ? (left * this.#lastStep) / Math.max(1 - this.#progress, this.#lastStep) : 0;
    return Math.min(MOST_REST_MS, Math.max(LEAST_REST_MS, worked * REST, pace));
  }

  #lastStep = 0;

  async *#pass(): AsyncGenerator<void, void> {
    this.#found = 0;
    this.#progress = 0;
    const dbs: string[] = [];
    for (let after = ""; ;) {
      const page = this.#options.engine.list(after, DBS_PAGE);
      for (const { dbId } of page) dbs.push(dbId);
      if (page.length < DBS_PAGE) break;
      after = page.at(-1)?.dbId as string;
    }
    for (const [i, dbId] of dbs.entries()) {
      if (this.#options.engine.has(dbId)) yield* this.#db(dbId, i, dbs.length);
    }
  }

  async *#db(dbId: string, index: number, of: number): AsyncGenerator<void, void> {
    const walk = this.#check(this.#options.engine, dbId);
    try {
      for (;;) {
        const step = await walk.next();
        if (step.done) {
          for (const finding of step.value) this.#report(dbId, finding);
          return;
        }
        this.#commits += step.value.commits;
        const progress = (index + step.value.done / Math.max(1, step.value.of)) / of;
        this.#lastStep = Math.max(0, progress - this.#progress);
        this.#progress = progress;
        yield;
      }
    } catch (error) {
      // One that was deleted meanwhile has nothing to find.
      if (!this.#options.engine.has(dbId)) return;
      if (isSkaldError(error) && PASSING.has(error.code)) return;
      this.#found += 1;
      this.#options.onFinding(error);
    } finally {
      // Also when it is left in the middle: it may hold something.
      await walk.return([]).catch(() => {});
    }
  }

  #report(dbId: string, { what, where }: ScrubFinding): void {
    this.#found += 1;
    this.#options.onFinding(
      new SkaldError("DB_DAMAGED", `The scrub of ${dbId} found: ${what}: ${where}.`, {
        details: { db: dbId, what, where },
      }),
    );
  }
}

/** What says nothing of the db, and goes by. */
const PASSING: ReadonlySet<string> = new Set(["DB_NOT_FOUND", "UNAVAILABLE", "STORAGE_FULL", "WORK_BUSY"]);
