import { NULL } from "./change-columns.ts";
import * as at from "./change-layout.ts";
import { PackBytes } from "./change-pack-bytes.ts";
import type { Names } from "./change-pack-names.ts";
import type { ChangeValues } from "./change-pack-values.ts";
import { CHUNK_CHANGE } from "./chunk.ts";
import { sha256Hex } from "../ids/hash.ts";

/** No step between two counters is as small as this. */
const NULL_STEP = Number.MIN_SAFE_INTEGER;

/**
 * Puts changes together again from their values, in the one form Automerge writes. Source: the
 * Automerge binary format specification, "Change chunks" and "Column data".
 */
export class ChangeBuilder {
  readonly #actors: Names;
  readonly #keys: Names;
  readonly #columns = new PackBytes(1024);
  readonly #header = new PackBytes(1024);
  readonly #ends = new Int32Array(at.CHANGE_COLUMNS.length);
  readonly #steps: number[] = [];
  #author = 0;
  /** The other actors of the change in ascending order; an actor's index is its place here plus one. */
  #others: number[] = [];
  #indexes: Map<number, number> | null = null;

  constructor(actors: Names, keys: Names) {
    this.#actors = actors;
    this.#keys = keys;
  }

  /** Writes the change at the end of `out` and returns its hash. */
  build(v: ChangeValues, out: PackBytes): string {
    this.#findOthers(v);
    const columns = this.#buildColumns(v);
    this.#buildHeader(v, columns);
    const header = this.#header;
    const data = this.#columns;
    const start = openChange(out, header.length + data.length);
    out.copy(header.bytes, 0, header.length);
    out.copy(data.bytes, 0, data.length);
    return sealChange(out, start);
  }

  #findOthers(v: ChangeValues): void {
    const author = v.actor;
    let found: Set<number> | null = null;
    const see = (ids: readonly number[], count: number): void => {
      for (let i = 0; i < count; i++) {
        const id = ids[i] as number;
        if (id !== author && id !== NULL) (found ??= new Set()).add(id);
      }
    };
    let preds = 0;
    for (let i = 0; i < v.ops; i++) preds += v.predCount[i] as number;
    see(v.objActor, v.ops);
    see(v.keyActor, v.ops);
    see(v.predActor, preds);
    this.#author = author;
    this.#others = [];
    this.#indexes = null;
    if (found === null) return;
    const texts = this.#actors.texts;
    this.#others = [...(found as Set<number>)].sort((a, b) =>
      (texts[a] as string) < (texts[b] as string) ? -1 : 1,
    );
    this.#indexes = new Map(this.#others.map((id, i) => [id, i + 1]));
  }

  #index(id: number): number {
    if (id === NULL) return NULL;
    return id === this.#author ? 0 : ((this.#indexes as Map<number, number>).get(id) as number);
  }

  #buildHeader(v: ChangeValues, columns: number): void {
    const out = this.#header;
    const texts = this.#actors.texts;
    out.length = 0;
    out.uint(v.deps.length);
    for (const dep of v.deps) out.hex(dep);
    putText(out, texts[v.actor] as string);
    out.uint(v.seq);
    out.uint(v.startOp);
    out.int(v.time);
    putText(out, v.message);
    out.uint(this.#others.length);
    for (const id of this.#others) putText(out, texts[id] as string);
    out.uint(columns);
    let before = 0;
    for (let slot = 0; slot < at.CHANGE_COLUMNS.length; slot++) {
      const end = this.#ends[slot] as number;
      if (end > before) {
        out.uint(at.CHANGE_COLUMNS[slot] as number);
        out.uint(end - before);
        before = end;
      }
    }
  }

  /** Returns how many columns have bytes. */
  #buildColumns(v: ChangeValues): number {
    const out = this.#columns;
    const ops = v.ops;
    out.length = 0;
    let columns = 0;
    let before = 0;
    const close = (slot: number): void => {
      this.#ends[slot] = out.length;
      if (out.length > before) columns++;
      before = out.length;
    };
    let preds = 0;
    for (let i = 0; i < ops; i++) preds += v.predCount[i] as number;
    this.#actorColumn(v.objActor, ops);
    close(at.OBJ_ACTOR);
    putUints(out, v.objCtr, ops);
    close(at.OBJ_CTR);
    this.#actorColumn(v.keyActor, ops);
    close(at.KEY_ACTOR);
    this.#deltaColumn(v.keyCtr, ops);
    close(at.KEY_CTR);
    this.#textColumn(v.key, ops);
    close(at.KEY_STR);
    putBooleans(out, v.insert, ops);
    close(at.INSERT);
    putUints(out, v.action, ops);
    close(at.ACTION);
    putUints(out, v.meta, ops);
    close(at.VAL_META);
    out.copy(v.raw, v.rawStart, v.rawStart + v.rawLength);
    close(at.VAL_RAW);
    putUints(out, v.predCount, ops);
    close(at.PRED_NUM);
    this.#actorColumn(v.predActor, preds);
    close(at.PRED_ACTOR);
    this.#deltaColumn(v.predCtr, preds);
    close(at.PRED_CTR);
    if (anySet(v.expand, ops)) putBooleans(out, v.expand, ops);
    close(at.EXPAND);
    this.#textColumn(v.mark, ops);
    close(at.MARK_NAME);
    return columns;
  }

  #actorColumn(ids: readonly number[], count: number): void {
    const indexes = this.#steps;
    for (let i = 0; i < count; i++) indexes[i] = this.#index(ids[i] as number);
    putUints(this.#columns, indexes, count);
  }

  #deltaColumn(values: readonly number[], count: number): void {
    const steps = this.#steps;
    let before = 0;
    for (let i = 0; i < count; i++) {
      const value = values[i] as number;
      if (value === NULL) steps[i] = NULL_STEP;
      else {
        steps[i] = value - before;
        before = value;
      }
    }
    putRuns(this.#columns, steps, count, NULL_STEP, putInt);
  }

  #textColumn(ids: readonly number[], count: number): void {
    const texts = this.#keys.texts;
    putRuns(this.#columns, ids, count, NULL, (out, id) => putText(out, texts[id] as string));
  }
}

