import path from "node:path";
import { isSkaldError, SkaldError } from "../errors.ts";
import type { Db } from "../db/db.ts";
import type { Engine } from "../db/engine.ts";
import { resolvePoint } from "../db/point.ts";
import { toHex } from "../ids/hash.ts";
import { MAIN } from "../log/branches.ts";
import { makeFolder } from "../store/folder.ts";
import {
  dropFile,
  dropTables,
  hasTables,
  POINTS_FOLDER,
  TABLES_FILE,
  type TablesHead,
} from "../store/sqlite-tables.ts";
import { bringTo } from "./bring.ts";
import type { Applied } from "./steps.ts";
import { Points, type LentPlace } from "./points.ts";
import { TablesThread, type StepRunner } from "./thread.ts";

export type { Applied, RowChange } from "./steps.ts";

/** A file of tables and what it holds: the branch at this seq at least; the file's own head says exactly. */
export interface Place {
  readonly file: string;
  readonly branch: string;
  readonly seq: number;
  /** Another one when the file is another under the same name: who keeps it open opens it anew. */
  readonly life: string;
}

/** The tables of all dbs of an engine. */
export class TablesOf {
  readonly engine: Engine;
  readonly #runner: StepRunner;
  readonly #onError: (error: unknown) => void;
  readonly #pointBytes: number | undefined;
  readonly #tables = new WeakMap<Db, Tables>();
  readonly #points = new WeakMap<Db, Points>();
  /** Another thread: the file that follows `main` waits for no other. */
  readonly #pointsRunner: StepRunner;

  constructor({ engine, onError, runner, pointBytes }: TablesOptions) {
    this.engine = engine;
    this.#runner = runner ?? new TablesThread();
    this.#pointsRunner = runner ?? new TablesThread();
    this.#pointBytes = pointBytes;
    this.#onError = onError;
  }

  /** What writes the files, for whoever makes further ones. */
  get runner(): StepRunner {
    return this.#runner;
  }

