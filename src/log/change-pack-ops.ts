import { NULL } from "./change-columns.ts";
import { DELETE, INCREMENT, MAKE_LIST, MAKE_MAP, MAKE_TABLE, MAKE_TEXT } from "./change-layout.ts";
import { codeName } from "./change-pack-names.ts";
import type { Names } from "./change-pack-names.ts";
import { NOTHING, remaining, standing } from "./change-pack-objects.ts";
import type { Objects, Preds, Target } from "./change-pack-objects.ts";
import { ACTOR, ELEMENT, KEY, LENGTH, OBJECT, OP, PRED, SHAPE, TEXT, VALUE } from "./change-pack-streams.ts";
import type { Coder } from "./change-pack-streams.ts";
import type { ChangeValues } from "./change-pack-values.ts";
import { malformed } from "./chunk.ts";

// An operation's shape: everything about it that few bits can say, so that operations alike share one
// number. From the lowest bit: action 3, insert 1, value type 4, expand 1, mark 1, object 2, key 3,
// value length as before 1, replaces what stands there 1.
const INSERT_BIT = 1 << 3;
const TYPE_SHIFT = 4;
const EXPAND_BIT = 1 << 8;
const MARK_BIT = 1 << 9;
const OBJECT_SHIFT = 10;
const KEY_SHIFT = 12;
const LENGTH_BIT = 1 << 15;
const PRED_BIT = 1 << 16;
const SHAPE_LIMIT = 1 << 17;

// Which object; 0 is that of the operation before.
const ROOT = 1;
const MADE = 2;
const OTHER_OBJECT = 3;

// Which key or element.
const NEXT_KEY = 0;
const OTHER_KEY = 1;
const HEAD_ELEMENT = 2;
const AT_CURSOR = 3;
const AFTER_CURSOR = 4;
const BY_AUTHOR = 5;
const BY_OTHER = 6;

/** Codes operations against what the ones before them make likely. */
export class OpCoder {
  readonly #coder: Coder;
  readonly #actors: Names;
  readonly #keys: Names;
  readonly #shapes: number[] = [];
  readonly #places = new Map<number, number>();
  /** By type of value. */
  readonly #lengths: number[] = Array.from({ length: 16 }, () => 0);
  /** By key: the one that came after it. */
  readonly #following = new Map<number, number>();
  #lastKey = NULL;

  constructor(coder: Coder, actors: Names, keys: Names) {
    this.#coder = coder;
    this.#actors = actors;
    this.#keys = keys;
  }

  code(v: ChangeValues, objects: Objects): void {
    const coder = this.#coder;
    let raw = v.rawStart;
    let preds = 0;
    for (let i = 0; i < v.ops; i++) {
      const op = v.startOp + i;
      const shape = this.#shape(coder.writing ? this.#describe(v, i, preds, objects) : 0);
      if (!coder.writing) {
        v.action[i] = shape & 7;
        v.insert[i] = (shape >> 3) & 1;
        v.expand[i] = (shape >> 8) & 1;
      }
      const target = this.#object(v, i, op, (shape >> OBJECT_SHIFT) & 3, objects);
      const element = this.#key(v, i, op, (shape >> KEY_SHIFT) & 7, target);
      const mark = (shape & MARK_BIT) === 0 ? NULL : this.#name(KEY, this.#keys, v.mark[i] as number);
      v.mark[i] = mark;
      raw = this.#value(v, i, raw, (shape >> TYPE_SHIFT) & 15, (shape & LENGTH_BIT) !== 0);
      const inserts = v.insert[i] === 1;
      const stands = inserts ? NOTHING : standing(target, v, i, element);
      preds = this.#preds(v, i, op, preds, stands, (shape & PRED_BIT) !== 0);
      this.#happen(v, i, op, objects, target, element, stands, preds);
    }
    v.rawLength = raw - v.rawStart;
  }

