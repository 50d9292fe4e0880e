import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { SkaldError } from "../errors.ts";
import type { SourceCallback } from "./jobs.ts";
import type { Outcome, Reply, Request, Results, ThreadOptions, ThreadState, Work } from "./messages.ts";

/** Threads run compiled code, also when this module itself was loaded from `src` by the tests. */
const WORKER_FILE = fileURLToPath(new URL("../../dist/documents/worker.js", import.meta.url));

export interface PoolOptions {
  workers: number;
  cacheBytes: number;
  maxMemory: number;
  deadlineMs: number;
  queueLimit: number;
}

interface Task {
  work: Work;
  source?: SourceCallback;
  /** Milliseconds of work left. */
  remaining: number;
  allowed: number;
  resolve: (value: Results[keyof Results]) => void;
  reject: (error: unknown) => void;
}

interface Slot {
  worker: Worker | undefined;
  ready: boolean;
  queue: Task[];
  running: Task | undefined;
  /** What the running task was last sent, for the case that the thread is not ready yet. */
  request: Request | undefined;
  startedAt: number;
  timer: NodeJS.Timeout | undefined;
  state: ThreadState;
}

const NO_STATE: ThreadState = { memory: 0, cachedDocuments: 0, cachedBytes: 0, spoiled: false };

/**
 * Threads with a queue each, one task at a time. A thread that overruns its task's deadline, dies or is spoiled
 * is ended and a new one takes over its queue; only the task that ran on it fails. Threads start on first use
 * and keep the process alive only while they have work.
 */
