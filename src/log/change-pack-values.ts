import { BooleanColumn, DeltaColumn, NULL, StringColumn, UintColumn, countItems } from "./change-columns.ts";
import * as at from "./change-layout.ts";
import type { Names } from "./change-pack-names.ts";
import { CHUNK_CHANGE, ByteReader, readFrame } from "./chunk.ts";
import { isSkaldError } from "../errors.ts";

/** More operations than this in one change are not taken apart; such columns are runs already. */
export const MAX_OPS = 65_536;
const MAX_PREDS = 4 * MAX_OPS;
/** Keeps all differences between numbers exact. */
const MAX_NUMBER = 2 ** 50;

/**
 * A change as values, one array entry per operation; NULL (-1) stands for what is not there. Actors,
 * keys and names of marks are ids of a `Names` table. Strings hold one byte a character.
 */
export interface ChangeValues {
  /** Lower hex, ascending. */
  deps: string[];
  actor: number;
  seq: number;
  startOp: number;
  time: number;
  message: string;
  ops: number;
  objActor: number[];
  objCtr: number[];
  keyActor: number[];
  keyCtr: number[];
  key: number[];
  insert: number[];
  action: number[];
  /** Length of the value in bytes times 16, plus its type. */
  meta: number[];
  predCount: number[];
  predActor: number[];
  predCtr: number[];
  expand: number[];
  mark: number[];
  /** The operations' values, one after the other, from `rawStart` on. */
  raw: Buffer;
  rawStart: number;
  rawLength: number;
}

export function emptyValues(): ChangeValues {
  return {
    deps: [],
    actor: 0,
    seq: 0,
    startOp: 0,
    time: 0,
    message: "",
    ops: 0,
    objActor: [],
    objCtr: [],
    keyActor: [],
    keyCtr: [],
    key: [],
    insert: [],
    action: [],
    meta: [],
    predCount: [],
    predActor: [],
    predCtr: [],
    expand: [],
    mark: [],
    raw: Buffer.alloc(64),
    rawStart: 0,
    rawLength: 0,
  };
}

/**
 * Takes a change apart into `into`. False when the bytes are no change, or one that these values
 * cannot hold; what is true may still not be a change in the one form Automerge writes.
 */
export function parseValues(bytes: Uint8Array, into: ChangeValues, actors: Names, keys: Names): boolean {
  try {
    return parse(bytes, into, actors, keys);
  } catch (error) {
    if (isSkaldError(error) && error.code === "CHANGE_MALFORMED") return false;
    throw error;
  }
}

const ranges = new Int32Array(2 * at.CHANGE_COLUMNS.length);
const locals: number[] = [];

function parse(bytes: Uint8Array, v: ChangeValues, actors: Names, keys: Names): boolean {
  const chunk = readFrame(bytes, 0);
  if (chunk.type !== CHUNK_CHANGE || chunk.end !== bytes.length) return false;
  const input = new ByteReader(bytes, chunk.contents, bytes.length);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

  const depCount = input.uint();
  if (depCount > (bytes.length - input.pos) / 32) return false;
  v.deps.length = 0;
  for (let i = 0; i < depCount; i++) {
    const start = input.skip(32);
    const dep = text.toString("hex", start, start + 32);
    if (i > 0 && dep <= (v.deps[i - 1] as string)) return false;
    v.deps.push(dep);
  }
  locals.length = 0;
  const actorLength = input.uint();
  const actorAt = input.skip(actorLength);
  v.actor = actors.id(text.toString("latin1", actorAt, actorAt + actorLength));
  locals.push(v.actor);
  v.seq = input.uint();
  v.startOp = input.uint();
  v.time = input.int();
  if (v.seq > MAX_NUMBER || v.startOp > MAX_NUMBER || Math.abs(v.time) > MAX_NUMBER) return false;
  const messageLength = input.uint();
  const messageAt = input.skip(messageLength);
  v.message = messageLength === 0 ? "" : text.toString("latin1", messageAt, messageAt + messageLength);
  const others = input.uint();
  for (let i = 0; i < others; i++) {
    const length = input.uint();
    const start = input.skip(length);
    locals.push(actors.id(text.toString("latin1", start, start + length)));
  }
  return parseColumns(input) && input.pos === input.end && parseOps(bytes, text, v, keys);
}

/** Fills `ranges`. */
function parseColumns(input: ByteReader): boolean {
  ranges.fill(0);
  const count = input.uint();
  if (count > at.CHANGE_COLUMNS.length) return false;
  const first = input.pos;
  for (let i = 0; i < count; i++) {
    input.uint();
    input.uint();
  }
  const columns = new ByteReader(input.bytes, first, input.pos);
  for (let i = 0; i < count; i++) {
    const slot = at.slotOf(columns.uint());
    if (slot < 0) return false;
    ranges[2 * slot] = input.skip(columns.uint());
    ranges[2 * slot + 1] = input.pos;
  }
  return true;
}

