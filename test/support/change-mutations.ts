import * as A from "@automerge/automerge";
import { concat, spoil } from "./change-chunks.ts";

/** A saved document and a change that Automerge made on it. */
export interface Subject {
  name: string;
  saved: Uint8Array;
  change: Uint8Array;
}

export interface Mutation {
  kind: "bytes" | "header" | "meaning";
  bytes: Uint8Array;
}

type Draft = Record<string, unknown> & { l: unknown[]; c: A.Counter; m: { k: Record<string, unknown> } };

const FIRST = "0a".repeat(16);
const SECOND = "c4".repeat(16);
const THIRD = "77".repeat(16);

/** A generator of numbers in [0, 1) that a seed repeats: mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function lastChange(doc: A.Doc<unknown>): Uint8Array {
  const change = A.getLastLocalChange(doc);
  if (change === undefined) throw new Error("no change was made");
  return change;
}

/** Subjects of every kind of edit: on a document that two actors wrote, and on an empty one. */
export function subjects(): Subject[] {
  let doc = A.change(A.init<Draft>({ actor: FIRST }), { time: 0 }, (draft) => {
    Object.assign(draft, { a: 1, b: "x", t: "hello world", l: [1, 2, 3, { q: 1 }], m: { k: { z: [] } } });
    Object.assign(draft, { c: new A.Counter(1), s: new A.ImmutableString("fixed") });
  });
  const other = A.change(A.clone(doc, { actor: SECOND }), { time: 0 }, (draft) => {
    draft["a"] = 2;
    A.splice(draft, ["t"], 3, 2, "OTHER");
    draft.l.push("w");
    draft.c.increment(2);
    A.mark(draft, ["t"], { start: 0, end: 4 }, "bold", true);
  });
  doc = A.change(doc, { time: 0 }, (draft) => {
    draft["a"] = 3;
    A.splice(draft, ["t"], 3, 1, "mine");
    draft.l.splice(1, 1);
    draft.c.increment(1);
  });
  const written = A.save(A.merge(doc, other));
  const empty = A.save(A.emptyChange(A.init({ actor: FIRST }), { time: 0 }));
  const on = (saved: Uint8Array, name: string, edit: (draft: Draft) => void): Subject => {
    const edited = A.change(A.load<Draft>(saved, { actor: THIRD }), { time: 0 }, edit);
    return { name, saved, change: lastChange(edited) };
  };
  const deep = (): unknown => ({ a: [{ b: { c: ["x", 1] } }], t: "text" });
  return [
    on(written, "map sets", (d) => Object.assign(d, { a: 7, n: "new", b: true, w: 1.5, u: null })),
    on(written, "one set", (d) => Object.assign(d, { n: 1 })),
    on(written, "text", (d) => {
      A.splice(d, ["t"], 2, 4, "héllo 😀");
      A.splice(d, ["t"], 0, 0, "abc");
    }),
    on(written, "nested", (d) => Object.assign(d.m.k, { deep: deep() })),
    on(written, "list", (d) => {
      d.l.splice(1, 2, "p", "q", 9);
      d.l.push({ r: 1 }, 2);
      d.l[0] = 5;
    }),
    on(written, "counter", (d) => {
      d.c.increment(5);
      d.c.increment(-2);
      Object.assign(d, { c2: new A.Counter(9) });
    }),
    on(written, "marks", (d) => {
      A.mark(d, ["t"], { start: 1, end: 6, expand: "both" }, "bold", true);
      A.unmark(d, ["t"], { start: 0, end: 2 }, "bold");
      A.splitBlock(d, ["t"], 3, { type: "p" });
    }),
    on(written, "deletes", (d) => {
      delete d["a"];
      delete d["b"];
      d.l.splice(0, 3);
      A.splice(d, ["t"], 0, 6, "");
      d["a"] = 9;
    }),
    on(empty, "alone: mixed", (d) => {
      d["a"] = 1;
      d["a"] = 2;
      Object.assign(d, { l: [1, "s", { x: [1] }], t: "hello", c: new A.Counter(1) });
      d.l.splice(1, 1, 9, 8);
      d.l[0] = 4;
      A.splice(d, ["t"], 1, 2, "XYZ");
      d.c.increment(2);
      delete d["a"];
    }),
    on(empty, "alone: nested", (d) =>
      Object.assign(d, { deep: deep(), b: new Uint8Array([1]), q: new Date(3) }),
    ),
  ];
}

/** One random change to the bytes, the header or the operations of the subject's change, or null. */
export function mutate(subject: Subject, random: () => number): Mutation | null {
  const share = random();
  if (share < 0.35) return { kind: "bytes", bytes: mutateColumns(subject.change, random) };
  if (share < 0.45) return { kind: "header", bytes: mutateHeader(subject.change, random) };
  const bytes = mutateMeaning(subject.change, random);
  return bytes === null ? null : { kind: "meaning", bytes };
}