  #shape(described: number): number {
    const known = this.#coder.writing ? (this.#places.get(described) ?? this.#shapes.length) : 0;
    const place = this.#coder.uint(OP, known);
    if (place < this.#shapes.length) return this.#shapes[place] as number;
    const shape = this.#coder.uint(SHAPE, described);
    if (place > this.#shapes.length || shape >= SHAPE_LIMIT) malformed("pack", "An operation has no shape");
    this.#places.set(shape, place);
    this.#shapes.push(shape);
    return shape;
  }

  /** For the writer: the shape of operation `i`. */
  #describe(v: ChangeValues, i: number, preds: number, objects: Objects): number {
    const meta = v.meta[i] as number;
    const type = meta % 16;
    const inserts = v.insert[i] === 1;
    let shape = (v.action[i] as number) | (type << TYPE_SHIFT);
    if (inserts) shape |= INSERT_BIT;
    if (v.expand[i] === 1) shape |= EXPAND_BIT;
    if (v.mark[i] !== NULL) shape |= MARK_BIT;

    const objActor = v.objActor[i] as number;
    const objCtr = v.objCtr[i] as number;
    let target: Target | null = objects.last;
    if (target.ctr !== objCtr || target.actor !== objActor) {
      if (objActor === NULL) {
        shape |= ROOT << OBJECT_SHIFT;
        target = objects.root;
      } else if (objects.made.ctr === objCtr && objects.made.actor === objActor) {
        shape |= MADE << OBJECT_SHIFT;
        target = objects.made;
      } else {
        shape |= OTHER_OBJECT << OBJECT_SHIFT;
        target = objects.all[objects.find(objActor, objCtr)] ?? null;
      }
    }

    const key = v.key[i] as number;
    const keyActor = v.keyActor[i] as number;
    let stands: Preds = NOTHING;
    if (key !== NULL) {
      shape |= (this.#following.get(this.#lastKey) === key ? NEXT_KEY : OTHER_KEY) << KEY_SHIFT;
      if (!inserts) stands = target?.keys.get(key) ?? NOTHING;
    } else if (keyActor === NULL) {
      shape |= HEAD_ELEMENT << KEY_SHIFT;
    } else {
      const ctr = v.keyCtr[i] as number;
      const elements = target?.elements;
      const cursor = elements?.cursor ?? NULL;
      let how = keyActor === v.actor ? BY_AUTHOR : BY_OTHER;
      if (elements !== undefined && cursor !== NULL) {
        if (elements.is(cursor, keyActor, ctr)) how = AT_CURSOR;
        else if (elements.isAfter(cursor, keyActor, ctr)) how = AFTER_CURSOR;
      }
      shape |= how << KEY_SHIFT;
      if (!inserts) {
        const element = elements?.peek(keyActor, ctr);
        const set = element === undefined ? undefined : elements?.standing.get(element);
        stands = set ?? [keyActor, ctr];
      }
    }
    if (this.#lengths[type] === (meta - type) / 16) shape |= LENGTH_BIT;
    const count = v.predCount[i] as number;
    let same = stands.length === 2 * count;
    for (let j = 0; j < count && same; j++) {
      same = v.predActor[preds + j] === stands[2 * j] && v.predCtr[preds + j] === stands[2 * j + 1];
    }
    return same ? shape | PRED_BIT : shape;
  }

  #object(v: ChangeValues, i: number, op: number, how: number, objects: Objects): Target {
    let target = objects.last;
    if (how === ROOT) target = objects.root;
    else if (how === MADE) target = objects.made;
    else if (how === OTHER_OBJECT) {
      const coder = this.#coder;
      const all = objects.all;
      const known = coder.writing ? objects.find(v.objActor[i] as number, v.objCtr[i] as number) : 0;
      const back = coder.uint(OBJECT, known < 0 ? 0 : all.length - known);
      if (back > 0) {
        const found = all[all.length - back];
        if (found === undefined) malformed("pack", "An operation is on no object");
        target = found;
      } else {
        const actor = this.#actor(v.objActor[i] as number, v.actor);
        const ctr = op - coder.int(OBJECT, op - (v.objCtr[i] as number));
        target = objects.add(actor, ctr, false);
      }
    }
    objects.last = target;
    v.objActor[i] = target.actor;
    v.objCtr[i] = target.ctr;
    return target;
  }

  /** Returns the element of `target`, or NULL for a key. */
  #key(v: ChangeValues, i: number, op: number, how: number, target: Target): number {
    const coder = this.#coder;
    if (how === NEXT_KEY || how === OTHER_KEY) {
      const key =
        how === NEXT_KEY
          ? (this.#following.get(this.#lastKey) ?? NULL)
          : this.#name(KEY, this.#keys, v.key[i] as number);
      if (key === NULL) malformed("pack", "An operation has no key");
      this.#following.set(this.#lastKey, key);
      this.#lastKey = key;
      v.key[i] = key;
      v.keyActor[i] = NULL;
      v.keyCtr[i] = NULL;
      return NULL;
    }
    const elements = target.elements;
    let element = 0;
    if (how === AT_CURSOR) element = elements.cursor;
    else if (how === AFTER_CURSOR) element = elements.cursor < 0 ? NULL : elements.after(elements.cursor);
    else if (how !== HEAD_ELEMENT) {
      const near = elements.cursor <= 0 ? op : (elements.ctr[elements.cursor] as number);
      const actor = how === BY_AUTHOR ? v.actor : this.#actor(v.keyActor[i] as number, v.actor);
      element = elements.find(actor, near - coder.int(ELEMENT, near - (v.keyCtr[i] as number)));
    }
    if (element < 0 || how > BY_OTHER) malformed("pack", "An operation is on no element");
    v.key[i] = NULL;
    v.keyActor[i] = elements.actor[element] as number;
    v.keyCtr[i] = elements.ctr[element] as number;
    return element;
  }

  /** Returns where the next operation's value begins. */
  #value(v: ChangeValues, i: number, raw: number, type: number, usual: boolean): number {
    const coder = this.#coder;
    const before = this.#lengths[type] as number;
    const length = usual ? before : coder.uint(LENGTH, ((v.meta[i] as number) - type) / 16);
    if (length === 0) {
      this.#lengths[type] = 0;
      v.meta[i] = type;
      return raw;
    }
    const stream = type === 6 ? TEXT : VALUE;
    if (!coder.writing) {
      if (length > coder.left(stream)) malformed("pack", "A value reaches past the end of its stream");
      if (raw + length > v.raw.length) {
        const larger = Buffer.allocUnsafe(Math.max(2 * v.raw.length, raw + length));
        larger.set(v.raw.subarray(0, raw));
        v.raw = larger;
      }
    }
    coder.bytes(stream, v.raw, raw, length);
    this.#lengths[type] = length;
    v.meta[i] = length * 16 + type;
    return raw + length;
  }

