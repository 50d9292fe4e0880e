import * as A from "@automerge/automerge";
import { type Divergence } from "../../src/documents/documents.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { openDocuments } from "./fixture.ts";

const { documents } = openDocuments();
const [BASE, INTO, FROM, THIRD] = ["cc", "aa", "bb", "dd"].map((byte) => byte.repeat(16)) as [
  string,
  string,
  string,
  string,
];
/** Pairs of forks that the property is tried on. */
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 60);

type Doc = A.Doc<Record<string, unknown>>;
type Edit = (doc: Record<string, unknown>) => void;
let count = 0;

async function diverged(into: Doc, from: Doc): Promise<Divergence[]> {
  const merged = A.merge(A.clone(into), from);
  const { divergences } = await documents.diverge({
    docRef: `diverge-${++count}`,
    heads: A.getHeads(merged),
    into: A.getHeads(into),
    from: A.getHeads(from),
    source: () => ({ chunks: [A.save(merged)] }),
  });
  return divergences;
}

async function after(start: Record<string, unknown>, into: Edit, from: Edit) {
  const base = A.from(start, BASE) as Doc;
  const a = A.change(A.clone(base, INTO), into);
  const b = A.change(A.clone(base, FROM), from);
  const found = await diverged(a, b);
  return found.map(({ path, winner, into: x, from: y }) => [path, x.json, y.json, winner]);
}

type Loose = Record<string, any>;

describe("what two sides both changed", () => {
  test("is a key that both set to different values, and the one that is shown is named", async () => {
    const found = await after(
      { a: 1, b: 1, c: 1 },
      (d) => Object.assign(d, { a: 2, b: 7 }),
      (d) => Object.assign(d, { a: 3, b: 7, c: 4 }),
    );
    expect(found).toEqual([["/a", "2", "3", "from"]]);
  });

  test("is a key that one side deleted and the other set", async () => {
    const found = await after(
      { a: 1, b: 1 },
      (d) => delete d["a"],
      (d) => Object.assign(d, { a: 3, b: 4 }),
    );
    expect(found).toEqual([["/a", undefined, "3", "from"]]);
  });

  test("is an element that both set, wherever it has come to stand", async () => {
    const found = await after(
      { l: ["x", "y", "z"] },
      (d) => {
        (d as Loose)["l"].unshift("new");
        (d as Loose)["l"][2] = "A";
      },
      (d) => {
        (d as Loose)["l"][1] = "B";
        (d as Loose)["l"].push("more");
      },
    );
    expect(found).toEqual([["/l/2", '"A"', '"B"', expect.any(String)]]);
  });

  test("is a map that one side took away while the other wrote into it", async () => {
    const start = { m: { n: { x: 1, y: 2 } }, l: [{ x: 1 }, { x: 2 }] };
    const found = await after(
      start,
      (d) => {
        delete (d as Loose)["m"]["n"];
        (d as Loose)["l"].splice(0, 1);
      },
      (d) => {
        (d as Loose)["m"]["n"]["x"] = 5;
        (d as Loose)["l"][0]["x"] = 6;
      },
    );
    expect(found).toEqual([
      ["/l/0", undefined, '{"x":6}', "into"],
      ["/m/n", undefined, '{"x":5,"y":2}', "into"],
    ]);
  });

  test("is a counter that one side set anew while the other counted on", async () => {
    const found = await after(
      { c: new A.Counter(1), d: new A.Counter(1) },
      (d) => {
        d["c"] = 7;
        (d["d"] as A.Counter).increment(2);
      },
      (d) => {
        (d["c"] as A.Counter).increment(3);
        (d["d"] as A.Counter).increment(4);
      },
    );
    expect(found).toEqual([["/c", "7", "4", "into"]]);
  });

  test("is not what comes together: texts, insertions, increments, different keys", async () => {
    const found = await after(
      { t: "one two", l: [1], c: new A.Counter(1), m: {} },
      (d) => {
        A.splice(d, ["t"], 0, 3, "1");
        (d as Loose)["l"].push(2);
        (d as Loose)["m"]["a"] = 1;
      },
      (d) => {
        A.splice(d, ["t"], 0, 3, "I");
        (d as Loose)["l"].push(3);
        (d as Loose)["m"]["b"] = 1;
      },
    );
    expect(found).toEqual([]);
  });

  test("names the changes that did it on each side", async () => {
    const base = A.from({ a: 1, m: { x: 1 } }, BASE) as Doc;
    const a = A.change(A.clone(base, INTO), (d) => Object.assign(d, { a: 2 }));
    const [setA] = A.getHeads(a);
    const later = A.change(a, (d) => Object.assign(d, { other: true }));
    const b = A.change(A.clone(base, FROM), (d) => delete d["a"]);
    const [found] = await diverged(
      A.change(later, (d) => delete d["m"]),
      b,
    );
    expect(found).toMatchObject({ path: "/a", into: { change: setA }, from: { change: A.getHeads(b)[0] } });
  });
});

