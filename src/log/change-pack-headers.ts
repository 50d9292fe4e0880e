import { NULL } from "./change-columns.ts";
import { codeName } from "./change-pack-names.ts";
import type { Names } from "./change-pack-names.ts";
import { Objects } from "./change-pack-objects.ts";
import { OpCoder } from "./change-pack-ops.ts";
import {
  ACTOR,
  DEPS,
  GROUP,
  HASH,
  HEAD,
  KEPT,
  MESSAGE,
  OP_COUNT,
  SEQ,
  START_OP,
  TIME,
} from "./change-pack-streams.ts";
import type { Coder } from "./change-pack-streams.ts";
import { MAX_OPS } from "./change-pack-values.ts";
import type { ChangeValues } from "./change-pack-values.ts";
import { malformed } from "./chunk.ts";

/** What the changes of one document lead to expect of its next. */
interface Group {
  readonly number: number;
  readonly hashes: string[];
  readonly maxOps: number[];
  /** For the writer: place of each hash. */
  readonly places: Map<string, number>;
  /** Places of the changes that no later one depends on. */
  heads: number[];
  /** The latest first. */
  readonly actors: number[];
  readonly ofActor: Map<number, { seq: number; place: number }>;
  readonly objects: Objects;
}

// A head says which of a change's fields are not as expected.
const OTHER_GROUP = 1;
const OTHER_TIME = 2;
const OTHER_DEPS = 4;
const OTHER_ACTOR = 8;
const OTHER_SEQ = 16;
const OTHER_START_OP = 32;
/** Not one operation. */
const OTHER_OPS = 64;
const OTHER_MESSAGE = 128;
const KEPT_AS_IS = 256;
const HEAD_LIMIT = 512;

// What a change depends on, where that is not the document's change before it alone.
const NO_DEPS = 0;
const ALL_HEADS = 1;
const OWN_LAST = 2;
const LISTED = 3;

/** Bounds the work on changes that nobody builds on, or that have ever new authors. */
const MAX_REMEMBERED = 64;

/** A change, or bytes that are kept as they are. */
export interface Packed {
  group: number;
  kept: Uint8Array | null;
}

/** Codes changes against what the ones before them make likely. */
export class ChangeCoder {
  readonly #coder: Coder;
  readonly #actors: Names;
  readonly #ops: OpCoder;
  readonly #groups = new Map<number, Group>();
  #group: Group | null = null;
  #highest = -1;
  #time = 0;
  #message = "";

  constructor(coder: Coder, actors: Names, keys: Names) {
    this.#coder = coder;
    this.#actors = actors;
    this.#ops = new OpCoder(coder, actors, keys);
  }

