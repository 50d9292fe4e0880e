import { itemTexts } from "../protocol/json-source.ts";
import { WatchMismatch, takeWatchEvent, type WatchedRows } from "../protocol/watched-rows.ts";
import { SkaldError, isSkaldError, problemIn } from "./error.ts";
import { eventsOf } from "./event-stream.ts";
import { mayOpenAgain } from "./feed.ts";
import { either, pause, type Closing, type Platform } from "./platform.ts";
import { isPassing, pauseBefore, type Requests } from "./request.ts";
import { distinct, exactCell, rowOf, watchText, type SqlArgs } from "./sql.ts";

export interface WatchOptions {
  /** `main` when left out. */
  readonly branch?: string;
  readonly signal?: AbortSignal;
}

/** The result of a statement as of one commit. */
export interface WatchState<T> {
  /** As those of `query`; a row that did not change since the state before is the same object. */
  readonly rows: readonly T[];
  /** A second column of one name is `name_2`. */
  readonly columns: readonly string[];
  readonly types: readonly (string | null)[];
  /** The commit that the rows hold for. */
  readonly seq: number;
  /** Of the whole result, by specs/25-query.md: what is here was compared with it. */
  readonly hash: string;
  /** A feed goes on from here. */
  readonly cursor: string;
}

/**
 * The result of a statement, live: each state once it is another one than before. Taken by `for await`, which reads
 * no faster than states are taken and then gets the newest, or by `subscribe`. Each of them is a watch of its own.
 */
export class SqlWatch<T> implements AsyncIterable<WatchState<T>> {
  readonly #open: (signal: AbortSignal | undefined) => AsyncGenerator<WatchState<T>>;
  readonly #signal: AbortSignal | undefined;

  constructor(
    open: (signal: AbortSignal | undefined) => AsyncGenerator<WatchState<T>>,
    signal: AbortSignal | undefined,
  ) {
    this.#open = open;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): AsyncGenerator<WatchState<T>> {
    return this.#open(this.#signal);
  }

  /**
   * Calls `taken` with each state. Gives what ends it. `failed` is told what keeps the watch from going on, as
   * `for await` would throw it; nothing follows then.
   */
  subscribe(taken: (state: WatchState<T>) => void, failed?: (error: SkaldError) => void): () => void {
    const own = new AbortController();
    const end = (): void => own.abort();
    this.#signal?.addEventListener("abort", end);
    if (this.#signal?.aborted) end();
    const run = async (): Promise<void> => {
      for await (const state of this.#open(own.signal)) {
        if (own.signal.aborted) return;
        taken(state);
      }
    };
    run()
      .catch((error: unknown) => {
        if (own.signal.aborted) return;
        if (failed && isSkaldError(error)) failed(error);
        else throw error;
      })
      .finally(() => this.#signal?.removeEventListener("abort", end));
    return end;
  }
}

/** Milliseconds between signs of life of the server, and without any until the stream is taken for dead. */
const BEAT = { every: 15_000, missed: 40_000 } as const;
/** Results in a row that have not the hash that the server says before that is an error. */
const MISMATCHES = 3;

/**
 * The states of a watch. After whatever cut it goes on from the last one by its seq and hash, so nothing is sent
 * again and no change is missed. Throws what keeps it from going on: a statement that is refused (SQL_ERROR,
 * QUERY_LIMIT, …), WATCH_ENDED, a token that ended and none that follows it, BAD_ANSWER when results do not come
 * out as the server says.
 */
export async function* watchOf<T>(
  requests: Requests,
  platform: Platform,
  path: string,
  sql: string,
  args: SqlArgs | undefined,
  options: WatchOptions,
  closing: Closing,
): AsyncGenerator<WatchState<T>> {
  const { signal, unlink } = either(options.signal, closing);
  let state: WatchedRows<T> | undefined;
  let given: string | undefined;
  let tries = 0;
  let mismatches = 0;
  try {
    for (;;) {
      try {
        const ask = {
          method: "POST",
          path: `${path}/query/watch`,
          headers: { "content-type": "application/json" },
          body: watchText(sql, args, options.branch, state?.cursor, BEAT.every),
          signal,
        } as const;
        for await (const { event, data } of eventsOf(requests, platform, ask, BEAT.missed)) {
          if (event === "error") {
            const { status } = JSON.parse(data) as { status: number };
            const problem = problemIn(status, data);
            if (!mayOpenAgain(problem.code)) throw problem;
            break;
          }
          state = takeWatchEvent(state, event ?? "", data, readerOf<T>);
          tries = 0;
          mismatches = 0;
          if (!state || state.hash === given) continue;
          given = state.hash;
          yield stateOf(state);
        }
      } catch (error) {
        if (signal.aborted) throw error;
        if (error instanceof WatchMismatch) {
          mismatches += 1;
          if (mismatches === MISMATCHES) throw new SkaldError("BAD_ANSWER", error.message, { cause: error });
          state = undefined;
        } else if (!isPassing(error)) throw error;
      }
      await pause(platform, pauseBefore(platform, tries), signal);
      tries += 1;
    }
  } catch (error) {
    // Whoever ends it by the signal wants no error of it.
    if (options.signal?.aborted) return;
    throw error;
  } finally {
    unlink();
  }
}

function stateOf<T>({ columns, types, rows, seq, hash, cursor }: WatchedRows<T>): WatchState<T> {
  return { rows: rows.map(({ row }) => row), columns: distinct(columns), types, seq, hash, cursor };
}

function readerOf<T>(columns: readonly string[]): (text: string) => T {
  const names = distinct(columns);
  return (text) => rowOf<T>(itemTexts(text).map(exactCell), names);
}
