import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { SkaldError } from "../errors.ts";
import type { World } from "../world.ts";
import type { SourceCallback } from "./jobs.ts";
import {
  type Batch,
  type Item,
  type Outcome,
  type Reply,
  type Results,
  sizeOf,
  type Source,
  type StartThread,
  type Thread,
  type ThreadOptions,
  type ThreadState,
  type Work,
} from "./messages.ts";
import { newProgress, type Progress, readProgress } from "./progress.ts";

/** Threads run compiled code, also when this module itself was loaded from `src` by the tests. */
const WORKER_FILE = fileURLToPath(new URL("../../dist/documents/worker.js", import.meta.url));

/** A message to another thread costs up to a millisecond on a busy machine, a small job less. */
const MAX_BATCH = 32;
/** Bytes after which a batch is full: the thread may as well begin. */
const MAX_BATCH_BYTES = 2 ** 20;

export interface PoolOptions {
  workers: number;
  cacheBytes: number;
  maxMemory: number;
  deadlineMs: number;
  queueLimit: number;
  /** Milliseconds without work after which a thread ends. */
  idleMs: number;
  world: World;
  thread: StartThread;
}

interface Task {
  work: Work;
  source?: SourceCallback;
  /** The answer to the thread's `need`, until it is sent: it is handed over and can be sent once. */
  given?: Source;
  /** Milliseconds of work left. */
  remaining: number;
  allowed: number;
  resolve: (value: Results[keyof Results]) => void;
  reject: (error: unknown) => void;
}

interface Slot {
  worker: Thread | undefined;
  ready: boolean;
  queue: Task[];
  /** Sent and not answered, in order. */
  batch: Task[];
  /** Sent back by the thread, to be sent again before the queue; undefined when its source failed. */
  held: Promise<Task | undefined>[];
  /** As many tasks as there are promises in `held`. */
  heldTasks: Task[];
  progress: Progress;
  /** Jobs that the present thread has answered. */
  answered: number;
  stopTimer: (() => void) | undefined;
  /** Stops the ending of a thread that idles. */
  stopIdle: (() => void) | undefined;
  state: ThreadState;
}

/** A worker thread of Node's. */
export const startWorker: StartThread = (options) =>
  new Worker(WORKER_FILE, { workerData: options, name: "skald-documents" });

const NO_STATE: ThreadState = { cachedDocuments: 0, cachedBytes: 0, spent: false };

/**
 * Threads with a queue each, a batch of tasks at a time. A thread that overruns the deadline of the task it is at,
 * dies or is spent is ended and a new one takes over what it has not answered; only the task that it was at fails.
 * Threads start on first use, keep the process alive only while they have work and end when they have had none for
 * a while.
 */