  /** Codes one item; `v` holds or receives the values of a change that is not kept as it is. */
  code(item: Packed, v: ChangeValues): void {
    const coder = this.#coder;
    const deps: number[] = [];
    const head = coder.uint(HEAD, coder.writing ? this.#describe(item, v, deps) : 0);
    if (head >= HEAD_LIMIT) malformed("pack", "A change has no head");
    const group = this.#codeGroup(item.group, (head & OTHER_GROUP) !== 0);
    item.group = group.number;
    if ((head & KEPT_AS_IS) !== 0) {
      item.kept = this.#codeKept(item.kept);
      return;
    }
    item.kept = null;
    if ((head & OTHER_TIME) !== 0) this.#time += coder.int(TIME, v.time - this.#time);
    v.time = this.#time;
    v.actor = this.#codeActor(group, v.actor, (head & OTHER_ACTOR) !== 0);
    const own = group.ofActor.get(v.actor);
    if ((head & OTHER_DEPS) === 0) {
      const last = group.hashes.length - 1;
      if (!coder.writing) {
        if (last < 0) malformed("pack", "A change depends on one that is not there");
        deps.push(last);
        v.deps = [group.hashes[last] as string];
      }
    } else this.#codeDeps(group, v, deps, own?.place ?? NULL);
    const seq = (own?.seq ?? 0) + 1;
    v.seq = (head & OTHER_SEQ) === 0 ? seq : seq + coder.int(SEQ, v.seq - seq);
    const startOp = nextOp(group, deps);
    v.startOp = (head & OTHER_START_OP) === 0 ? startOp : startOp + coder.int(START_OP, v.startOp - startOp);
    if ((head & OTHER_MESSAGE) !== 0) this.#message = this.#codeMessage(v.message);
    v.message = this.#message;
    v.ops = (head & OTHER_OPS) === 0 ? 1 : coder.uint(OP_COUNT, v.ops);
    if (v.ops > MAX_OPS) malformed("pack", "A change has more operations than are taken apart");
    this.#ops.code(v, group.objects);
  }

  /** Notes the change that was coded last, once its hash is known. */
  note(v: ChangeValues, hash: string): void {
    const group = this.#group as Group;
    const place = group.hashes.length;
    group.hashes.push(hash);
    group.maxOps.push(v.startOp + v.ops - 1);
    if (this.#coder.writing) group.places.set(hash, place);
    const only = group.heads[0];
    // Most changes build on the only head.
    if (group.heads.length === 1 && v.deps.length === 1 && group.hashes[only as number] === v.deps[0]) {
      group.heads[0] = place;
    } else {
      const deps = new Set(v.deps);
      group.heads = group.heads.filter((head) => !deps.has(group.hashes[head] as string));
      group.heads.push(place);
      if (group.heads.length > MAX_REMEMBERED) group.heads.shift();
    }
    const own = group.ofActor.get(v.actor);
    if (own === undefined) group.ofActor.set(v.actor, { seq: v.seq, place });
    else {
      own.seq = v.seq;
      own.place = place;
    }
  }

  /** For the writer: the head of an item. Fills `deps` with the places of what the change depends on. */
  #describe(item: Packed, v: ChangeValues, deps: number[]): number {
    let head = this.#group?.number === item.group ? 0 : OTHER_GROUP;
    if (item.kept !== null) return head | KEPT_AS_IS;
    if (v.time !== this.#time) head |= OTHER_TIME;
    if (v.message !== this.#message) head |= OTHER_MESSAGE;
    if (v.ops !== 1) head |= OTHER_OPS;
    const group = this.#groups.get(item.group);
    for (const dep of v.deps) deps.push(group?.places.get(dep) ?? NULL);
    const last = (group?.hashes.length ?? 0) - 1;
    if (last < 0 || deps.length !== 1 || deps[0] !== last) head |= OTHER_DEPS;
    if (group?.actors[0] !== v.actor) head |= OTHER_ACTOR;
    if (v.seq !== (group?.ofActor.get(v.actor)?.seq ?? 0) + 1) head |= OTHER_SEQ;
    if (v.startOp !== nextOp(group, deps)) head |= OTHER_START_OP;
    return head;
  }

  #codeGroup(number: number, other: boolean): Group {
    if (!other) {
      if (this.#group === null) malformed("pack", "The first change is of no group");
      return this.#group;
    }
    const next = this.#highest + 1;
    const code = this.#coder.uint(GROUP, number === next ? 0 : number + 1);
    const found = code === 0 ? next : code - 1;
    if (found > this.#highest) this.#highest = found;
    let group = this.#groups.get(found);
    if (group === undefined) {
      group = {
        number: found,
        hashes: [],
        maxOps: [],
        places: new Map(),
        heads: [],
        actors: [],
        ofActor: new Map(),
        objects: new Objects(),
      };
      this.#groups.set(found, group);
    }
    this.#group = group;
    return group;
  }

  #codeKept(bytes: Uint8Array | null): Uint8Array {
    const coder = this.#coder;
    const length = coder.uint(KEPT, bytes?.length ?? 0);
    if (length > coder.left(KEPT)) malformed("pack", "Kept bytes reach past the end of their stream");
    const kept = coder.writing && bytes !== null ? bytes : new Uint8Array(length);
    coder.bytes(KEPT, kept, 0, length);
    return kept;
  }

  #codeActor(group: Group, id: number, other: boolean): number {
    const coder = this.#coder;
    const { actors } = group;
    let actor = actors[0];
    if (other) {
      const known = coder.writing ? actors.indexOf(id) : 0;
      const place = coder.uint(ACTOR, known < 0 ? actors.length : known);
      actor =
        actors[place] ??
        codeName(coder, this.#actors, coder.uint(ACTOR, coder.writing ? this.#actors.placeOf(id) : 0), id);
      if (place < actors.length) actors.splice(place, 1);
      actors.unshift(actor);
      if (actors.length > MAX_REMEMBERED) actors.pop();
    }
    if (actor === undefined) malformed("pack", "The first change of a group has no actor");
    return actor;
  }

  #codeDeps(group: Group, v: ChangeValues, deps: number[], own: number): void {
    const coder = this.#coder;
    const { hashes, heads } = group;
    let code = 0;
    if (coder.writing) {
      const places = new Set(deps);
      if (deps.length === 0) code = NO_DEPS;
      else if (deps.length === heads.length && heads.every((head) => places.has(head))) code = ALL_HEADS;
      else if (deps.length === 1 && deps[0] === own && own !== NULL) code = OWN_LAST;
      else code = LISTED + deps.length;
    }
    code = coder.uint(DEPS, code);
    if (code >= LISTED) {
      const count = code - LISTED;
      if (count > coder.left(DEPS)) malformed("pack", "A change has more deps than can follow");
      if (!coder.writing) v.deps = [];
      const hash = Buffer.alloc(32);
      for (let i = 0; i < count; i++) {
        const known = coder.writing && deps[i] !== NULL ? hashes.length - (deps[i] as number) : 0;
        const back = coder.uint(DEPS, known);
        if (back > hashes.length) malformed("pack", "A change depends on one that is not there");
        if (back === 0 && coder.writing) hash.write(v.deps[i] as string, 0, 32, "hex");
        if (back === 0) coder.bytes(HASH, hash, 0, 32);
        if (!coder.writing) {
          deps.push(back === 0 ? NULL : hashes.length - back);
          v.deps.push(back === 0 ? hash.toString("hex", 0, 32) : (hashes[hashes.length - back] as string));
        }
      }
    } else if (!coder.writing) {
      if (code === OWN_LAST && own === NULL) malformed("pack", "A change depends on one that is not there");
      if (code === ALL_HEADS) deps.push(...heads);
      else if (code === OWN_LAST) deps.push(own);
      v.deps = deps.map((place) => hashes[place] as string).sort();
    }
  }

  #codeMessage(text: string): string {
    const coder = this.#coder;
    const length = coder.uint(MESSAGE, text.length);
    if (length > coder.left(MESSAGE)) malformed("pack", "A message reaches past the end of its stream");
    const bytes = coder.writing ? Buffer.from(text, "latin1") : Buffer.alloc(length);
    coder.bytes(MESSAGE, bytes, 0, length);
    return coder.writing ? text : bytes.toString("latin1", 0, length);
  }
}

/** One more than the largest operation of the deps that are known, or else of the change before. */
function nextOp(group: Group | undefined, deps: readonly number[]): number {
  if (group === undefined) return 1;
  let max = -1;
  for (const place of deps) {
    if (place !== NULL) max = Math.max(max, group.maxOps[place] as number);
  }
  return (max < 0 ? (group.maxOps.at(-1) ?? 0) : max) + 1;
}
