import { readFileSync } from "node:fs";
import * as A from "@automerge/automerge";
import fc from "fast-check";
import { blake3 } from "../../src/ids/hash.ts";
import { PackBytes } from "../../src/log/change-pack-bytes.ts";
import { storeStreams, STREAM_NAMES } from "../../src/log/change-pack-streams.ts";
import { packChanges, packStreams, unpackChanges } from "../../src/log/change-pack.ts";
import type { PackItem } from "../../src/log/change-pack.ts";
import { lastChange, mutate, seeded, subjects } from "../support/change-mutations.ts";

interface Golden {
  name: string;
  items: { group: number; bytes: string }[];
  kept: number[];
  streams: Record<string, string>;
  packed: string;
}

const GOLDEN = JSON.parse(
  readFileSync(new URL("../../fixtures/log/change-packs.json", import.meta.url), "utf8"),
) as Golden[];
const ACTORS = ["0a", "c4", "77", "5e", "f0"].map((byte) => byte.repeat(16));
const SEED = 20_261;

type Draft = Record<string, unknown> & {
  text: string;
  list: unknown[];
  count: A.Counter;
  deep: { in: Record<string, unknown> };
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const plain = (items: readonly PackItem[]): unknown[] =>
  items.map(({ group, bytes }) => ({ group, bytes: hex(bytes) }));

function expectBack(items: readonly PackItem[]): void {
  const packed = packChanges(items);
  expect(plain(unpackChanges(packed))).toEqual(plain(items));
  // Taking the changes apart was enough: the pack is not the one that keeps everything as it is.
  const size = items.reduce((sum, { bytes }) => sum + bytes.length, 0);
  expect(Buffer.compare(packed, framed(items.length, size, packStreams(items).streams))).toBe(0);
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return "none";
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

/** Streams framed as a pack under a right check, as only damage within what makes a pack could. */
function framed(count: number, size: number, streams: readonly Uint8Array[]): Uint8Array {
  const out = new PackBytes();
  out.byte(1);
  out.uint(count);
  out.uint(size);
  storeStreams(streams, out);
  return checked(out.view());
}

function checked(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([bytes, blake3(bytes).subarray(0, 8)]));
}

/** Three writers on several documents, each change one of many kinds, merged now and then. */
function mixture(seed: number, changes: number): PackItem[] {
  const random = seeded(seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const items: PackItem[] = [];
  const documents = [0, 1, 2, 7].map((group) => {
    const first = A.change(
      A.init<Draft>({ actor: ACTORS[pick(2)] as string }),
      { time: 1_700_000_000 },
      (d) => {
        Object.assign(d, { text: "ab", list: [1, "x"], count: new A.Counter(1), deep: { in: {} } });
      },
    );
    items.push({ group, bytes: lastChange(first) });
    return { group, copies: [first, ...ACTORS.slice(2).map((actor) => A.clone(first, { actor }))] };
  });
  const edits: ((d: Draft) => void)[] = [
    (d) =>
      A.splice(d, ["text"], pick(d.text.length + 1), 0, ["a", "é", "😀", "many words", "\u0000"][pick(5)]),
    (d) => A.splice(d, ["text"], pick(d.text.length), 1),
    (d) => A.splice(d, ["text"], 0, pick(d.text.length + 1), "all new"),
    (d) => Object.assign(d, { ["key" + pick(9)]: [pick(1e9), -1, 1.5, true, null, "", "text", []][pick(8)] }),
    (d) => Object.assign(d, { when: new Date(pick(1e12)), bytes: new Uint8Array(pick(40)).fill(pick(256)) }),
    (d) => Object.assign(d, { ["fixed" + pick(3)]: new A.ImmutableString("s" + pick(50)) }),
    (d) =>
      Object.assign(d, { i: new A.Int(-pick(1e6)), u: new A.Uint(pick(1e9)), f: new A.Float64(pick(3)) }),
    (d) => {
      delete d["key" + pick(9)];
      d["also"] = pick(2);
    },
    (d) => d.count.increment(pick(100) - 50),
    (d) => d.list.splice(pick(d.list.length + 1), pick(2), { row: pick(1e6), tags: ["a", ["b"]] }, "c"),
    (d) => {
      if (d.list.length > 0) d.list[pick(d.list.length)] = pick(10);
    },
    (d) => Object.assign(d.deep.in, { ["m" + pick(4)]: { a: [{ b: { c: ["x", 1] } }], t: "text" } }),
    (d) =>
      Object.assign(d.deep.in, Object.fromEntries(Array.from({ length: 30 }, (_, i) => ["f" + i, pick(99)]))),
    (d) => {
      if (d.text.length > 1) A.mark(d, ["text"], { start: 0, end: 2, expand: "both" }, "bold", pick(2) === 0);
    },
    (d) => {
      if (d.text.length > 1) A.unmark(d, ["text"], { start: 0, end: 1 }, "bold");
    },
  ];
  for (let i = 0; items.length < changes; i++) {
    const { group, copies } = documents[pick(documents.length)] as (typeof documents)[number];
    const who = pick(copies.length);
    let copy = copies[who] as A.Doc<Draft>;
    const other = copies[pick(copies.length)] as A.Doc<Draft>;
    if (pick(6) === 0 && other !== copy) copy = A.merge(copy, other);
    const before = A.getHeads(copy).join();
    const time = 1_700_000_000 + Math.floor(i / 3) - (pick(20) === 0 ? 1e6 : 0);
    const options = pick(5) === 0 ? { time, message: ["why", "né"][pick(2)] as string } : { time };
    copy =
      pick(25) === 0
        ? A.emptyChange(copy, options)
        : A.change(copy, options, edits[pick(edits.length)] as (d: Draft) => void);
    copies[who] = copy;
    if (A.getHeads(copy).join() !== before) items.push({ group, bytes: lastChange(copy) });
  }
  return items;
}

describe("a pack of changes", () => {
  const mixed = mixture(SEED, 1_200);

  test(`takes apart every kind of change Automerge makes, and gives it back (seed ${SEED})`, () => {
    const all = [...mixed, ...subjects().map(({ change }) => ({ group: 9, bytes: change }))];
    expect(packStreams(all).kept).toEqual([]);
    expectBack(all);
    const packed = packChanges(all);
    expect(packed.length).toBeLessThan(all.reduce((sum, { bytes }) => sum + bytes.length, 0) / 5);
  });

  test("names each change by the hash that Automerge names it by", () => {
    const some = mixed.slice(0, 100);
    expect(unpackChanges(packChanges(some)).map(({ hash }) => hash)).toEqual(
      some.map(({ bytes }) => A.decodeChange(bytes).hash),
    );
  });

  test("gives back changes cut out of the middle of a history", () => {
    for (const [from, to] of [
      [300, 301],
      [500, 700],
    ] as const) {
      expect(packStreams(mixed.slice(from, to)).kept).toEqual([]);
      expectBack(mixed.slice(from, to));
    }
  });

  test("gives back changes in any order and more than once", () => {
    const random = seeded(SEED);
    const shuffled = Array.from(
      { length: 600 },
      () => mixed[Math.floor(random() * mixed.length)] as PackItem,
    );
    expect(packStreams(shuffled).kept).toEqual([]);
    expectBack(shuffled);
    // The same changes as if of other documents: what was expected of each is then wrong.
    expectBack(shuffled.map(({ bytes }, i) => ({ group: i % 5, bytes })));
  });

  test("takes a byte or two for a character typed", () => {
    let doc = A.change(A.init<Draft>({ actor: ACTORS[0] as string }), { time: 0 }, (d) => {
      d.text = "";
    });
    const items: PackItem[] = [{ group: 0, bytes: lastChange(doc) }];
    const words = "the quick brown fox jumps over the lazy dog and back again, twice. ".repeat(8);
    for (let i = 0; i < words.length; i++) {
      doc = A.change(doc, { time: 0 }, (d) => A.splice(d, ["text"], i, 0, words[i] as string));
      items.push({ group: 0, bytes: lastChange(doc) });
    }
    expect(packChanges(items).length).toBeLessThan(items.length);
    expectBack(items);
  });

  test("keeps a change of more than 65,536 operations as it is, and the ones after it apart", () => {
    let doc = A.change(A.init<Draft>({ actor: ACTORS[0] as string }), { time: 0 }, (d) => {
      d.text = "x".repeat(70_000);
    });
    const items = [{ group: 0, bytes: lastChange(doc) }];
    for (const at of [0, 1, 2]) {
      doc = A.change(doc, { time: 0 }, (d) => A.splice(d, ["text"], at, 1));
      items.push({ group: 0, bytes: lastChange(doc) });
    }
    expect(packStreams(items).kept).toEqual([0]);
    expectBack(items);
  });

  test("gives back any bytes whatever", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ maxLength: 60 }).map((tail) => Buffer.concat([fromHex("856f4a83"), tail])),
      fc.constantFrom(...mixed.slice(0, 50).map((item) => item.bytes)),
    );
    const item = fc.record({
      group: fc.oneof(
        fc.nat(3),
        fc.maxSafeNat().map((n) => n - (n % 2)),
      ),
      bytes,
    });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 12 }), (items) => expectBack(items)),
      { seed: SEED, numRuns: 15 },
    );
  });

  test(`gives back spoilt changes, of which some still come apart (seed ${SEED})`, () => {
    const random = seeded(SEED);
    const all = subjects();
    const items: PackItem[] = [];
    for (let i = 0; i < 3_000; i++) {
      const subject = all[Math.floor(random() * all.length)] as (typeof all)[number];
      const bytes = mutate(subject, random)?.bytes ?? subject.change.subarray(0, i % subject.change.length);
      items.push({ group: i % 4, bytes });
    }
    const { kept } = packStreams(items);
    expect(kept.length).toBeGreaterThan(500);
    expect(kept.length).toBeLessThan(2_500);
    expectBack(items);
  });

  test("gives back changes none of which was taken apart", () => {
    const { streams, kept } = packStreams(mixed, true);
    expect(kept.length).toBe(mixed.length);
    const size = mixed.reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(plain(unpackChanges(framed(mixed.length, size, streams)))).toEqual(plain(mixed));
  });

  test("refuses a group that is no number from 0 on", () => {
    for (const group of [-1, 0.5, Number.NaN, Number.MAX_SAFE_INTEGER]) {
      expect(() => packChanges([{ group, bytes: new Uint8Array(1) }])).toThrow("is no group");
    }
  });
});