export class WorkerPool {
  readonly #options: PoolOptions;
  readonly #slots: Slot[];
  readonly #endings = new Set<Promise<unknown>>();
  #restarts = 0;
  #messages = 0;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.workers }, () => ({
      worker: undefined,
      ready: false,
      queue: [],
      batch: [],
      held: [],
      heldTasks: [],
      progress: newProgress(),
      answered: 0,
      stopTimer: undefined,
      stopIdle: undefined,
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
      const waiting = loadOf(slot) - 1;
      if (waiting >= this.#options.queueLimit) {
        return reject(new SkaldError("WORK_BUSY", `${waiting} jobs wait for this document's worker.`));
      }
      const allowed = deadlineMs ?? this.#options.deadlineMs;
      const task: Task = { work, remaining: allowed, allowed, resolve, reject };
      if (source !== undefined) task.source = source;
      slot.queue.push(task);
      this.#next(slot);
    }) as Promise<Results[K]>;
  }

  /** Has every thread drop what it has loaded of a document. */
  async forget(start: string, end: string): Promise<void> {
    const slots = this.#slots.filter((slot) => slot.worker !== undefined && !this.#closed);
    const { deadlineMs: allowed } = this.#options;
    const done = slots.map(
      (slot) =>
        new Promise<unknown>((resolve, reject) => {
          const work: Work = { kind: "forget", start, end };
          slot.queue.push({ work, remaining: allowed, allowed, resolve, reject });
          this.#next(slot);
        }),
    );
    // A thread that ends has nothing loaded any more.
    await Promise.allSettled(done);
  }

  stats(): {
    workers: number;
    restarts: number;
    queued: number;
    messages: number;
    cachedDocuments: number;
    cachedBytes: number;
  } {
    const totals = {
      workers: 0,
      restarts: this.#restarts,
      queued: 0,
      messages: this.#messages,
      cachedDocuments: 0,
      cachedBytes: 0,
    };
    for (const slot of this.#slots) {
      totals.workers += slot.worker === undefined ? 0 : 1;
      totals.queued += loadOf(slot);
      totals.cachedDocuments += slot.state.cachedDocuments;
      totals.cachedBytes += slot.state.cachedBytes;
    }
    return totals;
  }

  /** Ends all threads; work that was waiting or running is refused with UNAVAILABLE. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const slot of this.#slots) {
      const tasks = [...slot.heldTasks, ...slot.batch, ...slot.queue];
      slot.queue = [];
      slot.batch = [];
      slot.held = [];
      slot.heldTasks = [];
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
    return this.#slots.reduce((best, slot) => (loadOf(slot) < loadOf(best) ? slot : best));
  }

  /** Sends what waits, unless the thread is at work or something is to be sent before the queue. */
  #next(slot: Slot): void {
    if (slot.batch.length > 0 || slot.held.length > 0 || this.#closed) return;
    if (slot.queue.length === 0) {
      slot.worker?.unref();
      if (slot.worker !== undefined) this.#idle(slot, slot.worker);
      return;
    }
    slot.stopIdle?.();
    slot.stopIdle = undefined;
    slot.worker ??= this.#start(slot);
    slot.worker.ref();
    if (slot.ready) this.#post(slot, slot.worker);
  }

  #post(slot: Slot, worker: Thread): void {
    const items: Item[] = [];
    const buffers: ArrayBuffer[] = [];
    let bytes = 0;
    for (const task of slot.queue) {
      const item: Item = { work: task.work, ...(task.given === undefined ? {} : { source: task.given }) };
      bytes += sizeOf(item);
      if (items.length > 0 && (items.length >= MAX_BATCH || bytes > MAX_BATCH_BYTES)) break;
      items.push(item);
      if (task.given !== undefined) buffers.push(task.given.bytes.buffer);
      delete task.given;
    }
    slot.batch = slot.queue.splice(0, items.length);
    this.#messages++;
    worker.postMessage({ items } satisfies Batch, buffers);
    this.#watch(slot);
  }

  /** Ends the thread if the task it is at has used up its time; else looks again when one could have. */
  #watch(slot: Slot): void {
    const { begun, running } = readProgress(slot.progress, this.#options.world);
    const at = begun - slot.answered - 1;
    let soonest = Infinity;
    for (const [index, task] of slot.batch.entries()) {
      // Done, and the answer is on its way.
      if (index < at || (index === at && running === undefined)) continue;
      const left = task.remaining - (index === at ? (running ?? 0) : 0);
      if (left <= 0) return this.#overrun(slot, task);
      soonest = Math.min(soonest, left);
    }
    if (soonest < Infinity) {
      slot.stopTimer = this.#options.world.timer(Math.ceil(soonest), () => this.#watch(slot));
    }
  }

  /** WASM memory never shrinks: only a thread's end gives back what documents took that nobody asks for any more. */
  #idle(slot: Slot, worker: Thread): void {
    slot.stopIdle?.();
    slot.stopIdle = this.#options.world.timer(this.#options.idleMs, () => {
      slot.stopIdle = undefined;
      if (slot.worker === worker && loadOf(slot) === 0) this.#end(slot);
    });
  }

  #start(slot: Slot): Thread {
    const { cacheBytes, maxMemory, thread } = this.#options;
    slot.progress = newProgress();
    slot.answered = 0;
    const data: ThreadOptions = { cacheBytes, maxMemory, progress: slot.progress };
    const worker = thread(data);
    // A thread that was given up may still say something; only the slot's present one is listened to.
    worker.on("message", (reply: Reply) => {
      if (slot.worker === worker) this.#hear(slot, reply);
    });
    worker.on("error", (error: Error) => {
      if (slot.worker === worker) this.#died(slot, error);
    });
    worker.on("exit", (code) => {
      if (slot.worker === worker) this.#died(slot, new Error(`The thread ended with code ${code}.`));
    });
    return worker;
  }

  #hear(slot: Slot, reply: Reply): void {
    if (reply.type === "ready") {
      slot.ready = true;
      this.#next(slot);
      return;
    }
    slot.state = reply.state;
    slot.answered += reply.outcomes.length;
    const tasks = slot.batch.splice(0, reply.outcomes.length);
    for (const [index, task] of tasks.entries()) this.#settle(slot, task, reply.outcomes[index] as Outcome);
    if (reply.state.spent) this.#replace(slot);
    else if (slot.batch.length === 0) slot.stopTimer?.();
    this.#resume(slot);
  }

  #settle(slot: Slot, task: Task, outcome: Outcome): void {
    switch (outcome.type) {
      case "done":
        return task.resolve(outcome.value);
      case "failed":
        return task.reject(new SkaldError(outcome.code, outcome.message, { details: outcome.details }));
      case "need":
        task.remaining = Math.max(1, task.remaining - outcome.ms);
        slot.held.push(fetchSource(task, outcome.have));
        break;
      case "again":
        slot.held.push(Promise.resolve(task));
        break;
    }
    slot.heldTasks.push(task);
  }

  /** Goes on once the batch is answered and the sources of what is held are here. */
  #resume(slot: Slot): void {
    if (slot.batch.length > 0) return;
    if (slot.held.length === 0) return this.#next(slot);
    const { held } = slot;
    void Promise.all(held).then((tasks) => {
      // Closed meanwhile, or asked to resume twice.
      if (slot.held !== held) return;
      slot.held = [];
      slot.heldTasks = [];
      slot.queue.unshift(...tasks.filter((task) => task !== undefined));
      this.#next(slot);
    });
  }

  #overrun(slot: Slot, task: Task): void {
    slot.batch = slot.batch.filter((other) => other !== task);
    this.#replace(slot);
    task.reject(
      new SkaldError("WORK_TIMEOUT", `The document work took longer than ${task.allowed} ms.`, {
        details: { deadline_ms: task.allowed },
      }),
    );
    this.#resume(slot);
  }

  #died(slot: Slot, cause: Error): void {
    const { begun, running } = readProgress(slot.progress, this.#options.world);
    // Between jobs nobody is known to be to blame, but if nobody were, the next thread could end the same way.
    const at = running === undefined ? 0 : begun - slot.answered - 1;
    const task =
      slot.batch.length > 0 ? slot.batch.splice(at, 1)[0] : slot.ready ? undefined : slot.queue.shift();
    this.#replace(slot);
    task?.reject(new SkaldError("WORK_FAILED", "The document's worker ended on this job.", { cause }));
    this.#resume(slot);
  }

  /** What the thread has not answered is for the next one. */
  #replace(slot: Slot): void {
    this.#restarts++;
    this.#end(slot);
    slot.queue.unshift(...slot.batch);
    slot.batch = [];
  }

  /** The next task starts a new thread; it need not wait for this one to be gone. */
  #end(slot: Slot): void {
    const worker = slot.worker;
    slot.stopTimer?.();
    slot.stopIdle?.();
    slot.stopIdle = undefined;
    slot.worker = undefined;
    slot.ready = false;
    slot.state = NO_STATE;
    if (worker === undefined) return;
    const ending = worker.terminate().finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }
}

/** Tasks that wait or run. */
function loadOf(slot: Slot): number {
  return slot.heldTasks.length + slot.batch.length + slot.queue.length;
}

/** The task with its source, or undefined when that failed and the task with it. */
async function fetchSource(task: Task, have: string[]): Promise<Task | undefined> {
  try {
    const chunks = (await task.source?.(have))?.chunks ?? [];
    // One new array, so that the caller's chunks stay theirs and the copy can be handed over.
    const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
    }
    task.given = { have, bytes };
    return task;
  } catch (error) {
    task.reject(error);
    return undefined;
  }
}

function closedError(): SkaldError {
  return new SkaldError("UNAVAILABLE", "The document workers are closed.");
}
