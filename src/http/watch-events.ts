import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { decodeCursor } from "../ids/cursor.ts";
import type { Result, WatchState } from "../query/watch-state.ts";
import { cursorAt, resolveSince } from "../subscriptions/cursor.ts";
import { problemOf } from "./problem.ts";

/** How the events of a watch are written: as server-sent events, or as JSON texts, one a frame. */
export type WatchFormat = "sse" | "frame";

/** What every event says: a commit, and the hash of the result as it is there. */
export interface WatchPlace {
  readonly seq: number;
  readonly hash: string;
}

/** Where a watch goes on: `seq` when that commit is of this life of the db, `hash` when its client knows one. */
export interface WatchSince {
  readonly seq?: number;
  readonly hash?: string;
}

const WITH_HASH = /^([A-Za-z0-9_-]+)~([0-9a-f]{64})$/;

/** Opaque to clients; leads back to the place, also in another life of the db, as far as its result is still one. */
export function watchCursor(db: Db, { seq, hash }: WatchPlace): string {
  return `${cursorAt(db, seq)}~${hash}`;
}

/**
 * What a client knows: the cursor of an event, or a place as a feed takes it. Throws CURSOR_INVALID for the former
 * of another db, and for the latter what `resolveSince` throws.
 */
export async function sinceOf(db: Db, text: string): Promise<WatchSince> {
  const [, place, hash] = WITH_HASH.exec(text) ?? [];
  if (place === undefined || hash === undefined) return { seq: await resolveSince(db, text) };
  const { epoch, seq } = decodeCursor(db.log.identity.uid, place);
  const { log } = db;
  return { hash, ...(epoch === log.epoch && seq <= log.head().seq ? { seq } : {}) };
}

export class WatchEncoder {
  readonly #db: Db;
  readonly #format: WatchFormat;

  constructor(db: Db, format: WatchFormat) {
    this.#db = db;
    this.#format = format;
  }

  /** The whole result. */
  full(event: "snapshot" | "update", state: WatchState): Buffer {
    return state.encoded(`${this.#format} ${event}`, () => {
      const { columns, types, count, rows } = state.result;
      const members = `,"columns":${JSON.stringify(columns)},"types":${JSON.stringify(types)},"row_count":${count},"rows":[`;
      return this.#event(event, state.result, members, rows, "]");
    });
  }

  /** What leads from the result before; undefined when there is nothing shorter than the whole. */
  step(state: WatchState): Buffer | undefined {
    const { delta, result } = state;
    return delta && state.encoded(`${this.#format} delta`, () => this.delta(result, delta));
  }

  delta(result: Result, { from, json }: { readonly from: string; readonly json: string }): Buffer {
    const members = `,"from":"${from}","types":${JSON.stringify(result.types)},"row_count":${result.count},${json}`;
    return this.#event("update", result, members);
  }

  /** That nothing changed up to a commit. */
  same(event: "heartbeat" | "resumed", place: WatchPlace): Buffer {
    return this.#event(event, place, "");
  }

  error(place: WatchPlace, error: unknown, requestId: string): Buffer {
    const body = problemOf(error, requestId).body as string;
    return this.#event("error", place, `,${body.slice(1, -1)}`);
  }

  #event(event: string, { seq, hash }: WatchPlace, ...members: (string | Buffer)[]): Buffer {
    const cursor = watchCursor(this.#db, { seq, hash });
    const place = `"seq":${seq},"result_hash":"${hash}","cursor":"${cursor}"`;
    const sse = this.#format === "sse";
    const before = sse ? `event: ${event}\nid: ${cursor}\ndata: {${place}` : `{"event":"${event}",${place}`;
    const parts = [before, ...members, sse ? "}\n\n" : "}"];
    return Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  }
}

/** Why a watch ends that its client may ask for again. */
export function endOfWatch(code: "UNAVAILABLE" | "UNAUTHENTICATED" | "READER_SLOW"): SkaldError {
  return new SkaldError(code, ENDS[code]);
}

const ENDS = {
  UNAVAILABLE: "The server stops, or the db is wanted: it is deleted, closed or made anew.",
  UNAUTHENTICATED: "The token was revoked, or it or the ticket ran out.",
  READER_SLOW: "The events were not taken.",
} as const;