export class WorkerPool {
  readonly #options: PoolOptions;
  readonly #slots: Slot[];
  readonly #endings = new Set<Promise<unknown>>();
  #restarts = 0;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.workers }, () => ({
      worker: undefined,
      ready: false,
      queue: [],
      running: undefined,
      request: undefined,
      startedAt: 0,
      timer: undefined,
      state: NO_STATE,
    }));
  }

  /** Runs the work on the thread of its document; work without a document goes where least is waiting. */
  run<K extends Work["kind"]>(
    work: Extract<Work, { kind: K }>,
    source: SourceCallback | undefined,
    deadlineMs: number | undefined,
  ): Promise<Results[K]> {
    return new Promise<Results[keyof Results]>((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      const slot = "docRef" in work ? this.#slotOf(work.docRef) : this.#shortest();
      if (slot.queue.length >= this.#options.queueLimit) {
        return reject(
          new SkaldError("WORK_BUSY", `${slot.queue.length} jobs wait for this document's worker.`),
        );
      }
      const allowed = deadlineMs ?? this.#options.deadlineMs;
      const task: Task = { work, remaining: allowed, allowed, resolve, reject };
      if (source !== undefined) task.source = source;
      slot.queue.push(task);
      this.#next(slot);
    }) as Promise<Results[K]>;
  }

  stats(): {
    workers: number;
    restarts: number;
    queued: number;
    cachedDocuments: number;
    cachedBytes: number;
  } {
    const totals = { workers: 0, restarts: this.#restarts, queued: 0, cachedDocuments: 0, cachedBytes: 0 };
    for (const slot of this.#slots) {
      totals.workers += slot.worker === undefined ? 0 : 1;
      totals.queued += slot.queue.length + (slot.running === undefined ? 0 : 1);
      totals.cachedDocuments += slot.state.cachedDocuments;
      totals.cachedBytes += slot.state.cachedBytes;
    }
    return totals;
  }

  /** Ends all threads; work that was waiting or running is refused with UNAVAILABLE. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const slot of this.#slots) {
      const tasks = slot.running === undefined ? slot.queue : [slot.running, ...slot.queue];
      slot.queue = [];
      slot.running = undefined;
      this.#end(slot);
      for (const task of tasks) task.reject(closedError());
    }
    await Promise.all(this.#endings);
  }

  #slotOf(docRef: string): Slot {
    // FNV-1a, 32 bits: one document always has the same thread, and so one cached copy.
    let hash = 0x811c9dc5;
    for (let i = 0; i < docRef.length; i++) hash = Math.imul(hash ^ docRef.charCodeAt(i), 0x01000193);
    return this.#slots[(hash >>> 0) % this.#slots.length] as Slot;
  }

  #shortest(): Slot {
    const load = (slot: Slot) => slot.queue.length + (slot.running === undefined ? 0 : 1);
    return this.#slots.reduce((best, slot) => (load(slot) < load(best) ? slot : best));
  }

  #next(slot: Slot): void {
    if (slot.running !== undefined || this.#closed) return;
    const task = slot.queue.shift();
    if (task === undefined) {
      slot.worker?.unref();
      return;
    }
    slot.running = task;
    this.#send(slot, { work: task.work });
  }

  #send(slot: Slot, request: Request): void {
    slot.request = request;
    slot.worker ??= this.#start(slot);
    slot.worker.ref();
    if (slot.ready) this.#post(slot, slot.worker, request);
  }

  #post(slot: Slot, worker: Worker, request: Request): void {
    const task = slot.running;
    if (task === undefined) return;
    slot.startedAt = performance.now();
    slot.timer = setTimeout(() => this.#overrun(slot), task.remaining);
    worker.postMessage(
      request,
      request.source === undefined ? [] : [request.source.bytes.buffer as ArrayBuffer],
    );
  }

  #start(slot: Slot): Worker {
    const data: ThreadOptions = { cacheBytes: this.#options.cacheBytes };
    const worker = new Worker(WORKER_FILE, { workerData: data, name: "skald-documents" });
    // A thread that was given up may still say something; only the slot's present one is listened to.
    worker.on("message", (reply: Reply) => {
      if (slot.worker === worker) this.#hear(slot, worker, reply);
    });
    worker.on("error", (error: Error) => {
      if (slot.worker === worker) this.#died(slot, error);
    });
    worker.on("exit", (code) => {
      if (slot.worker === worker) this.#died(slot, new Error(`The thread ended with code ${code}.`));
    });
    return worker;
  }

  #hear(slot: Slot, worker: Worker, reply: Reply): void {
    if (reply.type === "ready") {
      slot.ready = true;
      if (slot.request !== undefined) this.#post(slot, worker, slot.request);
      return;
    }
    clearTimeout(slot.timer);
    const task = slot.running;
    slot.state = reply.state;
    if (task === undefined) return;
    if (reply.outcome.type === "need") {
      task.remaining = Math.max(1, task.remaining - (performance.now() - slot.startedAt));
      void this.#fetch(slot, task, reply.outcome.have);
      return;
    }
    if (reply.state.spoiled || reply.state.memory > this.#options.maxMemory) this.#replace(slot);
    this.#settle(slot, task, reply.outcome);
  }

  async #fetch(slot: Slot, task: Task, have: string[]): Promise<void> {
    try {
      const chunks = (await task.source?.(have))?.chunks ?? [];
      if (slot.running !== task) return; // closed meanwhile
      // One new array, so that the caller's chunks stay theirs and the copy can be handed over.
      const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
      let at = 0;
      for (const chunk of chunks) {
        bytes.set(chunk, at);
        at += chunk.byteLength;
      }
      this.#send(slot, { work: task.work, source: { have, bytes } });
    } catch (error) {
      if (slot.running !== task) return;
      this.#finish(slot);
      task.reject(error);
      this.#next(slot);
    }
  }

  #settle(slot: Slot, task: Task, outcome: Exclude<Outcome, { type: "need" }>): void {
    this.#finish(slot);
    if (outcome.type === "done") task.resolve(outcome.value);
    else task.reject(new SkaldError(outcome.code, outcome.message, { details: outcome.details }));
    this.#next(slot);
  }

  #overrun(slot: Slot): void {
    const task = slot.running;
    this.#replace(slot);
    this.#finish(slot);
    task?.reject(
      new SkaldError("WORK_TIMEOUT", `The document work took longer than ${task.allowed} ms.`, {
        details: { deadline_ms: task.allowed },
      }),
    );
    this.#next(slot);
  }

  #died(slot: Slot, cause: Error): void {
    const task = slot.running;
    this.#replace(slot);
    this.#finish(slot);
    task?.reject(new SkaldError("WORK_FAILED", "The document's worker ended on this job.", { cause }));
    this.#next(slot);
  }

  #finish(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.running = undefined;
    slot.request = undefined;
  }

  #replace(slot: Slot): void {
    this.#restarts++;
    this.#end(slot);
  }

  /** The next task starts a new thread; it need not wait for this one to be gone. */
  #end(slot: Slot): void {
    const worker = slot.worker;
    this.#finishTimer(slot);
    slot.worker = undefined;
    slot.ready = false;
    slot.state = NO_STATE;
    if (worker === undefined) return;
    const ending = worker.terminate().finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  #finishTimer(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.timer = undefined;
  }
}

function closedError(): SkaldError {
  return new SkaldError("UNAVAILABLE", "The document workers are closed.");
}
