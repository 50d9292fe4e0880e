import type { Db } from "../db/db.ts";
import { WatchClock } from "./watch-clock.ts";
import { Watches, type WatchesParts } from "./watches.ts";

export interface WatchesOptions extends Pick<WatchesParts, "processes" | "world" | "most"> {
  readonly tables: (db: Db) => WatchesParts["tables"];
  readonly at: (db: Db, point: { branch: string; seq: number }) => ReturnType<WatchesParts["at"]>;
}

/** The watches of all dbs of a process. */
export class WatchesOf {
  readonly clock: WatchClock;
  readonly #options: WatchesOptions;
  readonly #all = new WeakMap<Db, Watches>();
  /** Those that were asked for: what they counted stays counted when their db is closed. */
  readonly #open = new Set<Watches>();
  #evaluations = 0;

  constructor(options: WatchesOptions) {
    this.#options = options;
    this.clock = new WatchClock(options.world);
  }

  /** Of a db that is open, for as long as it is. */
  of(db: Db): Watches {
    let watches = this.#all.get(db);
    if (!watches) {
      const { tables, at, ...rest } = this.#options;
      const made = new Watches({ ...rest, db, tables: tables(db), at: (point) => at(db, point) });
      this.#all.set(db, (watches = made));
      this.#open.add(made);
      db.onClose(() => {
        made.close();
        this.#open.delete(made);
        this.#evaluations += made.evaluations;
      });
    }
    return watches;
  }

  /** Watches that are open, and how often one was evaluated. */
  totals(): { watches: number; evaluations: number } {
    let watches = 0;
    let evaluations = this.#evaluations;
    for (const one of this.#open) {
      watches += one.size;
      evaluations += one.evaluations;
    }
    return { watches, evaluations };
  }
}
