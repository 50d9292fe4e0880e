import type { ErrorCode } from "../errors.ts";
import type {
  AuthorJob,
  AuthorResult,
  CheckJob,
  CheckResult,
  DiffJob,
  DiffResult,
  ReadJob,
  ReadResult,
  SplitJob,
  SplitResult,
} from "./jobs.ts";

/** What travels between the pool and a thread: one request at a time, one reply each. */

type Sent<T> = Omit<T, "source" | "deadlineMs">;

export type Work =
  | ({ kind: "read" } & Sent<ReadJob>)
  | { kind: "save"; docRef: string; heads: string[] }
  | ({ kind: "author" } & Sent<AuthorJob>)
  | ({ kind: "check" } & Sent<CheckJob>)
  | ({ kind: "diff"; heads: string[] } & Sent<DiffJob>)
  | ({ kind: "split" } & Sent<SplitJob>);

export interface Results {
  read: ReadResult;
  save: Uint8Array;
  author: AuthorResult;
  check: CheckResult;
  diff: DiffResult;
  split: SplitResult;
}

export interface Request {
  work: Work;
  /** The answer to a `need`: all chunks in one array, and the heads they were asked with. */
  source?: { have: string[]; bytes: Uint8Array };
}

export interface ThreadState {
  /** Bytes outside the JavaScript heap of this thread: mostly its WASM memory, which never shrinks. */
  memory: number;
  cachedDocuments: number;
  cachedBytes: number;
  /** Set when Automerge panicked: the module's state is not to be trusted after that. */
  spoiled: boolean;
}

export type Outcome =
  | { type: "done"; value: Results[keyof Results] }
  | { type: "need"; have: string[] }
  | { type: "failed"; code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> };

export type Reply = { type: "ready" } | { type: "reply"; outcome: Outcome; state: ThreadState };

export interface ThreadOptions {
  cacheBytes: number;
}