function parseOps(bytes: Uint8Array, text: Buffer, v: ChangeValues, keys: Names): boolean {
  const ops = countItems(bytes, start(at.ACTION), end(at.ACTION), "action");
  if (ops > MAX_OPS) return false;
  v.ops = ops;
  if (!(
    uints(bytes, at.ACTION, ops, v.action) &&
    booleans(bytes, at.INSERT, ops, v.insert) &&
    uints(bytes, at.VAL_META, ops, v.meta) &&
    uints(bytes, at.PRED_NUM, ops, v.predCount) &&
    uints(bytes, at.OBJ_ACTOR, ops, v.objActor) &&
    uints(bytes, at.OBJ_CTR, ops, v.objCtr) &&
    uints(bytes, at.KEY_ACTOR, ops, v.keyActor) &&
    deltas(bytes, at.KEY_CTR, ops, v.keyCtr) &&
    strings(bytes, text, at.KEY_STR, ops, v.key, keys) &&
    booleans(bytes, at.EXPAND, ops, v.expand) &&
    strings(bytes, text, at.MARK_NAME, ops, v.mark, keys)
  )) {
    return false;
  }
  let preds = 0;
  let raw = 0;
  for (let i = 0; i < ops; i++) {
    const action = v.action[i] as number;
    const meta = v.meta[i] as number;
    const count = v.predCount[i] as number;
    if (action < 0 || action > at.MARK || meta < 0 || count < 0) return false;
    raw += Math.floor(meta / 16);
    preds += count;
    const objCtr = v.objCtr[i] as number;
    const keyCtr = v.keyCtr[i] as number;
    const objActor = toId(v.objActor[i] as number);
    const keyActor = toId(v.keyActor[i] as number);
    if ((objActor === NULL) !== (objCtr === NULL) || objCtr > MAX_NUMBER) return false;
    // A key is a string; or an element, which is a counter with an actor, or with none and 0 for the head.
    if (v.key[i] === NULL ? keyActor === NULL && keyCtr !== 0 : keyCtr !== NULL || keyActor !== NULL)
      return false;
    if (keyActor !== NULL && keyCtr === NULL) return false;
    if (objActor === UNKNOWN || keyActor === UNKNOWN) return false;
    v.objActor[i] = objActor;
    v.keyActor[i] = keyActor;
  }
  if (preds > MAX_PREDS) return false;
  if (!uints(bytes, at.PRED_ACTOR, preds, v.predActor) || !deltas(bytes, at.PRED_CTR, preds, v.predCtr))
    return false;
  for (let i = 0; i < preds; i++) {
    const actor = toId(v.predActor[i] as number);
    if (actor < 0 || v.predCtr[i] === NULL) return false;
    v.predActor[i] = actor;
  }
  v.raw = text;
  v.rawStart = start(at.VAL_RAW);
  v.rawLength = raw;
  return raw === end(at.VAL_RAW) - start(at.VAL_RAW);
}

const UNKNOWN = -2;
function toId(local: number): number {
  if (local === NULL) return NULL;
  return local < locals.length ? (locals[local] as number) : UNKNOWN;
}

function start(slot: number): number {
  return ranges[2 * slot] as number;
}
function end(slot: number): number {
  return ranges[2 * slot + 1] as number;
}

/** The four below fill `into` with `count` items of a column; false when it has more or fewer. */
function uints(bytes: Uint8Array, slot: number, count: number, into: number[]): boolean {
  if (start(slot) === end(slot)) return fill(into, count, NULL);
  const column = new UintColumn(bytes, start(slot), end(slot), "");
  for (let done = 0; done < count;) {
    column.load();
    if (column.left === 0 || column.left > count - done) return false;
    for (const stop = done + column.left; done < stop;) into[done++] = column.value;
    column.left = 0;
  }
  return column.ended();
}

function deltas(bytes: Uint8Array, slot: number, count: number, into: number[]): boolean {
  if (start(slot) === end(slot)) return fill(into, count, NULL);
  const column = new DeltaColumn(bytes, start(slot), end(slot), "");
  for (let done = 0; done < count;) {
    column.load();
    if (column.left === 0 || column.left > count - done) return false;
    let value = column.isNull ? NULL : column.value;
    const step = column.isNull ? 0 : column.step;
    for (const stop = done + column.left; done < stop; value += step) into[done++] = value;
    column.take(column.left);
  }
  return column.ended();
}

function booleans(bytes: Uint8Array, slot: number, count: number, into: number[]): boolean {
  if (start(slot) === end(slot)) return fill(into, count, 0);
  const column = new BooleanColumn(bytes, start(slot), end(slot), "");
  for (let done = 0; done < count;) {
    column.load();
    if (column.left === 0 || column.left > count - done) return false;
    for (const stop = done + column.left; done < stop;) into[done++] = column.value ? 1 : 0;
    column.left = 0;
  }
  return column.ended();
}

function strings(
  bytes: Uint8Array,
  text: Buffer,
  slot: number,
  count: number,
  into: number[],
  names: Names,
): boolean {
  if (start(slot) === end(slot)) return fill(into, count, NULL);
  const column = new StringColumn(bytes, start(slot), end(slot), "");
  for (let done = 0; done < count;) {
    column.load();
    if (column.left === 0 || column.left > count - done) return false;
    const id =
      column.start === NULL
        ? NULL
        : names.id(text.toString("latin1", column.start, column.start + column.length));
    for (const stop = done + column.left; done < stop;) into[done++] = id;
    column.left = 0;
  }
  return column.ended();
}

function fill(into: number[], count: number, value: number): boolean {
  for (let i = 0; i < count; i++) into[i] = value;
  return true;
}
