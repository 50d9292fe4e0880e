import { deflateRawSync } from "node:zlib";
import * as A from "@automerge/automerge";
import { readChange, readChanges } from "../../src/log/change.ts";
import { DEFAULT_CHANGE_LIMITS } from "../../src/log/guard.ts";
import { changeOf, concat, frame, sleb, spoil, uleb } from "../support/change-chunks.ts";
import type { ChangeParts } from "../support/change-chunks.ts";
import { lastChange, subjects } from "../support/change-mutations.ts";

type Refusal = { code?: string; details?: Record<string, unknown> };

function refusal(bytes: Uint8Array): Refusal {
  try {
    readChange(bytes);
  } catch (error) {
    return { code: (error as Refusal).code as string, details: (error as Refusal).details ?? {} };
  }
  return {};
}

/** One set of `a` to 1 in the root. */
const ONE_SET = [
  [0x15, [0x7f, 1, 0x61]],
  [0x34, [1]],
  [0x42, [0x7f, 1]],
  [0x56, [0x7f, 0x14]],
  [0x57, [1]],
  [0x70, [0x7f, 0]],
] as const;
type Column = readonly [number, readonly number[]];
const withColumn = (spec: number, data: readonly number[]): Column[] =>
  [...ONE_SET.filter(([other]) => other !== spec), [spec, data] as const].sort(([a], [b]) => a - b);

const plain = changeOf(ONE_SET);
const written = (name: string): Uint8Array =>
  subjects().find((subject) => subject.name === name)?.change as Uint8Array;

