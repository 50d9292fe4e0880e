import { readChange, type ChangeHeader } from "../log/change.ts";
import {
  ACTION,
  CHANGE_COLUMNS,
  INSERT,
  KEY_ACTOR,
  KEY_CTR,
  KEY_STR,
  MAKE_LIST,
  MAKE_MAP,
  MAKE_TEXT,
  OBJ_ACTOR,
  OBJ_CTR,
  PRED_NUM,
  SET,
  VAL_META,
  VAL_RAW,
} from "../log/change-layout.ts";
import { openChange, sealChange } from "../log/change-pack-build.ts";
import { PackBytes } from "../log/change-pack-bytes.ts";
import { BooleanRuns, NONE, NumberRuns, TextRuns } from "../log/change-runs.ts";
import { AUTHORED_LIMITS } from "../log/guard.ts";
import {
  type Json,
  type JsonObject,
  parseJson,
  refuseProblems,
  sortedKeys,
  stringifyJson,
  type ValueProblem,
} from "./json-value.ts";
import { asDocument, hasHugeFloat, isStorable, isStoredAsInt } from "./storable.ts";

/**
 * The first change of a document, made without Automerge: an empty document has nothing to compare with and no
 * operation to place, so the change follows from the value alone. Invariant: byte for byte what `writeEdit` of a
 * `put` has Automerge commit on the genesis, and its JSON what that then reads; test/documents/first-change.test.ts
 * holds both to each other. Source: the Automerge binary format specification, "Change chunks".
 */
export interface FirstChangeJob {
  /** JSON text. */
  readonly value: string;
  /** Hash of the genesis, in hex. */
  readonly genesis: string;
  /** Actor id in lower hex. */
  readonly actor: string;
  /** Seconds since 1970. */
  readonly time: number;
  readonly message?: string;
}

export interface FirstChange {
  /** What the guard reads in it; undefined for an empty document, which has no change of its own. */
  readonly change: ChangeHeader | undefined;
  /** The document, as ReadResult.json. */
  readonly json: string;
}

/** Throws BAD_JSON, VALUE_INVALID, and what the guard throws for a value that no change can hold. */
export function firstChange(job: FirstChangeJob): FirstChange {
  const { value } = job;
  const root = asDocument(parseJson(value));
  // Without either there is no integer that is too large, and no float that looks like one.
  const mayBeHuge = /\d{16}|\d[eE]/.test(value);
  if (mayBeHuge) refuseUnstorable(root);
  const json = stringifyJson(root);
  const own = encoder;
  own.begin();
  for (const key of Object.keys(root)) own.write(NONE, key, NONE, root[key] as Json, mayBeHuge);
  const change = own.ops === 0 ? undefined : own.take(job);
  if (!own.isSmall()) encoder = new FirstChangeEncoder();
  return { change, json };
}

function refuseUnstorable(root: JsonObject): void {
  const problems: ValueProblem[] = [];
  for (const key of Object.keys(root)) isStorable(root[key] as Json, [key], problems);
  refuseProblems(problems);
}

/** Bytes up to which an encoder's memory is kept for the next change. */
const KEPT = 1_000_000;