test(
  "it is what a look at every key and element of the four documents finds",
  async () => {
    const seed = seedOf();
    const random = seeded(seed);
    const below = (n: number): number => Math.floor(random() * n);
    let total = 0;
    for (let run = 0; run < RUNS; run += 1) {
      const base = A.from(
        {
          m: { a: 1, b: 2, c: 3 },
          n: { x: { p: 1, q: [1, 2] }, y: { p: 1 } },
          l: [1, 2, { k: 1 }, "s", { k: 2, deep: { v: 1 } }],
          t: "some text",
          c: new A.Counter(5),
        },
        BASE,
      ) as Doc;
      const into = edited(base, INTO, below);
      const from = edited(base, FROM, below);
      const merged = A.merge(A.clone(into.doc), from.doc);
      const expected = lookedUp(base, into, from, merged);
      const found = (await diverged(into.doc, from.doc)).map(({ path, winner, into: x, from: y }) =>
        JSON.stringify([path, x.json ?? null, y.json ?? null, winner]),
      );
      try {
        expect(found.sort()).toEqual(expected.sort());
      } catch (error) {
        throw new Error(`run ${run} of SKALD_TEST_SEED=${seed}: ${(error as Error).message}`, {
          cause: error,
        });
      }
      total += found.length;
    }
    expect(total).toBeGreaterThan(RUNS);
    if (process.env["SKALD_TEST_RUNS"])
      process.stderr.write(`${RUNS} pairs of forks, ${total} divergences\n`);
  },
  30_000 + RUNS * 100,
);

interface Edited {
  readonly doc: Doc;
  /** Index in the base of each element of `l`; -1 for what was inserted. */
  readonly elements: number[];
}

/** A fork with some edits; sometimes with those of somebody else among them, who did not see the others. */
function edited(base: Doc, actor: string, below: (n: number) => number): Edited {
  const elements = [0, 1, 2, 3, 4];
  let doc = A.clone(base, actor);
  for (let left = below(14); left >= 0; left -= 1) {
    doc = A.change(doc, (d) => edit(d as Loose, elements, below));
  }
  if (below(3) === 0) {
    const other = A.change(A.clone(base, actor === INTO ? THIRD : "ee".repeat(16)), (d) => {
      for (const key of ["a", "b", "c"]) if (below(2) === 0) (d as Loose)["m"][key] = below(4);
    });
    doc = A.merge(doc, other);
  }
  return { doc, elements };
}

function edit(d: Loose, elements: number[], below: (n: number) => number): void {
  const key = ["a", "b", "c", "d"][below(4)] as string;
  const at = below(elements.length || 1);
  switch (below(13)) {
    case 0:
    case 1:
      d["m"][key] = below(4);
      break;
    case 2:
      delete d["m"][key];
      break;
    case 3:
      if (typeof d["n"]["x"] === "object") d["n"]["x"]["p"] = below(4);
      break;
    case 4:
      if (typeof d["n"]["x"] === "object") d["n"]["x"]["q"][below(2)] = below(4);
      break;
    case 5:
      d["n"]["x"] = below(2) === 0 ? below(4) : { p: below(2), q: [1, 2] };
      break;
    case 6:
      if (below(2) === 0) delete d["n"]["y"];
      else if (d["n"]["y"]) d["n"]["y"]["p"] = below(4);
      break;
    case 7:
      if (elements.length > 0) d["l"][at] = below(4);
      break;
    case 8:
      if (elements.length > 0) {
        d["l"].splice(at, 1);
        elements.splice(at, 1);
      }
      break;
    case 9:
      d["l"].splice(at, 0, `new ${below(4)}`);
      elements.splice(at, 0, -1);
      break;
    case 10:
      if (typeof d["l"][at] === "object") {
        d["l"][at]["k"] = below(4);
        if (d["l"][at]["deep"]) d["l"][at]["deep"]["v"] = below(3);
      }
      break;
    case 11:
      if (below(3) === 0) d["c"] = below(4);
      else if (typeof d["c"] === "object") d["c"].increment(1 + below(3));
      break;
    default:
      if (below(3) === 0) d["t"] = "another text";
      else A.splice(d, ["t"], below(4), 1, "xy");
  }
}

