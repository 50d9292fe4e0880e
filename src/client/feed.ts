import { SkaldError, isSkaldError } from "./error.ts";
import { eventsOf } from "./event-stream.ts";
import { either, pause, type Closing, type Platform } from "./platform.ts";
import { isPassing, pauseBefore, type Requests } from "./request.ts";
import { fromBase64 } from "./storage.ts";

export type Include = "none" | "json" | "patch" | "changes";

export interface ChangesOptions {
  /** Where to begin: a cursor of whatever answer, a seq, a commit, a time, `now`; from the start when left out. */
  readonly since?: string | number;
  /** What comes with each document: nothing, its value, its patch (RFC 6902), or its change bytes. */
  readonly include?: Include;
  readonly collection?: string;
  /** Start of the key; needs `collection`. */
  readonly prefix?: string;
  /** Only these documents. */
  readonly docs?: readonly string[];
  /** False: ends when it has got to where the db is; else it goes on as commits come. */
  readonly follow?: boolean;
  /**
   * What to do when the db began another life, as after a restore from a backup: `throw` EPOCH_CHANGED, whose
   * `details.cursor` is the last place that both lives have, or `resume` from there.
   */
  readonly onEpoch?: "throw" | "resume";
  readonly signal?: AbortSignal;
}

/** A document as a commit left it. */
export interface ChangedDoc {
  readonly doc: string;
  readonly heads: readonly string[];
  readonly deleted?: boolean;
  /** This commit erased it: nobody has it any more. */
  readonly erased?: boolean;
  readonly value?: unknown;
  readonly patch?: readonly { readonly op: string; readonly path: string; readonly value?: unknown }[];
  readonly changes?: readonly Uint8Array[];
  /** Code of what keeps its value or patch from being given. */
  readonly error?: string;
}

/** One commit. */
export interface ChangeEvent {
  readonly seq: number;
  readonly commit: string;
  readonly time: string;
  readonly author: string;
  readonly branch: string;
  readonly message?: string;
  readonly docs: readonly ChangedDoc[];
  /** A feed that begins here goes on after this event. */
  readonly cursor: string;
}

/** Milliseconds between signs of life of the server, and without any until the stream is taken for dead. */
const BEAT = { every: 15_000, missed: 40_000 } as const;
/** Events of a page. */
const PAGE = 1000;

/**
 * The commits of a db in order, each once: after whatever cut, it goes on behind the last one that was given.
 * Throws what keeps it from going on: a refused token, a cursor that is no good any more, EPOCH_CHANGED.
 */
export async function* changesOf(
  requests: Requests,
  platform: Platform,
  db: string,
  options: ChangesOptions,
  closing: Closing,
): AsyncGenerator<ChangeEvent> {
  const { include, collection, prefix, docs, onEpoch = "throw", follow = true } = options;
  const { signal, unlink } = either(options.signal, closing);
  let since = options.since;
  let last = 0;
  let tries = 0;
  const ask = {
    method: "GET",
    path: `/db/${encodeURIComponent(db)}/changes`,
    signal,
  } as const;
  const query = { include, collection, prefix, doc: docs };
  try {
    for (;;) {
      try {
        if (!follow) {
          const page = await requests.json<{ events: RawEvent[]; cursor: string; more: boolean }>({
            ...ask,
            query: { ...query, since, limit: PAGE },
          });
          for (const event of page.events) yield eventOf(event);
          since = page.cursor;
          if (!page.more) return;
          continue;
        }
        const stream = { ...ask, query: { ...query, since, feed: "sse", heartbeat: BEAT.every } };
        for await (const { event, data } of eventsOf(requests, platform, stream, BEAT.missed)) {
          tries = 0;
          const said = JSON.parse(data) as RawEvent & { code?: string };
          if (event === "change") {
            // The server may give again what it gave: at least once is its promise, once is ours.
            if (said.seq > last) yield eventOf(said);
            last = Math.max(last, said.seq);
            since = said.cursor;
          } else if (event === "end") {
            since = said.cursor;
            checkEnd(said.code);
          }
        }
      } catch (error) {
        if (signal.aborted || !isSkaldError(error)) throw error;
        const { details } = error;
        if (error.code === "EPOCH_CHANGED" && onEpoch === "resume" && typeof details["cursor"] === "string") {
          since = details["cursor"];
          last = Number(details["seq"] ?? 0);
          continue;
        }
        if (!isPassing(error)) throw error;
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

export type RawEvent = Omit<ChangeEvent, "docs"> & {
  readonly docs: readonly (Omit<ChangedDoc, "changes"> & { readonly changes?: readonly string[] })[];
};

/** An event as it came, its change bytes decoded. */
export function eventOf(event: RawEvent): ChangeEvent {
  return {
    ...event,
    docs: event.docs.map(({ changes, ...doc }) =>
      changes === undefined ? doc : { ...doc, changes: changes.map(fromBase64) },
    ),
  };
}

/** Why the server ends a stream that it would begin again: it stops, the reader was slow, the token ran out. */
const ENDS: ReadonlySet<string> = new Set(["UNAVAILABLE", "READER_SLOW", "UNAUTHENTICATED"]);

/** Whether a stream that ended with this code is simply opened again. */
export function mayOpenAgain(code: string): boolean {
  return ENDS.has(code);
}

/** Throws what the end of a stream says, unless the stream may simply be opened again. */
export function checkEnd(code: string | undefined): void {
  if (code === undefined || mayOpenAgain(code)) return;
  const failed = code === "INTERNAL" || code === "DB_DAMAGED" || code === "STORAGE_FAILED";
  throw new SkaldError(code, `The server ended the stream: ${code}.`, { status: failed ? 503 : 0 });
}