function mutateColumns(chunk: Uint8Array, random: () => number): Uint8Array {
  const below = (n: number): number => Math.floor(random() * n);
  return spoil(chunk, ({ columns }) => {
    for (let i = random() < 0.5 ? 1 : 2; i > 0; i--) {
      const column = columns[below(columns.length)];
      if (column === undefined) return;
      const at = below(column.data.length);
      const was = column.data[at] ?? 0;
      const how = random();
      if (how < 0.3) column.data[at] = was ^ (1 << below(8));
      else if (how < 0.6) column.data[at] = (was + (random() < 0.5 ? 1 : 255)) & 255;
      else if (how < 0.75) column.data[at] = below(256);
      else if (how < 0.85) column.data.splice(at, 0, below(256));
      else if (how < 0.95) column.data.splice(at, 1);
      else column.data = [...(columns[below(columns.length)]?.data ?? [])];
    }
  });
}

function mutateHeader(chunk: Uint8Array, random: () => number): Uint8Array {
  const below = (n: number): number => Math.floor(random() * n);
  return spoil(chunk, (parts) => {
    switch (below(9)) {
      case 0:
        parts.startOp = Math.max(1, parts.startOp + ([-40, -30, -1, 1, 2, 100, 2 ** 20][below(7)] ?? 0));
        break;
      case 1:
        parts.seq += [1, 2, 1000][below(3)] ?? 0;
        break;
      case 2:
        parts.columns.splice(below(parts.columns.length), 1);
        break;
      case 3:
        parts.others.push(new Uint8Array(16).fill(250));
        break;
      case 4:
        parts.others.splice(0, 1);
        break;
      case 5:
        parts.message = concat([104, 105]);
        break;
      case 6:
        parts.extra = concat([1, 2]);
        break;
      case 7:
        parts.actor = new Uint8Array(16).fill(below(256));
        break;
      default:
        parts.deps = [];
    }
  });
}

type Op = Record<string, unknown> & { obj: string; pred: string[]; key?: string; elemId?: string };

/** Changes what an operation refers to or does, and has Automerge encode the result. */
function mutateMeaning(chunk: Uint8Array, random: () => number): Uint8Array | null {
  const change = structuredClone(A.decodeChange(chunk)) as unknown as {
    ops: Op[];
    startOp: number;
    actor: string;
  };
  const { ops, startOp, actor } = change;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const known = ops
    .flatMap((op) => [op.obj, op.elemId ?? op.obj, ...op.pred])
    .filter((id) => id.includes("@"));
  const anyId = (): string => {
    const which = random();
    if (which < 0.4 && known.length > 0) return pick(known);
    if (which < 0.7) return `${startOp + Math.floor(random() * ops.length)}@${actor}`;
    return `${1 + Math.floor(random() * (startOp + ops.length))}@${pick([FIRST, SECOND, actor])}`;
  };
  for (let i = random() < 0.3 ? 2 : 1; i > 0; i--) {
    const at = Math.floor(random() * ops.length);
    const op = pick(ops);
    switch (Math.floor(random() * 12)) {
      case 0:
        op.obj = random() < 0.2 ? "_root" : anyId();
        break;
      case 1:
        if (op.key !== undefined) op.key = pick(["a", "zz", "t", "", "__proto__", "l", "c"]);
        else op.elemId = random() < 0.2 ? "_head" : anyId();
        break;
      case 2:
        op.pred = [anyId()];
        break;
      case 3:
        op.pred = [anyId(), anyId()].sort(
          (a, b) => Number.parseInt(a) - Number.parseInt(b) || (a < b ? -1 : 1),
        );
        break;
      case 4:
        op.pred = [];
        break;
      case 5:
        op["insert"] = op["insert"] !== true;
        break;
      case 6:
        op["action"] = pick(["set", "del", "makeMap", "makeList", "makeText", "makeTable", "inc"]);
        if (op["action"] === "inc") Object.assign(op, { value: 3, datatype: "int" });
        else if (op["action"] !== "set") delete op["value"];
        else op["value"] ??= 1;
        break;
      case 7:
        if (op["action"] !== "set") break;
        Object.assign(
          op,
          pick([
            { value: null },
            { value: 5, datatype: "counter" },
            { value: -5, datatype: "int" },
            { value: 5, datatype: "timestamp" },
            { value: "a longer string" },
            { value: new Uint8Array([1, 2]) },
            { value: true },
          ]),
        );
        break;
      case 8:
        ops.splice(at, 1);
        if (ops.length === 0) return null;
        break;
      case 9:
        ops.splice(at, 0, structuredClone(op));
        break;
      case 10:
        if (op.key === undefined) {
          delete op.elemId;
          op.key = "kk";
        } else {
          delete op.key;
          op.elemId = anyId();
        }
        break;
      default: {
        const from = pick(ops);
        op.obj = from.obj;
        delete op.key;
        delete op.elemId;
        if (from.key !== undefined) op.key = from.key;
        else if (from.elemId !== undefined) op.elemId = from.elemId;
      }
    }
  }
  try {
    const bytes = new Uint8Array(A.encodeChange(change as unknown as A.DecodedChange));
    return bytes[8] === 1 ? bytes : null;
  } catch {
    return null;
  }
}