describe("a change is refused as malformed", () => {
  test("not at all when nothing is wrong with it", () => {
    expect(readChange(plain).opCount).toBe(1);
  });

  const header: [string, string, (parts: ChangeParts) => void][] = [
    ["seq 0", "seq", (parts) => (parts.seq = 0)],
    ["startOp 0", "start-op", (parts) => (parts.startOp = 0)],
    ["an actor of 8 bytes", "actor-length", (parts) => (parts.actor = new Uint8Array(8))],
    ["an actor of 33 bytes", "actor-length", (parts) => (parts.actor = new Uint8Array(33))],
    ["the same dep twice", "deps-order", (parts) => (parts.deps = [new Uint8Array(32), new Uint8Array(32)])],
    [
      "deps out of order",
      "deps-order",
      (parts) => (parts.deps = [new Uint8Array(32).fill(2), new Uint8Array(32).fill(1)]),
    ],
    ["an actor nobody names", "actor-unused", (parts) => (parts.others = [new Uint8Array(16)])],
    ["the author among the others", "actors-order", (parts) => (parts.others = [parts.actor])],
    ["a message that is not UTF-8", "utf-8", (parts) => (parts.message = new Uint8Array([0xff]))],
    ["bytes behind the columns", "extra-bytes", (parts) => (parts.extra = new Uint8Array([1]))],
    ["an unknown column", "column-unknown", (parts) => parts.columns.push({ spec: 0xf2, data: [0x7f, 1] })],
    ["a deflated column", "column-unknown", (parts) => parts.columns.push({ spec: 0xad, data: [1] })],
    ["columns out of order", "column-order", (parts) => parts.columns.reverse()],
    ["an empty column", "column-empty", (parts) => parts.columns.unshift({ spec: 0x01, data: [] })],
    ["a time that is padded", "number-not-minimal", (parts) => (parts.time = new Uint8Array([0x80, 0]))],
    [
      "a time of 64 bits",
      "number-too-large",
      (parts) => (parts.time = new Uint8Array([...Array(9).fill(0xff), 0])),
    ],
  ];
  test.each(header)("for %s", (_name, reason, change) => {
    expect(refusal(spoil(plain, change))).toMatchObject({ code: "CHANGE_MALFORMED", details: { reason } });
  });

  const columns: [string, string, Column[]][] = [
    ["a million operations in one column only", "columns-differ", withColumn(0x42, [0xc0, 0x84, 0x3d, 1])],
    ["a missing column", "columns-differ", withColumn(0x34, []).filter(([, data]) => data.length > 0)],
    ["more preds than the counts say", "columns-differ", [...ONE_SET, [0x71, [0x7f, 0]], [0x73, [0x7f, 1]]]],
    ["fewer preds than the counts say", "pred", withColumn(0x70, [0x7f, 1])],
    ["an unknown action", "action", withColumn(0x42, [0x7f, 9])],
    ["a value longer than its column", "value-length", withColumn(0x56, [0x7f, 0x24])],
    ["a value shorter than its column", "columns-differ", withColumn(0x57, [1, 1])],
    [
      "a padded number value",
      "value",
      [
        ...withColumn(0x56, [0x7f, 0x24]).filter(([s]) => s !== 0x57 && s !== 0x70),
        [0x57, [0x81, 0]],
        [0x70, [0x7f, 0]],
      ],
    ],
    ["an unknown type of value", "value", withColumn(0x56, [0x7f, 0x1c])],
    [
      "a string value that is not UTF-8",
      "utf-8",
      [
        ...withColumn(0x56, [0x7f, 0x16]).filter(([s]) => s !== 0x57 && s !== 0x70),
        [0x57, [0xff]],
        [0x70, [0x7f, 0]],
      ],
    ],
    ["a key that is not UTF-8", "utf-8", withColumn(0x15, [0x7f, 1, 0xff])],
    ["the key __proto__", "key-proto", withColumn(0x15, [0x7f, 9, ...Buffer.from("__proto__")])],
    ["a run of one", "not-canonical", withColumn(0x42, [1, 1])],
    ["an actor that is not listed", "actor-index", [[0x01, [0x7f, 5]], [0x02, [0x7f, 1]], ...ONE_SET]],
    ["an object of its own number", "refers-ahead", [[0x01, [0x7f, 0]], [0x02, [0x7f, 1]], ...ONE_SET]],
    ["half an object", "columns-differ", [[0x01, [0x7f, 0]], ...ONE_SET]],
    [
      "a pred of its own number",
      "refers-ahead",
      [...withColumn(0x70, [0x7f, 1]), [0x71, [0x7f, 0]], [0x73, [0x7f, 1]]],
    ],
    ["a mark's name on a value", "mark", [...ONE_SET, [0xa5, [0x7f, 1, 0x62]]]],
    ["an insertion under a key", "insert-into-map", withColumn(0x34, [0, 1])],
    ["no key", "object-kind", ONE_SET.filter(([spec]) => spec !== 0x15)],
  ];
  test.each(columns)("for %s", (_name, reason, with_) => {
    expect(refusal(changeOf(with_))).toMatchObject({ code: "CHANGE_MALFORMED", details: { reason } });
  });

  test("for the wrong magic, type, length and for bytes that follow", () => {
    const flip = (at: number, to: number): Uint8Array => plain.map((byte, i) => (i === at ? to : byte));
    expect(refusal(flip(0, 1)).details).toMatchObject({ reason: "magic" });
    for (const type of [0, 3, 9])
      expect(refusal(flip(8, type)).details).toMatchObject({ reason: "type", type });
    expect(refusal(concat(plain, [0])).details).toMatchObject({ reason: "trailing-bytes", at: plain.length });
    expect(refusal(new Uint8Array()).details).toMatchObject({ reason: "truncated" });
    const padded = concat(plain.subarray(0, 9), [(plain[9] as number) | 0x80, 0], plain.subarray(10));
    expect(refusal(padded).details).toMatchObject({ reason: "number-not-minimal" });
  });

  test("for being cut short at any byte", () => {
    const whole = written("marks");
    for (let length = 0; length < whole.length; length++) {
      expect(refusal(whole.subarray(0, length)).code).toBe("CHANGE_MALFORMED");
    }
    expect(() => readChanges(concat(whole, whole.subarray(0, 50)))).toThrow();
  });

  test("for any one bit that differs", () => {
    for (const { change } of subjects().slice(0, 3)) {
      for (let bit = 0; bit < change.length * 8; bit++) {
        const bytes = change.slice();
        bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(refusal(bytes).code).toMatch(/^CHANGE_/);
      }
    }
  });

  test("for contents that do not match the checksum", () => {
    const bytes = plain.slice();
    bytes[bytes.length - 1] = 1;
    expect(refusal(bytes).code).toBe("CHANGE_CHECKSUM");
  });

  test("for deflated contents that do not inflate", () => {
    const bytes = frame(new Uint8Array([0xff, 0xff, 0xff]), 2);
    expect(refusal(bytes)).toMatchObject({ code: "CHANGE_MALFORMED", details: { reason: "deflate" } });
  });
});