  /** Returns where the next operation's preds begin. */
  #preds(v: ChangeValues, i: number, op: number, first: number, stands: Preds, usual: boolean): number {
    const coder = this.#coder;
    const { predActor, predCtr } = v;
    if (usual) {
      const count = stands.length / 2;
      if (!coder.writing) {
        v.predCount[i] = count;
        for (let j = 0; j < count; j++) {
          predActor[first + j] = stands[2 * j] as number;
          predCtr[first + j] = stands[2 * j + 1] as number;
        }
      }
      return first + count;
    }
    const count = coder.uint(PRED, v.predCount[i] as number);
    if (count > coder.left(PRED)) malformed("pack", "An operation has more preds than can follow");
    v.predCount[i] = count;
    for (let j = first; j < first + count; j++) {
      predActor[j] = this.#actor(predActor[j] as number, v.actor);
      predCtr[j] = op - coder.int(PRED, op - (predCtr[j] as number));
    }
    return first + count;
  }

  /** Notes what the operation did. `end` is where its preds end. */
  #happen(
    v: ChangeValues,
    i: number,
    op: number,
    objects: Objects,
    target: Target,
    element: number,
    stands: Preds,
    end: number,
  ): void {
    const action = v.action[i] as number;
    if (action === MAKE_MAP || action === MAKE_LIST || action === MAKE_TEXT || action === MAKE_TABLE) {
      objects.made = objects.add(v.actor, op, true);
    }
    if (element === NULL) {
      if (action !== INCREMENT) {
        target.keys.set(
          v.key[i] as number,
          remaining(stands, v, end - (v.predCount[i] as number), end, op, action),
        );
      }
    } else if (v.insert[i] === 1) target.elements.insert(element, v.actor, op);
    else if (action === DELETE) target.elements.remove(element);
    else {
      target.elements.cursor = element;
      if (action !== INCREMENT) {
        target.elements.standing.set(
          element,
          remaining(stands, v, end - (v.predCount[i] as number), end, op, action),
        );
      }
    }
  }

  /** The author as 0; others by name. */
  #actor(id: number, author: number): number {
    const coder = this.#coder;
    const code = coder.uint(ACTOR, !coder.writing ? 0 : id === author ? 0 : this.#actors.placeOf(id) + 1);
    return code === 0 ? author : codeName(coder, this.#actors, code - 1, id);
  }

  #name(stream: number, names: Names, id: number): number {
    const coder = this.#coder;
    return codeName(coder, names, coder.uint(stream, coder.writing ? names.placeOf(id) : 0), id);
  }
}
