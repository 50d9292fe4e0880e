import { NULL } from "./change-columns.ts";
import type { DeltaColumn, UintColumn } from "./change-columns.ts";
import type { Targets } from "./change-refs.ts";
import { malformed, tooLarge } from "./chunk.ts";

/** The actors a change lists: all must be named by its operations, and no others. */
export class ActorUse {
  readonly #count: number;
  readonly #ranks: Int32Array | null;
  readonly #used: Uint8Array | null;
  unused: number;

  /** `ranks` are the places of the actors in the order of their ids; null when there is only the author. */
  constructor(count: number, ranks: Int32Array | null) {
    this.#count = count;
    this.#ranks = ranks;
    this.#used = count > 1 ? new Uint8Array(count) : null;
    this.unused = count - 1;
  }

  see(actor: number, op: number): void {
    if (actor >= this.#count) {
      malformed("actor-index", "An operation names an actor the change does not list", { op, index: actor });
    }
    if (this.#used !== null && actor > 0 && this.#used[actor] === 0) {
      this.#used[actor] = 1;
      this.unused--;
    }
  }

  rank(actor: number): number {
    return this.#ranks === null ? 0 : (this.#ranks[actor] as number);
  }
}

/** The operations that a change's operations replace. */
export class Preds {
  readonly #actors: UintColumn;
  readonly #ctrs: DeltaColumn;
  readonly #use: ActorUse;
  readonly #startOp: number;
  readonly #max: number;
  readonly #targets: Targets | null;
  #seen = 0;
  /** Whether an operation replaces another of this change. */
  replacesOwn = false;

  constructor(
    actors: UintColumn,
    ctrs: DeltaColumn,
    use: ActorUse,
    startOp: number,
    max: number,
    targets: Targets | null,
  ) {
    this.#actors = actors;
    this.#ctrs = ctrs;
    this.#use = use;
    this.#startOp = startOp;
    this.#max = max;
    this.#targets = targets;
  }

  ended(): boolean {
    return this.#actors.ended() && this.#ctrs.ended();
  }

  #own(pred: number, op: number): void {
    if (this.#targets === null) this.replacesOwn = true;
    else if (!this.#targets.same(pred, op)) {
      malformed("pred-other-key", "An operation replaces one of another key or element", { op, pred });
    }
  }

  check(count: number, oldest: number, op: number, n: number): void {
    this.#seen += count * n;
    if (this.#seen > this.#max) tooLarge("preds", this.#max, this.#seen);
    const actors = this.#actors;
    const ctrs = this.#ctrs;
    const startOp = this.#startOp;
    if (count === 1) {
      for (let done = 0; done < n;) {
        actors.load();
        ctrs.load();
        const m = Math.min(actors.left, ctrs.left, n - done);
        if (m === 0 || actors.value === NULL || ctrs.isNull) malformed("pred", "A pred is missing", { op });
        this.#use.see(actors.value, op);
        const first = ctrs.value;
        const last = first + ctrs.step * (m - 1);
        if (first < oldest || last < oldest) {
          malformed("pred-other-key", "An operation replaces one of another key or element", {
            op,
            pred: first,
          });
        }
        const own = actors.value === 0;
        if (
          (!own && (first >= startOp || last >= startOp)) ||
          first >= op + done ||
          last >= op + done + m - 1
        ) {
          malformed("refers-ahead", "An operation replaces one that does not exist yet", { op, pred: first });
        }
        if (first >= startOp || last >= startOp) {
          if (this.#targets === null) this.replacesOwn = true;
          else {
            for (let i = 0; i < m; i++) {
              const pred = first + ctrs.step * i;
              if (pred >= startOp) this.#own(pred, op + done + i);
            }
          }
        }
        actors.left -= m;
        ctrs.take(m);
        done += m;
      }
      return;
    }
    for (let i = 0; i < n; i++) {
      let lastCtr = 0;
      let lastRank = -1;
      for (let j = 0; j < count; j++) {
        actors.load();
        ctrs.load();
        if (actors.left === 0 || ctrs.left === 0 || actors.value === NULL || ctrs.isNull) {
          malformed("pred", "A pred is missing", { op });
        }
        this.#use.see(actors.value, op);
        const ctr = ctrs.value;
        const rank = this.#use.rank(actors.value);
        if (ctr < lastCtr || (ctr === lastCtr && rank <= lastRank)) {
          malformed("pred-order", "The preds of an operation are not in ascending order", { op: op + i });
        }
        if (ctr < oldest) {
          malformed("pred-other-key", "An operation replaces one of another key or element", {
            op: op + i,
            pred: ctr,
          });
        }
        if (ctr >= op + i || (actors.value !== 0 && ctr >= startOp)) {
          malformed("refers-ahead", "An operation replaces one that does not exist yet", {
            op: op + i,
            pred: ctr,
          });
        }
        if (ctr >= startOp) this.#own(ctr, op + i);
        lastCtr = ctr;
        lastRank = rank;
        actors.left--;
        ctrs.take(1);
      }
    }
  }
}