describe("a change is refused as too large", () => {
  test("when it inflates beyond the limit, without inflating it all", () => {
    const packed = deflateRawSync(new Uint8Array(64 * 1024 * 1024));
    expect(packed.length).toBeLessThan(70_000);
    expect(refusal(frame(packed, 2))).toMatchObject({
      code: "CHANGE_TOO_LARGE",
      details: { limit: "inflatedBytes", max: DEFAULT_CHANGE_LIMITS.inflatedBytes },
    });
  });

  test("when run lengths make a million list items of a hundred bytes", () => {
    const n = 1_000_000;
    const bytes = changeOf([
      [0x01, [0, 1, ...sleb(n), 0]],
      [0x02, [0, 1, ...sleb(n), 1]],
      [0x11, [0, 2, ...sleb(n - 1), 0]],
      [0x13, [0, 1, 0x7e, 0, 2, ...sleb(n - 2), 1]],
      [0x15, [0x7f, 1, 0x6c, 0, ...uleb(n)]],
      [0x34, [1, ...uleb(n)]],
      [0x42, [0x7f, 2, ...sleb(n), 1]],
      [0x56, [...sleb(n + 1), 0]],
      [0x70, [...sleb(n + 1), 0]],
    ]);
    expect(bytes.length).toBeLessThan(120);
    expect(refusal(bytes)).toMatchObject({ code: "CHANGE_TOO_LARGE", details: { limit: "ops" } });
    const tenth = { ...DEFAULT_CHANGE_LIMITS, ops: 2_000_000 };
    expect(() => readChange(bytes, tenth)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ limit: "bareOps" }) }),
    );
    expect(readChange(bytes, { ...tenth, bareOps: 2_000_000 }).opCount).toBe(n + 1);
  });

  test("when a pasted text is longer than the limit, though Automerge made it", () => {
    const doc = A.change(A.from({ t: "" }, { actor: "05".repeat(16) }), { time: 0 }, (draft) => {
      A.splice(draft, ["t"], 0, 0, "lorem ipsum ".repeat(2_000));
    });
    const bytes = lastChange(doc);
    expect(readChange(bytes).opCount).toBe(24_000);
    expect(() => readChange(bytes, { ...DEFAULT_CHANGE_LIMITS, ops: 23_999 })).toThrow(
      expect.objectContaining({ code: "CHANGE_TOO_LARGE" }),
    );
  });

  test("when it nests deeper than the limit", () => {
    const nested = (levels: number): Uint8Array => {
      let value: Record<string, unknown> = {};
      for (let i = 1; i < levels; i++) value = { a: value };
      return lastChange(A.from({ top: value }, { actor: "05".repeat(16) }));
    };
    expect(readChange(nested(DEFAULT_CHANGE_LIMITS.depth)).opCount).toBe(DEFAULT_CHANGE_LIMITS.depth);
    expect(refusal(nested(DEFAULT_CHANGE_LIMITS.depth + 1))).toMatchObject({
      code: "CHANGE_TOO_LARGE",
      details: { limit: "depth" },
    });
  });

  test("when its operation numbers leave no room", () => {
    for (const startOp of [2 ** 32 - 1, 2 ** 31, DEFAULT_CHANGE_LIMITS.maxOp + 1]) {
      expect(refusal(changeOf(ONE_SET, startOp))).toMatchObject({
        code: "CHANGE_TOO_LARGE",
        details: { limit: "maxOp", found: startOp },
      });
    }
    const { maxOp } = DEFAULT_CHANGE_LIMITS;
    expect(readChange(changeOf(ONE_SET, maxOp)).maxOp).toBe(maxOp);
  });

  test("when it lists more deps or actors, or has a longer message or key, than the limits", () => {
    const limits = {
      ...DEFAULT_CHANGE_LIMITS,
      deps: 0,
      otherActors: 0,
      messageBytes: 1,
      keyBytes: 0,
      changeBytes: 10,
    };
    const limitOf = (bytes: Uint8Array, limit: keyof typeof limits): unknown => {
      try {
        return readChange(bytes, { ...DEFAULT_CHANGE_LIMITS, [limit]: limits[limit] });
      } catch (error) {
        return [(error as Refusal).code, (error as Refusal).details?.["limit"]];
      }
    };
    const cases: [Uint8Array, keyof typeof limits][] = [
      [written("one set"), "deps"],
      [written("deletes"), "otherActors"],
      [spoil(plain, (parts) => (parts.message = new Uint8Array(2))), "messageBytes"],
      [plain, "keyBytes"],
      [plain, "changeBytes"],
    ];
    for (const [bytes, limit] of cases) expect(limitOf(bytes, limit)).toEqual(["CHANGE_TOO_LARGE", limit]);
  });
});
