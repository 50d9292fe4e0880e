import { getHeapStatistics } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import { isSkaldError, SkaldError } from "../errors.ts";
import { LoadedDocuments } from "./cache.ts";
import { emptyHandle, type Handle } from "./handle.ts";
import type { Outcome, Reply, Request, Results, ThreadOptions, Work } from "./messages.ts";
import { performAuthor, performCheck, performDiff, performRead, performSave } from "./perform.ts";
import { splitFile } from "./split.ts";

// Entry of a document thread. It keeps nothing between requests but its cache.

// Automerge materialises maps by plain assignment, where this accessor would swallow the key `__proto__`.
Reflect.deleteProperty(Object.prototype, "__proto__");

const port = parentPort;
if (port === null) throw new Error("This file runs as a worker thread only.");
const documents = new LoadedDocuments((workerData as ThreadOptions).cacheBytes);
let spoiled = false;

port.on("message", (request: Request) => {
  const outcome = answer(request);
  const reply: Reply = {
    type: "reply",
    outcome,
    state: {
      memory: getHeapStatistics().external_memory,
      cachedDocuments: documents.count,
      cachedBytes: documents.bytes,
      spoiled,
    },
  };
  port.postMessage(reply, outcome.type === "done" ? buffersOf(outcome.value) : []);
});
port.postMessage({ type: "ready" } satisfies Reply);

function answer(request: Request): Outcome {
  try {
    const done = perform(request);
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

function perform({ work, source }: Request): Outcome {
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
      ? documents.find(work.docRef, work.heads)
      : (documents.supply(work.docRef, work.heads, source.have, source.bytes) ?? { have: [] });
  if ("have" in found) return { type: "need", have: found.have };
  return { type: "done", value: performOn(found, work) };
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
