import type { Db } from "../db/db.ts";
import { sourceOf, savedForm } from "../db/source.ts";
import { headsOf } from "../log/doc-state.ts";
import { LIMITS } from "../limits.ts";
import type { ChangeHeader } from "../log/change.ts";
import type { History } from "./history.ts";
import { LogHistory, type HistorySource } from "./log-history.ts";

/**
 * The histories of a db's documents. What they hold in memory is bounded over all of them: who was asked for
 * longest ago forgets first, and can read all of it again. So ask for a document's each time it is used.
 */
export class Histories {
  readonly #source: HistorySource;
  readonly #most: number;
  /** Least recently used first. */
  readonly #open = new Map<string, Held>();
  #bytes = 0;

  constructor(source: HistorySource, bytes = HELD_BYTES) {
    this.#source = source;
    this.#most = bytes;
  }

  /** Bytes held, roughly. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#open.size;
  }

  of(doc: string): History {
    return this.#use(doc);
  }

  /**
   * Tells of a commit that was just made to `doc`, so that it need not be read again to be sent on: its seq,
   * the changes that were written and the document's heads as the receipt has them.
   */
  took(doc: string, seq: number, changes: readonly ChangeHeader[], heads: readonly string[]): void {
    this.#use(doc).took(seq, changes, heads);
  }

  /** Nobody holds the document any more. */
  forget(doc: string): void {
    const known = this.#open.get(doc);
    if (!known) return;
    this.#open.delete(doc);
    this.#bytes -= known.bytes;
    known.held = false;
    known.history.drop();
  }

  #use(doc: string): LogHistory {
    const known = this.#open.get(doc);
    if (known) {
      this.#open.delete(doc);
      this.#open.set(doc, known);
      return known.history;
    }
    const made: Held = {
      history: new LogHistory(this.#source, doc, (bytes) => {
        // Who is still at work on one that was forgotten lets go of it soon.
        if (!made.held) return;
        made.bytes += bytes;
        this.#bytes += bytes;
        if (bytes > 0) this.#shrink(doc);
      }),
      bytes: OWN_BYTES,
      held: true,
    };
    this.#open.set(doc, made);
    this.#bytes += OWN_BYTES;
    this.#shrink(doc);
    return made.history;
  }

  #shrink(but: string): void {
    for (const doc of this.#open.keys()) {
      if (this.#bytes <= this.#most) break;
      if (doc !== but) this.forget(doc);
    }
  }
}

interface Held {
  readonly history: LogHistory;
  bytes: number;
  held: boolean;
}

/** Histories over an open db. */
export function historiesOf(db: Db, bytes?: number): Histories {
  return new Histories(
    {
      log: db.log,
      kept: (doc) => savedForm(db.log, db.views, doc),
      save: async (doc) => {
        const state = db.log.state(doc);
        if (!state?.deleted) return db.save(doc);
        // A deleted document still syncs: who holds it must learn of the deletion.
        const point = { seq: state.last, heads: headsOf(state) };
        const source = sourceOf(db.log, db.views, doc, point.seq);
        return {
          ...point,
          bytes: await db.documents.save({ docRef: db.docRef(doc), heads: point.heads, source }),
        };
      },
      split: async (file) => {
        const { changes } = await db.documents.split({
          bytes: file,
          deadlineMs: LIMITS.document.longJobMs.value,
        });
        return changes;
      },
    },
    bytes,
  );
}

const HELD_BYTES = 32 * 1024 * 1024;
/** A history that holds nothing. */
const OWN_BYTES = 1024;