/** Begins a chunk of a change whose contents, `length` bytes, follow; gives where it starts. */
export function openChange(out: PackBytes, length: number): number {
  out.reserve(length + 20);
  const start = out.length;
  out.byte(0x85);
  out.byte(0x6f);
  out.byte(0x4a);
  out.byte(0x83);
  out.length += 4;
  out.byte(CHUNK_CHANGE);
  out.uint(length);
  return start;
}

/** Puts the checksum into a chunk that ends where `out` does; gives the hash of the change. */
export function sealChange(out: PackBytes, start: number): string {
  const hash = sha256Hex(out.bytes.subarray(start + 8, out.length));
  const checksum = Number.parseInt(hash.slice(0, 8), 16);
  out.bytes[start + 4] = checksum >>> 24;
  out.bytes[start + 5] = checksum >>> 16;
  out.bytes[start + 6] = checksum >>> 8;
  out.bytes[start + 7] = checksum;
  return hash;
}

function putText(out: PackBytes, text: string): void {
  out.uint(text.length);
  out.latin1(text);
}

function putInt(out: PackBytes, value: number): void {
  out.int(value);
}
function putUint(out: PackBytes, value: number): void {
  out.uint(value);
}
function putUints(out: PackBytes, values: readonly number[], count: number): void {
  putRuns(out, values, count, NULL, putUint);
}

/** Runs of equal items, runs of nulls and runs of items that all differ; a column of nulls has no bytes. */
function putRuns(
  out: PackBytes,
  values: readonly number[],
  count: number,
  none: number,
  put: (out: PackBytes, value: number) => void,
): void {
  for (let i = 0; i < count;) {
    const value = values[i] as number;
    const end = runEnd(values, i, count);
    if (value === none) {
      if (end - i === count) return;
      out.byte(0);
      out.uint(end - i);
    } else if (end - i > 1) {
      out.int(end - i);
      put(out, value);
    } else {
      const first = i;
      let next = end;
      while (next < count && values[next] !== none && runEnd(values, next, count) === next + 1) next++;
      out.int(first - next);
      for (; i < next; i++) put(out, values[i] as number);
      continue;
    }
    i = end;
  }
}

function runEnd(values: readonly number[], from: number, count: number): number {
  const value = values[from] as number;
  let end = from + 1;
  while (end < count && values[end] === value) end++;
  return end;
}

function anySet(values: readonly number[], count: number): boolean {
  for (let i = 0; i < count; i++) if (values[i] === 1) return true;
  return false;
}

/** Lengths of runs, of which the first is of false. */
function putBooleans(out: PackBytes, values: readonly number[], count: number): void {
  let value = 0;
  for (let i = 0; i < count;) {
    let end = i;
    while (end < count && values[end] === value) end++;
    out.uint(end - i);
    value = 1 - value;
    i = end;
  }
}
