import type { Db } from "../db/db.ts";
import { CborWriter } from "../ids/cbor.ts";
import type { CommitScan, RawCommit } from "../log/log.ts";
import { Cursors } from "./cursor.ts";
import { cborCommit, cborEvent } from "./event-cbor.ts";
import { writeCommit, writeEvent } from "./event-json.ts";
import type { FeedEvent } from "./feed-event.ts";
import type { DocTest } from "./feed-filter.ts";
import { JsonBytes } from "./json-bytes.ts";

/**
 * How events go out: one JSON object a line, the items of a JSON list, server-sent events, or a CBOR sequence.
 * The end of a stream says how far it got, so that a client can tell it from one that broke off.
 */
export type FeedFormat = "lines" | "list" | "sse" | "cbor";

/** Where a stream stands at its end, and why it ended when it did not get to where it was going. */
export interface FeedEnd {
  readonly seq: number;
  readonly more?: boolean;
  readonly code?: string;
}

export interface FeedEncoder {
  readonly length: number;
  event(event: FeedEvent): void;
  /** The same from a commit as it is stored; false when nothing of it is let through. */
  commit(scan: CommitScan, raw: RawCommit, test: DocTest | undefined, changes: boolean): boolean;
  /** How far the feed got without an event. */
  progress(seq: number): void;
  end(end: FeedEnd): void;
  /** What was written since the last call. */
  take(): Buffer;
}

/** `room`: bytes to begin with; it grows. */
export function feedEncoder(db: Db, format: FeedFormat, room = 80 * 1024): FeedEncoder {
  return format === "cbor" ? new CborEvents(db, room) : new JsonEvents(db, format, room);
}

class JsonEvents implements FeedEncoder {
  readonly #out: JsonBytes;
  readonly #cursors: Cursors;
  readonly #format: "lines" | "list" | "sse";
  #first = true;

  constructor(db: Db, format: "lines" | "list" | "sse", room: number) {
    this.#out = new JsonBytes(room);
    this.#cursors = new Cursors(db);
    this.#format = format;
  }

  get length(): number {
    return this.#out.length;
  }

  event(event: FeedEvent): void {
    this.#open(event.seq);
    writeEvent(this.#out, this.#cursors, event);
    this.#close();
  }

  commit(scan: CommitScan, raw: RawCommit, test: DocTest | undefined, changes: boolean): boolean {
    const before = this.#out.length;
    this.#open(raw.seq);
    const shown = writeCommit(this.#out, this.#cursors, scan, raw, test, changes);
    if (shown) this.#close();
    else this.#out.cut(before);
    return shown;
  }

  end({ seq, more, code }: FeedEnd): void {
    const cursor = this.#cursors.at(seq);
    const said = JSON.stringify({
      ...(code === undefined ? {} : { code }),
      seq,
      cursor,
      ...(more === undefined ? {} : { more }),
    });
    this.#out.text(this.#format === "sse" ? `id: ${cursor}\nevent: end\ndata: ${said}\n\n` : `${said}\n`);
  }

  progress(seq: number): void {
    if (this.#format !== "sse") return this.end({ seq });
    // An id without data moves the client's Last-Event-ID and is no event (HTML, section 9.2.6).
    this.#out.ascii(`id: ${this.#cursors.at(seq)}\n\n`);
  }

  take(): Buffer {
    return this.#out.take();
  }

  #open(seq: number): void {
    if (this.#format === "sse") {
      this.#out.ascii("id: ");
      this.#out.ascii(this.#cursors.at(seq));
      this.#out.ascii("\nevent: change\ndata: ");
    } else if (this.#format === "list" && !this.#first) this.#out.ascii(",");
  }

  #close(): void {
    this.#first = false;
    if (this.#format !== "list") this.#out.ascii(this.#format === "sse" ? "\n\n" : "\n");
  }
}

class CborEvents implements FeedEncoder {
  readonly #out: CborWriter;
  readonly #cursors: Cursors;

  constructor(db: Db, room: number) {
    this.#out = new CborWriter(room);
    this.#cursors = new Cursors(db);
  }

  get length(): number {
    return this.#out.length;
  }

  event(event: FeedEvent): void {
    cborEvent(this.#out, this.#cursors, event);
  }

  commit(scan: CommitScan, raw: RawCommit, test: DocTest | undefined, changes: boolean): boolean {
    return cborCommit(this.#out, this.#cursors, scan, raw, test, changes);
  }

  end({ seq, more, code }: FeedEnd): void {
    const w = this.#out;
    w.map(2 + (more === undefined ? 0 : 1) + (code === undefined ? 0 : 1));
    w.text("seq");
    w.uint(seq);
    if (code !== undefined) {
      w.text("code");
      w.text(code);
    }
    if (more !== undefined) {
      w.text("more");
      w.bool(more);
    }
    w.text("cursor");
    w.text(this.#cursors.at(seq));
  }

  progress(seq: number): void {
    this.end({ seq });
  }

  take(): Buffer {
    const taken = this.#out.take();
    this.#out.reset();
    return Buffer.from(taken.buffer, taken.byteOffset, taken.byteLength);
  }
}
