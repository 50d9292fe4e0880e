import { isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkTxId, parseDocName } from "../ids/names.ts";
import type { Log, Receipt, StoredCommit } from "../log/log.ts";
import type { Fact } from "../store/contract.ts";
import type { DocumentsProjection } from "../projections/documents.ts";
import type { Views } from "../store/sqlite-views.ts";
import type { Packer } from "./compaction.ts";
import { checkCount } from "./write.ts";

/**
 * The right to be forgotten: a document ends with a commit that says so, and then its bytes are removed from the log,
 * from what is derived of it and from memory. See specs/22-erasure.md.
 *
 * Invariants:
 * - The commit is durable before a byte is removed, so whoever follows the log hears of it, and nobody can be kept
 *   from finishing: what is left to do is found by looking at what the log says, on every opening.
 * - What was being read while it was erased is not put anywhere afterwards.
 */

/** A document that was erased. Kept outside of the db too, so that it outlives a backup of the db that is put back. */
export interface Erasure {
  readonly doc: string;
  /** The commit that erased it, and its address. */
  readonly seq: number;
  readonly commit: Uint8Array;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export interface EraseRequest {
  readonly author: string;
  readonly docs: readonly string[];
  /** Text that stays in the log for ever. */
  readonly reason?: string;
  readonly clientTxId?: string;
  readonly message?: string;
  /** Erase documents that are not there as well: their names are taken from then on. */
  readonly absent?: boolean;
  /** Bytes of further events of the commit. */
  readonly events?: readonly Uint8Array[];
  /** Refused with HEADS_CONFLICT unless each document is still at these heads. */
  readonly base?: ReadonlyMap<string, readonly string[]>;
}

export interface Erased {
  readonly receipt: Receipt;
  /** Changes, and bytes of them, that were taken out of the log; 0 when somebody else did it. */
  readonly blocks: number;
  readonly bytes: number;
  /** Whether nothing is left. */
  readonly removed: boolean;
}

interface ErasuresContext {
  readonly log: Log;
  readonly views: Views;
  readonly projection: DocumentsProjection;
  readonly packer: () => Packer;
  readonly forget: (doc: string) => Promise<void>;
  readonly note: (erased: readonly Erasure[]) => void;
  /** Takes documents out of what else is derived; false when something of them is left. */
  readonly others: (docs: readonly string[]) => Promise<boolean>;
  readonly onError: (error: unknown) => void;
}

/** Removes what is left of erased documents of one db, whoever erased them. */
export class Erasures {
  readonly #context: ErasuresContext;
  readonly #stop: () => void;
  #running: Promise<boolean> | undefined;
  #stopTimer: (() => void) | undefined;
  #closed = false;
  #blocks = 0;
  #bytes = 0;

  constructor(context: ErasuresContext) {
    this.#context = context;
    this.#stop = context.log.onCommit(() => this.#look());
    // What an opening finds is done once whoever opened it has had a turn.
    this.#wake(0);
  }

  async erase(request: EraseRequest): Promise<Erased> {
    const { log } = this.#context;
    const receipt = await log.write(this.#transaction(request));
    const before = { blocks: this.#blocks, bytes: this.#bytes };
    const removed = await this.#finish();
    return { receipt, blocks: this.#blocks - before.blocks, bytes: this.#bytes - before.bytes, removed };
  }

  #transaction(request: EraseRequest) {
    const { author, docs, reason, clientTxId, message, absent, events, base } = request;
    checkCount("documents of an erasure", docs.length, LIMITS.tx.writes.value);
    if (clientTxId !== undefined) checkTxId(clientTxId);
    const writes = docs.map((doc) => {
      parseDocName(doc);
      const heads = base?.get(doc);
      return {
        doc,
        changes: [],
        deleted: true,
        erase: reason === undefined ? {} : { reason },
        ...(heads === undefined ? {} : { base: heads }),
        ...(absent === true ? {} : { present: true }),
      };
    });
    return {
      author,
      clientTxId: clientTxId ?? "",
      writes,
      ...(message === undefined ? {} : { message }),
      ...(events === undefined ? {} : { events }),
    };
  }

  async settled(): Promise<void> {
    await this.#finish();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    this.#stopTimer?.();
    await this.#running?.catch(() => {});
  }

  /** After a commit, whoever made it: a line that was pulled may erase something. */
  #look(): void {
    if (!this.#running && this.#context.log.erasing().length > 0) this.#wake(0);
  }

  #wake(ms: number): void {
    if (this.#closed) return;
    this.#stopTimer?.();
    this.#stopTimer = this.#context.log.world.timer(ms, () => {
      this.#stopTimer = undefined;
      this.#finish().catch(this.#context.onError);
    });
  }

  /** False when something is left for later. */
  async #finish(): Promise<boolean> {
    while (this.#running) await this.#running.catch(() => {});
    if (this.#closed || this.#context.log.erasing().length === 0)
      return this.#context.log.erasing().length === 0;
    this.#running = this.#remove()
      .catch((error: unknown) => {
        // The commit stands; a disk that is full has room some day.
        this.#context.onError(error);
        if (isSkaldError(error) && error.code === "STORAGE_FAILED") throw error;
        return false;
      })
      .finally(() => {
        this.#running = undefined;
      });
    const done = await this.#running;
    if (!done) this.#wake(AGAIN_MS);
    return done;
  }

  async #remove(): Promise<boolean> {
    const { log, views, projection, note, forget, others } = this.#context;
    let packer: Packer | undefined;
    try {
      for (;;) {
        const batch = log.erasing().slice(0, BATCH);
        if (batch.length === 0) return true;
        const docs = batch.map(({ name }) => name);
        note(batch.map((fact) => erasureOf(log, fact)));
        for (const doc of docs) await forget(doc);
        const { blocks, bytes, whole } = await log.remove(docs, (uid, commits) => {
          packer ??= this.#context.packer();
          return packer.pack(uid, commits);
        });
        this.#blocks += blocks;
        this.#bytes += bytes;
        await projection.catchUp();
        if (this.#closed) return false;
        views.erase(docs);
        // Again: who was at work on one meanwhile may have loaded it.
        for (const doc of docs) await forget(doc);
        const gone = await others(docs);
        if (!views.tidy() || !whole || !gone) return false;
        log.settleErased(docs);
      }
    } finally {
      await packer?.end();
    }
  }
}

/**
 * Ends documents of a log that nobody has open yet; their bytes are removed once it is. For copies of a db that still
 * have what was erased of it.
 */
export async function endErased(log: Log, docs: readonly string[]): Promise<void> {
  const left = docs.filter((doc) => log.erasedAt(doc) === undefined);
  const most = LIMITS.tx.writes.value;
  for (let at = 0; at < left.length; at += most) {
    const writes = left
      .slice(at, at + most)
      .map((doc) => ({ doc, changes: [], deleted: true, erase: { reason: ERASED_BEFORE } }));
    await log.write({ author: "skald", clientTxId: "", writes });
  }
}

export const ERASED_BEFORE = "it was erased before";

/** An erasure as it is kept outside of the db. */
export function erasureOf(log: Log, { name, seq }: Fact): Erasure {
  const { cid, commit } = log.commit(seq) as StoredCommit;
  return { doc: name, seq, commit: cid, time: commit.time };
}

/** Documents whose bytes are removed in one pass over the files. */
const BATCH = 1000;
const AGAIN_MS = 5_000;
