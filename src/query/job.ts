/**
 * What goes between the service and its query processes. Jobs go as lines of JSON, a batch in one write; answers
 * come as frames, so that the text of an answer is passed on as bytes that nobody takes apart on the way.
 */

/** Kinds of job; the work of each is a file of its own, `src/query/<kind>-job.ts`, run in the process. */
export const JOB_KINDS = {
  read: { writes: false },
  rows: { writes: false },
  watch: { writes: false },
  names: { writes: false },
  write: { writes: true },
  schema: { writes: false },
} as const;
export type JobKind = keyof typeof JOB_KINDS;

export interface QueryJob {
  readonly kind: JobKind;
  /** Whose: jobs of several are taken in turns. */
  readonly principal: string;
  /** Anything that JSON carries. */
  readonly request: unknown;
}

/** What one statement may take. */
export interface Bounds {
  /** Milliseconds of its own, waiting for a process not counted. */
  readonly ms: number;
  readonly rows: number;
  /** Of its rows as JSON. */
  readonly bytes: number;
}

/** One line to a process: id, kind, bounds, request. */
export type Line = readonly [number, JobKind, number, number, number, unknown];

export const lineOf = (id: number, job: QueryJob, bounds: Bounds): string =>
  `${JSON.stringify([id, job.kind, bounds.ms, bounds.rows, bounds.bytes, job.request] satisfies Line)}\n`;

/** What the work of a job gives: `value` as JSON, and bytes that are passed on as they are. */
export interface JobAnswer {
  readonly value: object;
  readonly body?: string | Uint8Array;
}

/** How a failure crosses: a SkaldError taken apart. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Frame {
  readonly id: number;
  readonly kind: "ready" | "done" | "failed";
  /** Time of the processor that the work took. */
  readonly micros: number;
  /** JSON text. */
  readonly value: string;
  readonly body: Buffer;
}

/** Length of the rest, job, kind, microseconds, length of the value; all 32 bits, little endian. */
const HEAD = 20;
const KINDS = ["ready", "done", "failed"] as const;

export function frameOf(
  id: number,
  kind: Frame["kind"],
  micros: number,
  value: string,
  body: string | Uint8Array = "",
): Buffer {
  const valueBytes = Buffer.byteLength(value);
  const bodyBytes = typeof body === "string" ? Buffer.byteLength(body) : body.byteLength;
  const frame = Buffer.allocUnsafe(HEAD + valueBytes + bodyBytes);
  frame.writeUInt32LE(HEAD - 4 + valueBytes + bodyBytes, 0);
  frame.writeUInt32LE(id, 4);
  frame.writeUInt32LE(KINDS.indexOf(kind), 8);
  frame.writeUInt32LE(micros, 12);
  frame.writeUInt32LE(valueBytes, 16);
  frame.write(value, HEAD, "utf8");
  if (typeof body === "string") frame.write(body, HEAD + valueBytes, "utf8");
  else frame.set(body, HEAD + valueBytes);
  return frame;
}

/** Puts frames together from whatever pieces they come in. */
export class Frames {
  #parts: Buffer[] = [];
  #held = 0;

  /** The frames that are whole with this piece. Throws when it is none of ours. */
  take(piece: Buffer): Frame[] {
    this.#parts.push(piece);
    this.#held += piece.byteLength;
    const found: Frame[] = [];
    while (this.#held >= HEAD) {
      // A long answer comes in many pieces: they are put together once, when all are there.
      if ((this.#parts[0] as Buffer).byteLength < HEAD) this.#parts = [Buffer.concat(this.#parts)];
      const first = this.#parts[0] as Buffer;
      const size = 4 + first.readUInt32LE(0);
      if (this.#held < size) break;
      const all = this.#parts.length === 1 ? first : Buffer.concat(this.#parts);
      found.push(frameAt(all, size));
      this.#parts = all.byteLength === size ? [] : [all.subarray(size)];
      this.#held -= size;
    }
    return found;
  }
}

function frameAt(bytes: Buffer, size: number): Frame {
  const kind = KINDS[bytes.readUInt32LE(8)];
  if (kind === undefined) throw new Error("A query process sent what is no answer.");
  const valueEnd = HEAD + bytes.readUInt32LE(16);
  return {
    id: bytes.readUInt32LE(4),
    kind,
    micros: bytes.readUInt32LE(12),
    value: bytes.toString("utf8", HEAD, valueEnd),
    body: bytes.subarray(valueEnd, size),
  };
}