describe("the format of packs", () => {
  test.each(GOLDEN.map((golden) => [golden.name, golden] as const))(
    "has the streams it had and reads what it wrote: %s",
    (_, golden) => {
      const items = golden.items.map(({ group, bytes }) => ({ group, bytes: fromHex(bytes) }));
      const { streams, kept } = packStreams(items);
      const named = streams.map((bytes, i) => [STREAM_NAMES[i] as string, hex(bytes)] as const);
      expect(Object.fromEntries(named.filter(([, bytes]) => bytes !== ""))).toEqual(golden.streams);
      expect(kept).toEqual(golden.kept);
      expect(plain(unpackChanges(fromHex(golden.packed)))).toEqual(golden.items);
    },
  );
});

describe("a damaged pack", () => {
  const items = mixture(7, 40);
  const packed = packChanges(items);

  test("is found out whichever bit is flipped", () => {
    for (let bit = 0; bit < packed.length * 8; bit++) {
      const damaged = Uint8Array.from(packed);
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      if (codeOf(() => unpackChanges(damaged)) !== "DB_DAMAGED") throw new Error(`bit ${bit} went unnoticed`);
    }
  });

  test("is found out wherever it is cut off, and when it goes on", () => {
    for (let length = 0; length < packed.length; length++) {
      expect(codeOf(() => unpackChanges(packed.subarray(0, length)))).toBe("DB_DAMAGED");
    }
    expect(codeOf(() => unpackChanges(Buffer.concat([packed, new Uint8Array(1)])))).toBe("DB_DAMAGED");
  });

  test("of another version is not read", () => {
    const other = Uint8Array.from(packed.subarray(0, -8));
    other[0] = 2;
    expect(codeOf(() => unpackChanges(checked(other)))).toBe("DB_DAMAGED");
  });

  test("under a right check gives other bytes or DB_DAMAGED, and nothing worse", () => {
    const random = seeded(SEED);
    const outcomes = new Set<string>();
    for (let i = 0; i < 1_500; i++) {
      const damaged = Uint8Array.from(packed.subarray(0, -8));
      const at = Math.floor(random() * damaged.length);
      damaged[at] = Math.floor(random() * 256);
      outcomes.add(codeOf(() => unpackChanges(checked(damaged))));
    }
    expect([...outcomes].sort()).toEqual(["DB_DAMAGED", "none"]);
  });

  test("in its streams gives other bytes or DB_DAMAGED, and nothing worse", () => {
    const random = seeded(SEED);
    const { streams } = packStreams(items);
    const size = items.reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(plain(unpackChanges(framed(items.length, size, streams)))).toEqual(plain(items));
    const outcomes = new Set<string>();
    for (let i = 0; i < 300; i++) {
      const spoilt = streams.map((bytes) => Uint8Array.from(bytes));
      for (let n = 0; n < 3; n++) {
        const stream = spoilt[Math.floor(random() * spoilt.length)] as Uint8Array;
        if (stream.length > 0) stream[Math.floor(random() * stream.length)] = Math.floor(random() * 256);
      }
      outcomes.add(codeOf(() => unpackChanges(framed(items.length, size, spoilt))));
    }
    expect([...outcomes].sort()).toEqual(["DB_DAMAGED", "none"]);
  });
});