class FirstChangeEncoder {
  ops = 0;
  readonly #objActor = new NumberRuns();
  readonly #objCtr = new NumberRuns();
  readonly #keyActor = new NumberRuns();
  readonly #keyCtr = new NumberRuns(true);
  readonly #key = new TextRuns();
  readonly #insert = new BooleanRuns();
  readonly #action = new NumberRuns();
  readonly #meta = new NumberRuns();
  readonly #predCount = new NumberRuns();
  readonly #raw = new PackBytes(256);
  readonly #columns: readonly (readonly [slot: number, out: PackBytes])[] = [
    [OBJ_ACTOR, this.#objActor.out],
    [OBJ_CTR, this.#objCtr.out],
    [KEY_ACTOR, this.#keyActor.out],
    [KEY_CTR, this.#keyCtr.out],
    [KEY_STR, this.#key.out],
    [INSERT, this.#insert.out],
    [ACTION, this.#action.out],
    [VAL_META, this.#meta.out],
    [VAL_RAW, this.#raw],
    [PRED_NUM, this.#predCount.out],
  ];
  readonly #header = new PackBytes(256);
  readonly #out = new PackBytes(1024);
  /** The element that was named last: they are written as differences. */
  #element = 0;
  /** Whether the guard may have something to say. */
  #odd = false;

  begin(): void {
    this.ops = 0;
    this.#element = 0;
    this.#odd = false;
    this.#raw.length = 0;
    this.#objActor.reset();
    this.#objCtr.reset();
    this.#keyActor.reset();
    this.#keyCtr.reset();
    this.#key.reset();
    this.#insert.reset();
    this.#action.reset();
    this.#meta.reset();
    this.#predCount.reset();
  }

  isSmall(): boolean {
    return this.#out.bytes.length + this.#raw.bytes.length + this.#key.out.bytes.length <= KEPT;
  }

  /**
   * One value as the author of edits writes it: a text with its characters, a map or list with all that is in it level
   * by level and its keys in order; one that holds a huge float step by step. `after` is the element before it in a
   * list, 0 at the head, NONE under a key. Returns the number of its operation.
   */
  write(object: number, key: string | undefined, after: number, value: Json, mayBeHuge: boolean): number {
    const op = this.#begin(object, key, after, value, false);
    if (typeof value === "string") this.#text(op, value);
    else if (typeof value !== "object" || value === null) return op;
    else if (!mayBeHuge || !hasHugeFloat(value)) this.#levels(op, value);
    else if (Array.isArray(value)) {
      let last = 0;
      for (const item of value) last = this.write(op, undefined, last, item, true);
    } else {
      for (const name of Object.keys(value)) this.write(op, name, NONE, value[name] as Json, true);
    }
    return op;
  }

  /** Ends the columns and puts the change together. */
  take({ genesis, actor, time, message = "" }: FirstChangeJob): ChangeHeader {
    const { ops } = this;
    this.#predCount.add(0, ops);
    this.#objActor.end();
    this.#objCtr.end();
    this.#keyActor.end();
    this.#keyCtr.end();
    this.#key.end();
    this.#insert.end();
    this.#action.end();
    this.#meta.end();
    this.#predCount.end();
    const length = this.#putHeader(genesis, actor, time, message);
    const out = this.#out;
    out.length = 0;
    const start = openChange(out, length);
    out.copy(this.#header.bytes, 0, this.#header.length);
    for (const [, column] of this.#columns) out.copy(column.bytes, 0, column.length);
    const hash = sealChange(out, start);
    const bytes = new Uint8Array(out.view());
    if (this.#odd || bytes.length > SURE_BYTES || message.length > SURE_MESSAGE)
      return readChange(bytes, AUTHORED_LIMITS);
    return {
      hash,
      actor,
      seq: 1,
      startOp: 1,
      opCount: ops,
      maxOp: ops,
      time,
      deps: [genesis],
      otherActors: [],
      bytes,
    };
  }

  /** Gives the length of the contents. */
  #putHeader(genesis: string, actor: string, time: number, message: string): number {
    const out = this.#header;
    out.length = 0;
    out.uint(1);
    out.hex(genesis);
    out.uint(actor.length / 2);
    out.hex(actor);
    out.uint(1);
    out.uint(1);
    out.int(time);
    out.utf8(message);
    out.uint(0);
    let columns = 0;
    for (const [, { length }] of this.#columns) if (length > 0) columns += 1;
    out.uint(columns);
    let bytes = 0;
    for (const [slot, { length }] of this.#columns) {
      if (length === 0) continue;
      out.uint(CHANGE_COLUMNS[slot] as number);
      out.uint(length);
      bytes += length;
    }
    return out.length + bytes;
  }

  #levels(op: number, value: Json[] | JsonObject): void {
    const objects: (string | Json[] | JsonObject)[] = [value];
    const ops = [op];
    for (let at = 0; at < objects.length; at += 1) {
      const object = objects[at] as string | Json[] | JsonObject;
      const made = ops[at] as number;
      if (typeof object === "string") {
        this.#text(made, object);
      } else if (Array.isArray(object)) {
        let last = 0;
        for (const item of object) {
          last = this.#begin(made, undefined, last, item, true);
          if (typeof item === "string" || (typeof item === "object" && item !== null)) {
            objects.push(item);
            ops.push(last);
          }
        }
      } else {
        for (const name of sortedKeys(object)) {
          const item = object[name] as Json;
          const child = this.#begin(made, name, NONE, item, true);
          if (typeof item === "string" || (typeof item === "object" && item !== null)) {
            objects.push(item);
            ops.push(child);
          }
        }
      }
    }
  }

  /** The operation that sets a scalar, or makes the object that everything else is in. */
  #begin(object: number, key: string | undefined, after: number, value: Json, inBatch: boolean): number {
    switch (typeof value) {
      case "string":
        return this.#op(object, key, after, MAKE_TEXT, 0);
      case "boolean":
        return this.#op(object, key, after, SET, value ? TRUE : FALSE);
      case "number":
        return this.#op(object, key, after, SET, this.#number(value, inBatch));
      case "bigint":
        throw new Error("an integer that should have been refused");
      default:
    }
    if (value === null) return this.#op(object, key, after, SET, 0);
    return this.#op(object, key, after, Array.isArray(value) ? MAKE_LIST : MAKE_MAP, 0);
  }

  #op(object: number, key: string | undefined, after: number, action: number, meta: number): number {
    if (key !== undefined && (key.length > SURE_KEY || key === "__proto__")) this.#odd = true;
    this.#objActor.add(object === NONE ? NONE : 0);
    this.#objCtr.add(object);
    if (after === NONE) {
      this.#keyActor.add(NONE);
      this.#keyCtr.add(NONE);
    } else {
      this.#keyActor.add(after === 0 ? NONE : 0);
      this.#keyCtr.add(after - this.#element);
      this.#element = after;
    }
    this.#key.add(key);
    this.#insert.add(after !== NONE);
    this.#action.add(action);
    this.#meta.add(meta);
    return (this.ops += 1);
  }

  /** Of what Automerge is given in one batch, it takes only whole numbers above zero for integers. */
  #number(value: number, inBatch: boolean): number {
    const raw = this.#raw;
    const start = raw.length;
    if (isStoredAsInt(value) && !(inBatch && value <= 0)) {
      raw.int(value);
      return ((raw.length - start) << 4) | INT;
    }
    raw.reserve(8);
    raw.bytes.writeDoubleLE(value, start);
    raw.length += 8;
    return (8 << 4) | FLOAT;
  }

  /** One insertion for each character; one outside the basic plane is two units and one character. */
  #text(object: number, text: string): void {
    if (text === "") return;
    const raw = this.#raw;
    const start = raw.length;
    raw.text(text);
    let count = text.length;
    if (raw.length - start === count) this.#meta.add((1 << 4) | TEXT, count);
    else {
      for (let i = 0; i < text.length; i += 1) {
        const unit = text.charCodeAt(i);
        let size = unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
        if (unit >= 0xd800 && unit < 0xdc00) {
          size = 4;
          i += 1;
          count -= 1;
        }
        this.#meta.add((size << 4) | TEXT);
      }
    }
    this.#objActor.add(0, count);
    this.#objCtr.add(object, count);
    this.#keyActor.add(NONE);
    this.#keyCtr.add(-this.#element);
    if (count > 1) {
      this.#keyActor.add(0, count - 1);
      this.#keyCtr.add(this.ops + 1);
      if (count > 2) this.#keyCtr.add(1, count - 2);
      this.#element = this.ops + count - 1;
    } else this.#element = 0;
    this.#key.add(undefined, count);
    this.#insert.add(true, count);
    this.#action.add(SET, count);
    this.ops += count;
  }
}

let encoder = new FirstChangeEncoder();

// Types of values, the low bits of their metadata.
const FALSE = 1;
const TRUE = 2;
const INT = 4;
const FLOAT = 5;
const TEXT = 6;

/** What has no more of these than this keeps every limit of the guard: one that has is shown to it. */
const SURE_BYTES = 100_000;
const SURE_KEY = 4096;
const SURE_MESSAGE = 4096;
