import { availableParallelism } from "node:os";
import { SkaldError } from "../errors.ts";
import { realWorld, type World } from "../world.ts";
import { LIMITS } from "../limits.ts";
import { parsePointer } from "./json-value.ts";
import type {
  AuthorJob,
  AuthorResult,
  CheckJob,
  CheckResult,
  DiffJob,
  DiffResult,
  DivergeJob,
  DivergeResult,
  DocumentAt,
  DocumentsStats,
  ReadJob,
  ReadResult,
  SplitJob,
  SplitResult,
} from "./jobs.ts";
import type { StartThread } from "./messages.ts";
import { startWorker, WorkerPool } from "./worker-pool.ts";

export type * from "./jobs.ts";

export interface DocumentsOptions {
  /** Threads; default cores - 1, at least 1 and at most 4. */
  workers?: number;
  /** Estimated bytes of loaded documents a thread keeps; default 64 MiB. */
  cacheBytesPerWorker?: number;
  /** WASM memory of a thread above which it is replaced between jobs; default 512 MiB. */
  maxWorkerMemory?: number;
  /** Default deadline of a job in milliseconds of work; default 10 000. */
  deadlineMs?: number;
  /** Jobs waiting on one thread beyond which WORK_BUSY is answered; default 1 000. */
  queueLimit?: number;
  /** Milliseconds without work after which a thread ends; default 20 000. */
  idleMs?: number;
  world?: World;
  /** How a thread is made; by default a worker thread on the compiled `worker.ts`. */
  thread?: StartThread;
}

/**
 * Everything that runs Automerge, on worker threads. Every method may also throw WORK_TIMEOUT, WORK_FAILED,
 * WORK_BUSY, UNAVAILABLE after `close`, DOC_UNREADABLE when the source does not lead to the heads (`missing`
 * names those that are not there), and whatever the source callback throws. See specs/04-documents.md.
 */
export class Documents {
  readonly #pool: WorkerPool;

  constructor(options: DocumentsOptions = {}) {
    this.#pool = new WorkerPool({
      workers: options.workers ?? Math.min(4, Math.max(1, availableParallelism() - 1)),
      cacheBytes: options.cacheBytesPerWorker ?? 64 * 2 ** 20,
      maxMemory: options.maxWorkerMemory ?? LIMITS.document.threadBytes.value,
      deadlineMs: options.deadlineMs ?? LIMITS.document.jobMs.value,
      queueLimit: options.queueLimit ?? LIMITS.document.queuedJobs.value,
      idleMs: options.idleMs ?? IDLE_MS,
      world: options.world ?? realWorld,
      thread: options.thread ?? startWorker,
    });
  }

  /** @throws SkaldError PATH_INVALID when one of `paths` is not a JSON pointer */
  async read(job: ReadJob): Promise<ReadResult> {
    const { docRef, heads, paths, conflicts, source, deadlineMs } = job;
    const bad = paths?.find((path) => parsePointer(path) === undefined);
    if (bad !== undefined)
      throw new SkaldError("PATH_INVALID", `${JSON.stringify(bad)} is not a JSON pointer.`);
    return this.#pool.run(
      {
        kind: "read",
        docRef,
        heads,
        ...(paths === undefined ? {} : { paths }),
        ...(conflicts === undefined ? {} : { conflicts }),
      },
      source,
      deadlineMs,
    );
  }

  /** `Automerge.save` bytes: the history up to the heads and nothing else. */
  async save(job: DocumentAt): Promise<Uint8Array> {
    return this.#pool.run({ kind: "save", docRef: job.docRef, heads: job.heads }, job.source, job.deadlineMs);
  }

  /**
   * The smallest change that does the edit to the document at `heads`. Nothing is kept of it: when it was
   * committed, ask for its heads; when it was not, ask for others.
   * @throws SkaldError BAD_JSON, VALUE_INVALID, PATCH_INVALID, PATCH_FAILED
   */
  async author(job: AuthorJob): Promise<AuthorResult> {
    const { docRef, heads, actor, time, message, edit, eager, source, deadlineMs } = job;
    return this.#pool.run(
      {
        kind: "author",
        docRef,
        heads,
        actor,
        time,
        edit,
        ...(message === undefined ? {} : { message }),
        // A view would take its whole buffer along.
        ...(eager === undefined ? {} : { eager: eager.slice() }),
      },
      source,
      deadlineMs,
    );
  }

  /**
   * Whether Automerge takes these changes, in causal order, on the document at `heads`: applied to a copy,
   * saved and loaded back. Guard their size first: a bomb ends in WORK_TIMEOUT or WORK_FAILED.
   */
  async check(job: CheckJob): Promise<CheckResult> {
    const { docRef, heads, changes, keep, source, deadlineMs } = job;
    return this.#pool.run(
      { kind: "check", docRef, heads, changes, ...(keep === undefined ? {} : { keep }) },
      source,
      deadlineMs,
    );
  }

  /** What changed between two points, as a JSON patch. */
  async diff(job: DiffJob): Promise<DiffResult> {
    const { docRef, from, to, source, deadlineMs } = job;
    return this.#pool.run(
      { kind: "diff", docRef, from, to, heads: [...new Set([...from, ...to])] },
      source,
      deadlineMs,
    );
  }

  /** What two sides of a merge both changed, to different values, since what both have. */
  async diverge(job: DivergeJob): Promise<DivergeResult> {
    const { docRef, heads, into, from, source, deadlineMs } = job;
    return this.#pool.run({ kind: "diverge", docRef, heads, into, from }, source, deadlineMs);
  }

  /**
   * The single changes of a saved document, for import.
   * @throws SkaldError IMPORT_INVALID when the bytes are not a whole Automerge file
   */
  async split(job: SplitJob): Promise<SplitResult> {
    return this.#pool.run({ kind: "split", bytes: job.bytes }, undefined, job.deadlineMs);
  }

  /** Lets go of copies that are loaded under docRefs which have `start` in them and end with `end`. */
  async forget(start: string, end: string): Promise<void> {
    await this.#pool.forget(start, end);
  }

  stats(): DocumentsStats {
    return this.#pool.stats();
  }

  /** Ends the threads. Work under way is refused with UNAVAILABLE. */
  async close(): Promise<void> {
    await this.#pool.close();
  }
}

/** A thread starts in a tenth of a second, so one that had nothing to do for this long is not worth its memory. */
const IDLE_MS = 20_000;
