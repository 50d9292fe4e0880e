import type { ErrorCode } from "../errors.ts";
import type {
  AuthorJob,
  AuthorResult,
  CheckJob,
  CheckResult,
  DiffJob,
  DiffResult,
  DivergeJob,
  DivergeResult,
  Edit,
  ReadJob,
  ReadResult,
  SplitJob,
  SplitResult,
} from "./jobs.ts";
import type { Progress } from "./progress.ts";

/**
 * What travels between the pool and a thread: one batch of jobs at a time, and one or more replies that together
 * have an outcome for each job, in order. A thread that is spent leaves the rest of its batch undone.
 */

type Sent<T> = Omit<T, "source" | "deadlineMs">;

export type Work =
  | ({ kind: "read" } & Sent<ReadJob>)
  | { kind: "save"; docRef: string; heads: string[] }
  | ({ kind: "author" } & Sent<AuthorJob>)
  | ({ kind: "check" } & Sent<CheckJob>)
  | ({ kind: "diff"; heads: string[] } & Sent<DiffJob>)
  | ({ kind: "diverge" } & Sent<DivergeJob>)
  | ({ kind: "split" } & Sent<SplitJob>)
  /** Loaded copies whose docRef has the one in it and ends with the other are dropped. */
  | { kind: "forget"; start: string; end: string };

export interface Results {
  read: ReadResult;
  save: Uint8Array;
  author: AuthorResult;
  check: CheckResult;
  diff: DiffResult;
  diverge: DivergeResult;
  split: SplitResult;
  forget: { dropped: number };
}

export interface Item {
  work: Work;
  /** The answer to a `need`: all chunks in one array, and the heads they were asked with. */
  source?: Source;
}

export interface Source {
  have: string[];
  bytes: Uint8Array<ArrayBuffer>;
}

export interface Batch {
  items: Item[];
}

export interface ThreadState {
  cachedDocuments: number;
  cachedBytes: number;
  /** To be replaced: Automerge panicked and its module is not to be trusted, or the memory passed the bound. */
  spent: boolean;
}

export type Outcome =
  | { type: "done"; value: Results[keyof Results] }
  /** Not done: the source is to be asked for what leads from `have` to the heads. The try took `ms`. */
  | { type: "need"; have: string[]; ms: number }
  /** Not tried, since an earlier job of the document in the batch came back with `need`. */
  | { type: "again" }
  | { type: "failed"; code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> };

export type Reply = { type: "ready" } | { type: "reply"; outcomes: Outcome[]; state: ThreadState };

export interface ThreadOptions {
  cacheBytes: number;
  /** Bytes outside the JavaScript heap of the thread, mostly its WASM memory, which never shrinks. */
  maxMemory: number;
  progress: Progress;
}

/** What the pool needs of a thread: Node's `Worker` is one. */
export interface Thread {
  postMessage(batch: Batch, buffers: ArrayBuffer[]): void;
  on(event: "message", hear: (reply: Reply) => void): unknown;
  on(event: "error", hear: (error: Error) => void): unknown;
  on(event: "exit", hear: (code: number) => void): unknown;
  /** Whether it keeps the process alive. */
  ref(): void;
  unref(): void;
  /** Resolves when it is gone; nothing is heard of it after that. */
  terminate(): Promise<unknown>;
}

export type StartThread = (options: ThreadOptions) => Thread;

/** Bytes that a job brings to the thread, roughly. */
export function sizeOf({ work, source }: Item): number {
  const brought = source?.bytes.length ?? 0;
  switch (work.kind) {
    case "split":
      return work.bytes.length;
    case "check":
      return work.changes.reduce((sum, change) => sum + change.length, brought);
    case "author":
      return brought + (work.eager?.length ?? 0) + lengthOf(work.edit);
    default:
      return brought;
  }
}

function lengthOf(edit: Edit): number {
  if (edit.kind === "put") return edit.value.length;
  return "patch" in edit ? edit.patch.length : 0;
}
