import { getHeapStatistics } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import { isSkaldError, SkaldError } from "../errors.ts";
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
import { performAuthor, performCheck, performDiff, performRead, performSave } from "./perform.ts";
import { beginJob, endJob } from "./progress.ts";
import { splitFile } from "./split.ts";

// Entry of a document thread. It keeps nothing between requests but its cache.

// Automerge materialises maps by plain assignment, where this accessor would swallow the key `__proto__`.
Reflect.deleteProperty(Object.prototype, "__proto__");

const port = parentPort;
if (port === null) throw new Error("This file runs as a worker thread only.");
const { cacheBytes, maxMemory, progress } = workerData as ThreadOptions;
const documents = new LoadedDocuments(cacheBytes);
let spoiled = false;

/** Milliseconds of work after which a batch answers what it has so far. */
const REPLY_AFTER_MS = 5;
/** Bytes of a job or its document from which on the answers before it do not wait for it. */
const LARGE = 128 * 1024;

type Answer = Exclude<Outcome, { type: "need" }> | { type: "need"; have: string[] };

port.on("message", ({ items }: Batch) => {
  /** Documents with a job that comes again: what was asked of them later must not be done before it. */
  const held = new Set<string>();
  let outcomes: Outcome[] = [];
  let since = performance.now();
  for (const item of items) {
    if (outcomes.length > 0 && (performance.now() - since > REPLY_AFTER_MS || isLarge(item))) {
      if (reply(outcomes).spent) return;
      outcomes = [];
      since = performance.now();
    }
    const docRef = "docRef" in item.work ? item.work.docRef : undefined;
    beginJob(progress);
    const answered: Answer = docRef !== undefined && held.has(docRef) ? { type: "again" } : answer(item);
    const ms = endJob(progress);
    if (answered.type === "need" && docRef !== undefined) held.add(docRef);
    outcomes.push(answered.type === "need" ? { ...answered, ms } : answered);
    if (spoiled) break;
  }
  reply(outcomes);
});
port.postMessage({ type: "ready" } satisfies Reply);

function reply(outcomes: Outcome[]): ThreadState {
  const state: ThreadState = {
    cachedDocuments: documents.count,
    cachedBytes: documents.bytes,
    spent: spoiled || getHeapStatistics().external_memory > maxMemory,
  };
  const buffers = outcomes.flatMap((outcome) => (outcome.type === "done" ? buffersOf(outcome.value) : []));
  port?.postMessage({ type: "reply", outcomes, state } satisfies Reply, buffers);
  return state;
}

function isLarge(item: Item): boolean {
  const { work } = item;
  // A check may have to try its changes many times.
  if (work.kind === "check" || sizeOf(item) > LARGE) return true;
  return "docRef" in work && documents.bytesOf(work.docRef) > LARGE;
}

function answer(item: Item): Answer {
  try {
    const done = perform(item);
    documents.trim();
    return done;
  } catch (error) {
    if (isSkaldError(error))
      return { type: "failed", code: error.code, message: error.message, details: error.details };
    // Whatever else was thrown came from inside Automerge or is a mistake of ours: either way this thread ends.
    spoiled = true;
    const detail = error instanceof Error ? error.message : String(error);
    return {
      type: "failed",
      code: "WORK_FAILED",
      message: `The document's worker failed: ${detail}`,
      details: {},
    };
  }
}

function perform({ work, source }: Item): Answer {
  if (work.kind === "split") return { type: "done", value: splitFile(work.bytes) };
  if (work.heads.length === 0) {
    const empty = emptyHandle();
    try {
      return { type: "done", value: performOn(empty, work) };
    } finally {
      empty.free();
    }
  }
  const found =
    source === undefined
      ? find(work)
      : (documents.supply(work.docRef, work.heads, source.have, source.bytes) ?? { have: [] });
  if ("have" in found) return { type: "need", have: found.have };
  return { type: "done", value: performOn(found, work) };
}

function find(work: Exclude<Work, { kind: "split" }>): Handle | { have: string[] } {
  const found = documents.find(work.docRef, work.heads);
  if (!("have" in found) || found.have.length > 0) return found;
  if (work.kind !== "author" || work.eager === undefined) return found;
  try {
    return documents.supply(work.docRef, work.heads, [], work.eager) ?? found;
  } catch (error) {
    // The source knows more than what came along.
    if (isSkaldError(error) && error.code === "DOC_UNREADABLE") return found;
    throw error;
  }
}

function performOn(handle: Handle, work: Exclude<Work, { kind: "split" }>): Results[keyof Results] {
  switch (work.kind) {
    case "read":
      return performRead(handle, work);
    case "save":
      return performSave(handle, work);
    case "author":
      return performAuthor(handle, work, documents);
    case "check":
      return performCheck(handle, work, () => (spoiled = true));
    case "diff":
      return performDiff(handle, work);
    default:
      throw new SkaldError("INTERNAL", "Unknown document work.");
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
          : [];
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer, byteLength } of arrays) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffers.add(buffer);
  }
  return [...buffers];
}
