import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";

/**
 * A fact that is not a change of a document. Its bytes are canonical DAG-CBOR: a map with a `type` in text, whose
 * other fields each kind of event has for itself. It is addressed like a change: CIDv1, raw, blake3. Servers that do not
 * know a type keep it and pass it on.
 *
 * Fields are text, whole numbers, bytes and booleans; their names are lower case, and what is undefined is left out.
 */
export interface Event {
  readonly type: string;
  readonly [field: string]: EventValue | undefined;
}

export type EventValue = string | number | boolean | Uint8Array;

/** Throws RangeError for what no event can have. */
export function encodeEvent(event: Event): Uint8Array {
  const fields = Object.entries(event)
    .filter((field): field is [string, EventValue] => field[1] !== undefined)
    .sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1));
  const w = new CborWriter();
  w.map(fields.length);
  for (const [name, value] of fields) {
    if (!NAME.test(name)) throw new RangeError(`an event has no field ${name}`);
    w.text(name);
    if (typeof value === "string") w.text(value);
    else if (typeof value === "boolean") w.bool(value);
    else if (typeof value === "number") w.uint(value);
    else w.bytes(value);
  }
  return w.take();
}

/** Throws DB_DAMAGED when the bytes are not those of an event: each has exactly one encoding. */
export function decodeEvent(bytes: Uint8Array): Event {
  try {
    const r = new CborReader(bytes);
    const event: Record<string, EventValue> = Object.create(null) as Record<string, EventValue>;
    for (let left = r.map(); left > 0; left -= 1) event[r.text()] = readValue(r);
    r.end();
    const { type } = event;
    if (typeof type !== "string" || Buffer.compare(encodeEvent({ ...event, type }), bytes) !== 0)
      throw new RangeError("not in the form that is kept");
    return { ...event, type };
  } catch (cause) {
    throw new SkaldError("DB_DAMAGED", "An event's bytes are not those of an event.", { cause });
  }
}

function readValue(r: CborReader): EventValue {
  switch (r.major()) {
    case 0:
      return r.uint();
    case 2:
      return r.bytes();
    case 3:
      return r.text();
    default:
      return r.bool();
  }
}

const NAME = /^[a-z][a-z_]*$/;
