import type { Db } from "../db/db.ts";
import { LIMITS } from "../limits.ts";
import { automergeIdText } from "../log/automerge-ids.ts";
import { branchNotFound } from "../log/branch-steps.ts";
import type { Commit } from "../log/commit.ts";
import { nextTurn } from "../world.ts";
import { GraphWatch, type GraphMember } from "./graph-watch.ts";
import { busy, type Kept } from "./kept.ts";
import type { Visible } from "./db-source.ts";
import type { GraphQuery } from "./query.ts";

/**
 * The graph watches of a process. Those that ask the same of the same db, and may see the same of it, are one watch; a
 * commit is read once for all watches of its db, and one that touches no document that a watch came to costs it a look
 * into a map.
 */
export class GraphWatches {
  readonly #dbs = new WeakMap<Db, DbGraphWatches>();
  /** Places kept by all of them. */
  readonly kept: Kept;

  constructor(most: number = LIMITS.graph.watchedPlaces.value) {
    this.kept = { places: 0, evaluations: 0, most };
  }

  /**
   * Watches for `member`, who is given what is found as of now and whenever that becomes another. Throws BRANCH_NOT_FOUND, QUERY_BUSY.
   */
  watch(db: Db, query: GraphQuery, visible: Visible, member: GraphMember): Watching {
    // Throws when there is none.
    db.log.branchId(query.branch);
    let own = this.#dbs.get(db);
    if (!own) {
      own = new DbGraphWatches(db, this.kept, () => this.#dbs.delete(db));
      this.#dbs.set(db, own);
    }
    return own.watch(query, visible, member);
  }

  /** Watches of a db, for who wants to know that they are shared. */
  count(db: Db): number {
    return this.#dbs.get(db)?.size ?? 0;
  }
}

/** What a member holds. */
export interface Watching {
  /** The last commit of which it is known that it changed nothing since what was given. */
  readonly seq: number;
  leave(): void;
}

/** Commits read between two turns for others. */
const STEP = 32;

class DbGraphWatches {
  readonly #db: Db;
  readonly #kept: Kept;
  readonly #watches = new Map<string, GraphWatch>();
  readonly #onEmpty: () => void;
  readonly #stop: () => void;
  /** The last commit of which all watches know what it touched. */
  #seq: number;
  #running = false;

  constructor(db: Db, kept: Kept, onEmpty: () => void) {
    this.#db = db;
    this.#kept = kept;
    this.#onEmpty = onEmpty;
    this.#seq = db.log.head().seq;
    this.#stop = db.log.onCommit(() => void this.#run());
  }

  get size(): number {
    return this.#watches.size;
  }

  watch(query: GraphQuery, visible: Visible, member: GraphMember): Watching {
    const key = JSON.stringify([query.key, visible]);
    let watch = this.#watches.get(key);
    if (!watch || watch.ended) {
      if (this.#kept.places >= this.#kept.most) throw busy(this.#kept.most);
      const made = new GraphWatch(
        this.#db,
        query,
        visible,
        this.#kept,
        () => this.#seq,
        () => {
          if (this.#watches.get(key) === made) this.#watches.delete(key);
          this.#settle();
        },
      );
      watch = made;
      this.#watches.set(key, made);
    }
    // It has to know of everything up to the head that its member may have seen.
    watch.join(member, this.#db.log.head().seq);
    void this.#run();
    const joined = watch;
    return {
      leave: () => joined.leave(member),
      get seq() {
        return joined.seq;
      },
    };
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    const { log } = this.#db;
    try {
      while (this.#seq < log.head().seq && this.#watches.size > 0) {
        const page = log.commits(this.#seq + 1, STEP);
        for (const { commit } of page) {
          this.#tell(commit);
          this.#seq = commit.seq;
        }
        if (page.length === STEP) await nextTurn(log.world);
      }
    } catch (error) {
      for (const watch of this.#watches.values()) watch.fail(error);
    } finally {
      this.#running = false;
      for (const watch of this.#watches.values()) watch.look();
      this.#settle();
    }
  }

  #tell(commit: Commit): void {
    const { log } = this.#db;
    if (log.branched)
      for (const watch of this.#watches.values())
        if (!watch.hasBranch) watch.fail(branchNotFound(watch.branch));
    for (const { doc } of commit.entries) {
      let id: string | undefined;
      const idOf = (): string => (id ??= automergeIdText(log.identity.uid, doc));
      // An erasure ends a document on every branch.
      const everywhere = !log.branched || log.erasedAt(doc) !== undefined;
      for (const watch of this.#watches.values())
        if (everywhere || log.isInPast(watch.branchId, commit)) watch.touched(doc, idOf);
    }
  }

  #settle(): void {
    if (this.#watches.size > 0 || this.#running) return;
    this.#stop();
    this.#onEmpty();
  }
}