interface At {
  readonly op: string;
  readonly json: string;
  readonly obj?: string;
  readonly type: string;
}

/** The same by the state of each document alone, each read as its own. */
function lookedUp(base: Doc, into: Edited, from: Edited, merged: Doc): string[] {
  const found: string[] = [];
  const docs = [base, into.doc, from.doc, merged] as const;
  const backends = docs.map((doc) => A.getBackend(doc));
  const at = (which: number, obj: string, step: string | number | undefined): At | undefined => {
    if (step === undefined) return undefined;
    const value = backends[which]?.getAll(obj, step).at(-1);
    if (!value) return undefined;
    const op = String(value[2] ?? value[1]);
    const obj_ = value[2] === undefined ? op : undefined;
    const plain = obj_ === undefined ? value[1] : backends[which]?.materialize(op);
    const number = value[0] === "counter" ? Number(plain) : plain;
    return { op, json: sorted(number), type: value[0], ...(obj_ === undefined ? {} : { obj: obj_ }) };
  };
  const place = (obj: string, steps: (string | number | undefined)[], path: string): void => {
    const [c, a, b, m] = steps.map((step, which) => at(which, obj, step));
    const strongA = a?.op !== c?.op;
    const strongB = b?.op !== c?.op;
    const weakA = strongA || a?.json !== c?.json;
    const weakB = strongB || b?.json !== c?.json;
    if (((strongA && weakB) || (strongB && weakA)) && a?.json !== b?.json) {
      const winner = m === undefined ? (a ? "from" : "into") : m.op === a?.op ? "into" : "from";
      found.push(JSON.stringify([path, a?.json ?? null, b?.json ?? null, winner]));
    }
    if (strongA || strongB || c?.obj === undefined) return;
    if (c.type === "map") map(c.obj, path);
    else if (c.type === "list") list(c.obj, path);
  };
  const map = (obj: string, path: string): void => {
    const keys = new Set(backends.flatMap((backend) => backend.keys(obj)));
    for (const key of keys) place(obj, [key, key, key, key], `${path}/${key}`);
  };
  const list = (obj: string, path: string): void => {
    const length = backends[0]?.length(obj) ?? 0;
    for (let i = 0; i < length; i += 1) {
      if (path !== "/l") {
        place(obj, [i, i, i, i], `${path}/${i}`);
        continue;
      }
      const a = into.elements.indexOf(i);
      const b = from.elements.indexOf(i);
      const m = mergedIndex(a, b);
      const gone = a < 0 ? b : a;
      place(obj, [i, orNone(a), orNone(b), orNone(m)], `/l/${m < 0 ? gone : m}`);
    }
  };
  /** An element is in the merged list where one of its operations is. */
  const mergedIndex = (a: number, b: number): number => {
    const l = backends.map((backend) => backend.getAll("_root", "l").at(-1)?.[1] as string);
    const ops = new Set(
      [at(1, l[1] as string, orNone(a))?.op, at(2, l[2] as string, orNone(b))?.op].filter(Boolean),
    );
    const length = backends[3]?.length(l[3] as string) ?? 0;
    for (let j = 0; j < length; j += 1) {
      const values = backends[3]?.getAll(l[3] as string, j) ?? [];
      if (values.some((value) => ops.has(String(value[2] ?? value[1])))) return j;
    }
    return -1;
  };
  map("_root", "");
  return found;
}

function orNone(index: number): number | undefined {
  return index < 0 ? undefined : index;
}

function sorted(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(sorted).join()}]`;
  const map = value as Record<string, unknown>;
  const items = Object.keys(map)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${sorted(map[key])}`);
  return `{${items.join()}}`;
}
