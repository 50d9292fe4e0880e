import { isSkaldError, SkaldError } from "../errors.ts";
import type { World } from "../world.ts";
import { LoadedDocuments } from "./cache.ts";
import { emptyHandle, type Handle } from "./handle.ts";
import {
  type Batch,
  type Item,
  type Outcome,
  type Reply,
  type Results,
  sizeOf,
  type ThreadOptions,
  type ThreadState,
  type Work,
} from "./messages.ts";
import {
  performAuthor,
  performCheck,
  performDiff,
  performDiverge,
  performRead,
  performSave,
} from "./perform.ts";
import { beginJob, endJob } from "./progress.ts";
import { splitFile } from "./split.ts";

/** Milliseconds of work after which a batch answers what it has so far. */
const REPLY_AFTER_MS = 5;
/** Bytes of a job or its document from which on the answers before it do not wait for it. */
const LARGE = 128 * 1024;

type DocumentWork = Exclude<Work, { kind: "split" | "forget" }>;
type Answer = Exclude<Outcome, { type: "need" }> | { type: "need"; have: string[] };

/** What a thread has around it. */
export interface Surroundings {
  readonly world: World;
  /** Bytes that this thread holds outside of the JavaScript heap. */
  readonly memory: () => number;
  readonly send: (reply: Reply, buffers: ArrayBuffer[]) => void;
}

/** What runs on a document thread. It keeps nothing between batches but its cache. */
export class DocumentThread {
  readonly #documents: LoadedDocuments;
  readonly #options: ThreadOptions;
  readonly #around: Surroundings;
  #spoiled = false;

  constructor(options: ThreadOptions, around: Surroundings) {
    this.#options = options;
    this.#around = around;
    this.#documents = new LoadedDocuments(options.cacheBytes);
  }

  /** Does a batch. It stops where a job has begun and is not done, so who drives it may let time pass there. */
  *work({ items }: Batch): Generator<undefined, void> {
    const { world } = this.#around;
    const { progress } = this.#options;
    /** Documents with a job that comes again: what was asked of them later must not be done before it. */
    const held = new Set<string>();
    let outcomes: Outcome[] = [];
    let since = world.monotonic();
    for (const item of items) {
      if (outcomes.length > 0 && (world.monotonic() - since > REPLY_AFTER_MS || this.#isLarge(item))) {
        if (this.#reply(outcomes).spent) return;
        outcomes = [];
        since = world.monotonic();
      }
      const docRef = "docRef" in item.work ? item.work.docRef : undefined;
      beginJob(progress, world);
      yield;
      const answered: Answer =
        docRef !== undefined && held.has(docRef) ? { type: "again" } : this.#answer(item);
      const ms = endJob(progress, world);
      if (answered.type === "need" && docRef !== undefined) held.add(docRef);
      outcomes.push(answered.type === "need" ? { ...answered, ms } : answered);
      if (this.#spoiled) break;
    }
    this.#reply(outcomes);
  }

  #reply(outcomes: Outcome[]): ThreadState {
    const state: ThreadState = {
      cachedDocuments: this.#documents.count,
      cachedBytes: this.#documents.bytes,
      spent: this.#spoiled || this.#around.memory() > this.#options.maxMemory,
    };
    const buffers = outcomes.flatMap((outcome) => (outcome.type === "done" ? buffersOf(outcome.value) : []));
    this.#around.send({ type: "reply", outcomes, state }, buffers);
    return state;
  }

  #isLarge(item: Item): boolean {
    const { work } = item;
    // A check may have to try its changes many times.
    if (work.kind === "check" || sizeOf(item) > LARGE) return true;
    return "docRef" in work && this.#documents.bytesOf(work.docRef) > LARGE;
  }

  #answer(item: Item): Answer {
    try {
      const done = this.#perform(item);
      this.#documents.trim();
      return done;
    } catch (error) {
      if (isSkaldError(error))
        return { type: "failed", code: error.code, message: error.message, details: error.details };
      // Whatever else was thrown came from inside Automerge or is a mistake of ours: either way this thread ends.
      this.#spoiled = true;
      const detail = error instanceof Error ? error.message : String(error);
      return {
        type: "failed",
        code: "WORK_FAILED",
        message: `The document's worker failed: ${detail}`,
        details: {},
      };
    }
  }

  #perform({ work, source }: Item): Answer {
    if (work.kind === "split") return { type: "done", value: splitFile(work.bytes) };
    if (work.kind === "forget")
      return { type: "done", value: { dropped: this.#documents.forget(work.start, work.end) } };
    if (work.heads.length === 0) {
      const empty = emptyHandle();
      try {
        return { type: "done", value: this.#performOn(empty, work) };
      } finally {
        empty.free();
      }
    }
    const found =
      source === undefined
        ? this.#find(work)
        : (this.#documents.supply(work.docRef, work.heads, source.have, source.bytes) ?? { have: [] });
    if ("have" in found) return { type: "need", have: found.have };
    return { type: "done", value: this.#performOn(found, work) };
  }

  #find(work: DocumentWork): Handle | { have: string[] } {
    const found = this.#documents.find(work.docRef, work.heads);
    if (!("have" in found) || found.have.length > 0) return found;
    if (work.kind !== "author" || work.eager === undefined) return found;
    try {
      return this.#documents.supply(work.docRef, work.heads, [], work.eager) ?? found;
    } catch (error) {
      // The source knows more than what came along.
      if (isSkaldError(error) && error.code === "DOC_UNREADABLE") return found;
      throw error;
    }
  }

  #performOn(handle: Handle, work: DocumentWork): Results[keyof Results] {
    switch (work.kind) {
      case "read":
        return performRead(handle, work);
      case "save":
        return performSave(handle, work);
      case "author":
        return performAuthor(handle, work, this.#documents);
      case "check":
        return performCheck(handle, work, () => (this.#spoiled = true));
      case "diff":
        return performDiff(handle, work);
      case "diverge":
        return performDiverge(handle, work);
      default:
        throw new SkaldError("INTERNAL", "Unknown document work.");
    }
  }
}

/** Result arrays that own their whole buffer are handed over instead of copied. */
function buffersOf(value: Results[keyof Results]): ArrayBuffer[] {
  const arrays =
    value instanceof Uint8Array
      ? [value]
      : "changes" in value
        ? value.changes
        : "change" in value && value.change !== undefined
          ? [value.change]
          : "saved" in value && value.saved !== undefined
            ? [value.saved]
            : [];
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer, byteLength } of arrays) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffers.add(buffer);
  }
  return [...buffers];
}
