import { mkdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import type { Db } from "../db/db.ts";
import { toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { MAIN } from "../log/branches.ts";
import { POINTS_FOLDER, type TablesHead } from "../store/sqlite-tables.ts";
import { abandoned, bringToPoint, partedAt, type Held, type Past, type Point } from "./bring-point.ts";
import { PointCache } from "./point-cache.ts";
import type { StepRunner } from "./thread.ts";

/** Where the state of a point is to be read. It stays there until `release` was called, once, by whoever asked. */
export interface LentPlace {
  readonly file: string;
  readonly branch: string;
  readonly seq: number;
  readonly life: string;
  /** It is the file that follows `main`: once it is read it may be at a later seq than this. */
  readonly moves: boolean;
  release(): void;
  /** Says that the file cannot be read: it is made anew for whoever asks next. */
  broken(): void;
}

export interface PointsParts {
  readonly db: Db;
  /** Of the db. */
  readonly folder: string;
  readonly runner: StepRunner;
  /** The file that follows `main`. */
  readonly current: () => Promise<Pick<LentPlace, "file" | "branch" | "seq" | "life">>;
  /** Bytes of files that are kept though nobody uses them. */
  readonly budget?: number;
}

interface PointFile extends Held {
  readonly file: string;
  readonly bytes: number;
  readonly branch: string;
  readonly life: string;
  /** What was known to be set aside when it was made. */
  readonly setAside: number;
}

/**
 * Files of tables of other points than the head of `main`. The file of a point is a copy of the nearest file that there
 * is, brought to the point by what differs; it is as if made anew, row for row. Nothing writes to it any more, and each
 * has a name of its own, so who has one open may keep it open. Those used last are kept within a budget of bytes. None
 * outlives the process that made it, a document that was erased, or changes that were set aside.
 */
export class Points {
  readonly #db: Db;
  readonly #folder: string;
  readonly #runner: StepRunner;
  readonly #current: PointsParts["current"];
  readonly #cache: PointCache<PointFile>;
  /** Points that are being made. */
  readonly #making = new Map<string, Promise<unknown>>();
  /** Builds of the db, one after the other: each uses what those before it left. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Grows with each erasure: what was begun before is thrown away. */
  #age = 0;
  #files = 0;
  #closed = false;
  #builds = 0;

  constructor({ db, folder, runner, current, budget = LIMITS.tables.pointBytes.value }: PointsParts) {
    this.#db = db;
    this.#folder = path.join(folder, POINTS_FOLDER);
    this.#runner = runner;
    this.#current = current;
    this.#cache = new PointCache(budget, ({ file }) => remove(file));
    // Files of a process before this one: nobody knows how whole they are.
    rmSync(this.#folder, { recursive: true, force: true });
    const spare = db.onErase(() => this.#erase());
    db.onClose(async () => {
      await this.#close();
      spare();
    });
  }

  /** Files that were made so far. */
  get builds(): number {
    return this.#builds;
  }

  /** Bytes of the files there are. */
  get bytes(): number {
    return this.#cache.bytes;
  }

  /**
   * The file of a point: exactly that state, but for `main` at its head, where it is the file that follows `main` and may
   * go on with it before it is read; `exact` asks for one that does not. A seq is as good as that of the branch's last
   * commit before it. Throws BRANCH_NOT_FOUND, UNAVAILABLE, STORAGE_FULL.
   */
  async at({ branch, seq: asked }: Point, { exact = false } = {}): Promise<LentPlace> {
    const { log } = this.#db;
    const id = log.branchId(branch);
    const seq = log.seqOn(asked, branch);
    if (!exact && id === 0 && seq === log.seqOn(log.head().seq)) {
      const place = await this.#current();
      if (log.seqOn(place.seq) === seq) return { ...place, moves: true, release: () => {}, broken: () => {} };
    }
    const name = `${id} ${seq}`;
    for (;;) {
      if (this.#closed) throw abandoned();
      const lent = this.#cache.lend(name);
      if (lent && lent.of.setAside !== log.lastSetAside) {
        lent.release();
        this.#cache.drop(name);
        continue;
      }
      if (lent) {
        const { of, release } = lent;
        const broken = (): void => this.#cache.dropOnly(name, of);
        return { file: of.file, branch, seq, life: of.life, moves: false, release, broken };
      }
      await this.#made(name, { branch, seq });
    }
  }

  /** Resolves when the file was made, or was made in vain and has to be made again. */
  #made(name: string, point: Point): Promise<unknown> {
    let making = this.#making.get(name);
    if (!making) {
      making = this.#turn.then(() => this.#make(name, point)).finally(() => this.#making.delete(name));
      this.#making.set(name, making);
      this.#turn = making.catch(() => {});
    }
    return making;
  }

  async #make(name: string, point: Point): Promise<void> {
    const age = this.#age;
    const { log } = this.#db;
    const setAside = log.lastSetAside;
    const check = (): void => {
      if (this.#closed || age !== this.#age) throw abandoned();
    };
    const file = path.join(this.#folder, `${(this.#files += 1)}.sqlite`);
    const life = toHex(log.world.random(8));
    const past = log.pastOf(point.branch, point.seq);
    let nearest: Nearest | undefined;
    try {
      check();
      mkdirSync(this.#folder, { recursive: true });
      nearest = await this.#nearest(past, point.seq);
      const from = await this.#begin(file, life, nearest);
      const head = await bringToPoint(
        this.#db,
        from,
        point,
        async (part) => {
          check();
          await this.#runner.run(file, { kind: "feed", part });
        },
        check,
      );
      await this.#runner.run(file, { kind: "end", head });
      await this.#runner.run(file, { kind: "close" });
      check();
      const bytes = statSync(file).size;
      this.#builds += 1;
      this.#cache.put(name, { file, bytes, head, past, branch: point.branch, life, setAside });
    } catch (error) {
      await this.#runner.run(file, { kind: "close" }).catch(() => {});
      remove(file);
      // One that lost its sense is made again, or who waits for it finds that the db is closing.
      if (age === this.#age && !this.#closed) throw error;
    } finally {
      nearest?.release();
    }
  }

  /** Gives what the file holds to begin with: a copy of another one, or nothing. */
  async #begin(file: string, life: string, nearest: Nearest | undefined): Promise<Held | undefined> {
    const { identity, epoch } = this.#db.log;
    const owner = { uid: toHex(identity.uid), epoch };
    let from: Held | undefined;
    if (nearest) {
      await this.#runner.run(nearest.file, { kind: "copy", to: file });
      const { head } = await this.#runner.run(file, { kind: "open", owner });
      from = { head, past: nearest.past(head) };
    } else await this.#runner.run(file, { kind: "make", owner, life });
    await this.#runner.run(file, { kind: "begin", wanted: [] });
    return from;
  }

  /** The file from which there is least to do; none when it is less to begin with nothing. */
  async #nearest(past: Past, seq: number): Promise<Nearest | undefined> {
    const { log } = this.#db;
    const main = await this.#current();
    const mainPast = (upTo: number): Past => log.pastOf(MAIN, upTo);
    let [best, least] = [undefined as string | undefined, seq];
    const work = (other: Past, at: number): number => {
      const parted = partedAt(other, past);
      return at - parted + (seq - parted);
    };
    const ofMain = work(mainPast(main.seq), main.seq);
    if (ofMain < least) [best, least] = [main.file, ofMain];
    for (const [name, of] of this.#cache) {
      const other = of.setAside === log.lastSetAside ? work(of.past, of.head.seq) : Infinity;
      if (other < least) [best, least] = [name, other];
    }
    if (best === undefined) return undefined;
    if (best === main.file) return { file: main.file, past: (head) => mainPast(head.seq), release: () => {} };
    const lent = this.#cache.lend(best);
    return lent && { file: lent.of.file, past: () => lent.of.past, release: lent.release };
  }

  /** Nothing of a document that was erased stays in a file that can be found. */
  async #erase(): Promise<boolean> {
    this.#age += 1;
    this.#cache.clear();
    await this.#turn;
    return true;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
    this.#cache.clear();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

interface Nearest {
  readonly file: string;
  /** The past of what is in it, by its head. */
  readonly past: (head: TablesHead) => Past;
  release(): void;
}

function remove(file: string): void {
  for (const name of [file, `${file}-wal`, `${file}-shm`, `${file}.new`]) rmSync(name, { force: true });
}