  /** Of a db that is open, for as long as it is. */
  of(db: Db): Tables {
    let tables = this.#tables.get(db);
    if (!tables) {
      const folder = this.engine.folderOf(db.id);
      tables = new Tables({ db, folder, runner: this.#runner, onError: this.#onError });
      this.#tables.set(db, tables);
      const points = new Points({
        db,
        folder,
        runner: this.#pointsRunner,
        current: () => this.of(db).current(),
        ...(this.#pointBytes === undefined ? {} : { budget: this.#pointBytes }),
      });
      this.#points.set(db, points);
    }
    return tables;
  }

  /** The files of other states of a db that is open. */
  points(db: Db): Points {
    this.of(db);
    return this.#points.get(db) as Points;
  }

  /**
   * The file of a point as requests name it: a branch, and on it a seq, a commit's address or a time; its head when left
   * out. Whoever asked releases it. Throws what `resolvePoint` and `Points.at` throw.
   */
  async at(
    db: Db,
    { branch, at }: { readonly branch?: string; readonly at?: string },
    options: { readonly exact?: boolean } = {},
  ): Promise<LentPlace> {
    await db.locate(at);
    const seq = resolvePoint(db.log, at, branch);
    return this.points(db).at({ branch: branch ?? MAIN, seq }, options);
  }

  /** Names of tables that are not what the log makes of them, when the db has any: see `Tables.check`. */
  async check(db: Db): Promise<readonly string[]> {
    const there = hasTables(this.engine.folderOf(db.id));
    return there ? this.of(db).check() : [];
  }

  /** Ends the threads. The dbs close before. */
  async close(): Promise<void> {
    await this.#runner.close();
    if (this.#pointsRunner !== this.#runner) await this.#pointsRunner.close();
  }
}

export interface TablesOptions {
  readonly engine: Engine;
  /** Told of failures that concern no caller. */
  readonly onError: (error: unknown) => void;
  /** What writes the files; by default two threads. */
  readonly runner?: StepRunner;
  /** Bytes of files of other states that are kept of one db though nobody reads them. Default: see LIMITS. */
  readonly pointBytes?: number;
}

interface TablesParts {
  readonly db: Db;
  readonly folder: string;
  readonly runner: StepRunner;
  readonly onError: (error: unknown) => void;
}

/**
 * The file of tables of one db, which follows `main`. It is made at the first use; from then on it follows after each
 * pause of the writers, and at once when somebody waits. One batch at a time, each in one transaction.
 */
export class Tables {
  readonly #db: Db;
  readonly #file: string;
  readonly #runner: StepRunner;
  readonly #onError: (error: unknown) => void;
  readonly #listeners = new Set<(applied: Applied) => void>();
  readonly #wanted = new Map<string, number>();
  #place: Place | undefined;
  #head: TablesHead | undefined;
  /** The end of the queue of those who write the file. */
  #turn: Promise<unknown> = Promise.resolve();
  /** A batch that has not begun yet: it takes in everything that is there when it does. */
  #next: Promise<void> | undefined;
  #stopTimer: (() => void) | undefined;
  #waitingSince = 0;
  #closed = false;
  /** A file beside it that is made for comparing. */
  #checking: { readonly file: string; over: boolean } | undefined;

  constructor({ db, folder, runner, onError }: TablesParts) {
    this.#db = db;
    this.#file = path.join(folder, TABLES_FILE);
    this.#runner = runner;
    this.#onError = onError;
    const stop = db.log.onCommit(() => this.#schedule());
    const spare = db.onErase((docs) => this.#erase(docs));
    db.onClose(async () => {
      stop();
      await this.#close();
      spare();
    });
  }

  /**
   * The file that follows `main`; it holds at least what was committed at the call. Makes it when it is missing or
   * damaged. Within `alone` it would wait for itself. Throws UNAVAILABLE, STORAGE_FULL.
   */
  current(): Promise<Place> {
    const { seq } = this.#db.log.head();
    const place = this.#place;
    return place && place.seq >= seq ? Promise.resolve(place) : this.#reach(seq);
  }

  /**
   * Runs work while nothing else writes to the file; one at a time. The file holds what was committed when its turn
   * came; a further commit of `work` itself it holds after `work` is done. `behind` commits it may lack: for work
   * that finds out what those changed.
   */
  alone<T>(work: (place: Place) => Promise<T>, behind = 0): Promise<T> {
    return this.#queued(async () => {
      const { seq } = this.#db.log.head();
      if ((this.#place?.seq ?? -1) < (this.#place ? seq - behind : seq)) await this.#batch();
      return work(this.#place as Place);
    });
  }

  /** Has `listener` told of each batch after it was applied; gives what stops it. */
  onApplied(listener: (applied: Applied) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Has the rows of a table told to listeners, from the next batch on; gives what ends it. */
  want(table: string): () => void {
    this.#wanted.set(table, (this.#wanted.get(table) ?? 0) + 1);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      const left = (this.#wanted.get(table) ?? 1) - 1;
      if (left > 0) this.#wanted.set(table, left);
      else this.#wanted.delete(table);
    };
  }

  /**
   * Names of the tables that are not what the log makes of them; they are worked out anew, beside the file, with room
   * for others. None when the db is written too fast, or somebody erased meanwhile.
   */
  async check(): Promise<readonly string[]> {
    if (this.#checking) throw new SkaldError("UNAVAILABLE", "The tables are being checked.");
    const run: StepRunner["run"] = (file, step) => this.#runner.run(file, step);
    const folder = path.join(path.dirname(this.#file), POINTS_FOLDER);
    const file = path.join(folder, "check.sqlite");
    const owner = { uid: toHex(this.#db.log.identity.uid), epoch: this.#db.log.epoch };
    const checking = (this.#checking = { file, over: false });
    const bring = async (from: TablesHead | undefined): Promise<TablesHead> => {
      await run(file, { kind: "begin", wanted: [] });
      const head = await bringTo(this.#db, from, async (part) => {
        if (this.#closed || checking.over) throw new SkaldError("UNAVAILABLE", "The check broke off.");
        await run(file, { kind: "feed", part });
      });
      await run(file, { kind: "end", head });
      return head;
    };
    try {
      makeFolder(folder);
      await run(file, { kind: "make", owner, life: "check" });
      let head = await bring(undefined);
      return await this.#queued(async () => {
        for (let tries = 0; tries < 5 && !checking.over; tries += 1) {
          if ((this.#head?.seq ?? -1) < head.seq) await this.#batch();
          if (this.#head?.seq === head.seq) return run(this.#file, { kind: "compare", other: file });
          head = await bring(head);
        }
        return [];
      });
    } catch (error) {
      if (checking.over) return [];
      throw error;
    } finally {
      this.#checking = undefined;
      await run(file, { kind: "close" }).catch(() => {});
      dropFile(file);
    }
  }

  async #reach(seq: number): Promise<Place> {
    while ((this.#place?.seq ?? -1) < seq) {
      this.#next ??= this.#queued(() => {
        this.#next = undefined;
        return this.#batch();
      });
      await this.#next;
    }
    return this.#place as Place;
  }

  #queued<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(() => {
      if (this.#closed) throw new SkaldError("UNAVAILABLE", "The db is closing.");
      return work();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** After a commit: the file follows once writers paused, or after a while. Nothing is made that nobody asked for. */
  #schedule(): void {
    if (this.#closed || !this.#place || this.#next) return;
    const { world } = this.#db.log;
    const now = world.monotonic();
    if (!this.#stopTimer) this.#waitingSince = now;
    else if (now - this.#waitingSince > LAG_MS) return;
    else this.#stopTimer();
    this.#stopTimer = world.timer(PAUSE_MS, () => {
      this.#stopTimer = undefined;
      this.current().catch((error: unknown) => {
        if (!this.#closed) this.#onError(error);
      });
    });
  }

  /** Brings the file to where the log is; one that is damaged is made anew, once. */
  async #batch(): Promise<void> {
    try {
      await this.#follow();
    } catch (error) {
      this.#place = this.#head = undefined;
      if (!this.#isOwnDamage(error)) throw error;
      this.#onError(error);
      await this.#follow("anew").catch((again: unknown) => {
        this.#place = this.#head = undefined;
        throw this.#isOwnDamage(again)
          ? new SkaldError("UNAVAILABLE", `The tables cannot be made: ${again.message}`, { cause: again })
          : again;
      });
    }
  }

  /** Damage of other derived files is for the engine, which makes those anew. */
  #isOwnDamage(error: unknown): error is SkaldError {
    return isSkaldError(error) && error.code === "DERIVED_DAMAGED" && error.details["file"] === this.#file;
  }

  async #follow(how?: "anew"): Promise<void> {
    const run: StepRunner["run"] = (file, step) => this.#runner.run(file, step);
    const owner = { uid: toHex(this.#db.log.identity.uid), epoch: this.#db.log.epoch };
    let life = this.#place?.life;
    let made = false;
    if (life === undefined || how === "anew") {
      const opened =
        how === "anew"
          ? undefined
          : await run(this.#file, { kind: "open", owner }).catch((error: unknown) => {
              if (isSkaldError(error) && error.code === "DB_MISSING") return undefined;
              throw error;
            });
      // One that is ahead of the log is of another line of it.
      if (opened && opened.head.seq <= this.#db.log.head().seq && opened.head.branch === 0) {
        life = opened.life;
        this.#head = opened.head;
        this.#place = this.#placeOf(opened.head.seq, life);
        if (opened.head.seq === this.#db.log.head().seq) return;
      } else {
        life = toHex(this.#db.log.world.random(8));
        made = true;
        await run(this.#file, { kind: "make", owner, life });
      }
    }
    const from = made ? undefined : this.#head;
    await run(this.#file, { kind: "begin", wanted: [...this.#wanted.keys()] });
    let applied: Applied;
    let head: TablesHead;
    try {
      head = await bringTo(this.#db, from, async (part) => {
        if (this.#closed) throw new SkaldError("UNAVAILABLE", "The db is closing.");
        await run(this.#file, { kind: "feed", part });
      });
      applied = await run(this.#file, { kind: "end", head });
    } catch (error) {
      await run(this.#file, { kind: made ? "close" : "abort" }).catch(() => {});
      throw error;
    }
    this.#head = head;
    this.#place = this.#placeOf(head.seq, life);
    this.#tell(applied);
  }

  #placeOf(seq: number, life: string): Place {
    return { file: this.#file, branch: "main", seq, life };
  }

  #tell(applied: Applied): void {
    for (const listener of this.#listeners) {
      try {
        listener(applied);
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  /** Takes documents that were erased out of the file at once. Gives false when somebody keeps some of it from going. */
  #erase(docs: readonly string[]): Promise<boolean> {
    // What is left to do is done when the db is open again.
    if (this.#closed) return Promise.resolve(false);
    return this.#queued(async () => {
      const [head, checking] = [this.#head, this.#checking];
      if (checking) {
        checking.over = true;
        await this.#runner.run(checking.file, { kind: "close" });
        dropFile(checking.file);
      }
      if (!head) {
        // Whatever is there was not opened, and is made anew when somebody wants it.
        await this.#runner.run(this.#file, { kind: "close" });
        dropTables(path.dirname(this.#file));
        return true;
      }
      await this.#runner.run(this.#file, { kind: "begin", wanted: [] });
      await this.#runner.run(this.#file, { kind: "feed", part: { erased: docs } });
      this.#tell(await this.#runner.run(this.#file, { kind: "end", head }));
      return this.#runner.run(this.#file, { kind: "tidy" });
    });
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer?.();
    await this.#turn;
    if (this.#place) await this.#runner.run(this.#file, { kind: "close" }).catch(() => {});
    this.#place = this.#head = undefined;
  }
}

const PAUSE_MS = 150;
const LAG_MS = 10_000;
