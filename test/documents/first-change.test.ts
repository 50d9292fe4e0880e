import * as A from "@automerge/automerge";
import fc from "fast-check";
import { writeEdit } from "../../src/documents/author.ts";
import { firstChange } from "../../src/documents/first-change.ts";
import { copyOf, emptyHandle, loadChunks } from "../../src/documents/handle.ts";
import { stringifyJson } from "../../src/documents/json-value.ts";
import { documentJson } from "../../src/documents/materialise.ts";
import { isSkaldError } from "../../src/errors.ts";
import { readChange, type ChangeHeader } from "../../src/log/change.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { AUTHORED_LIMITS } from "../../src/log/guard.ts";

/** Every value goes two ways to its first change: through Automerge, as an edit of any document does, and without. */

// `SKALD_TEST_FIRST` times the values of CI.
const FACTOR = Math.max(1, Number(process.env["SKALD_TEST_FIRST"] ?? 1));
const GENESIS = genesisOf(new Uint8Array(16).fill(7), "things", "one");
const ACTOR = "a1b2".repeat(8);

interface Outcome {
  readonly change?: (Omit<ChangeHeader, "bytes"> & { readonly bytes: string }) | undefined;
  readonly json?: string;
  readonly error?: unknown;
}

const genesis = emptyHandle();
loadChunks(genesis, GENESIS.bytes);

function byAutomerge(value: string, time = 5, message?: string): Outcome {
  return outcomeOf(() => {
    const copy = copyOf(genesis, ACTOR);
    try {
      writeEdit(copy, { kind: "put", value });
      const head = copy.commit(message ?? null, time);
      const json = stringifyJson(documentJson(copy));
      if (head === null) return { change: undefined, json };
      return { change: readChange(copy.getLastLocalChange() as Uint8Array, AUTHORED_LIMITS), json };
    } finally {
      copy.free();
    }
  });
}

function without(value: string, time = 5, message?: string): Outcome {
  return outcomeOf(() =>
    firstChange({
      value,
      genesis: GENESIS.hash,
      actor: ACTOR,
      time,
      ...(message === undefined ? {} : { message }),
    }),
  );
}

function outcomeOf(work: () => { change: ChangeHeader | undefined; json: string }): Outcome {
  try {
    const { change, json } = work();
    if (!change) return { change, json };
    const { bytes, ...header } = change;
    return { change: { ...header, bytes: Buffer.from(bytes).toString("base64") }, json };
  } catch (error) {
    if (!isSkaldError(error)) throw error;
    const { code, message, details } = error;
    return { error: { code, message, details } };
  }
}

/** JSON texts, each value in any of its spellings, with what Automerge and the guard are particular about. */
const strings = fc.oneof(
  fc.string({ maxLength: 10 }),
  fc.string({ unit: "binary", maxLength: 6 }),
  fc.string({ unit: "grapheme", maxLength: 6 }),
  fc.constantFrom(
    "",
    "e\u0301",
    "👨‍👩‍👧",
    "\ufffc",
    "\u0000",
    "\uffee",
    "😀",
    "�",
    "x".repeat(70),
    "é".repeat(70),
  ),
);
const keys = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom("a", "b", "c", "id", "10", "9", "01", "ä", "\uffee", "😀", "") },
  { weight: 2, arbitrary: strings },
  { weight: 1, arbitrary: fc.constantFrom("/", "toJSON", "constructor", "bytes", "-1", "4294967295") },
);
const numbers = fc.oneof(
  fc.integer().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom(
    "0",
    "-0",
    "1.0",
    "1e3",
    "-0.0",
    "1e21",
    "9007199254740991",
    "-9007199254740991",
    "63",
    "64",
  ),
  fc.constantFrom(
    "9007199254740991.0",
    "9007199254740992e0",
    "1E400",
    "5e-324",
    "0.1",
    "-64",
    "-65",
    "8191",
    "8192",
  ),
);
const odd = fc.constantFrom(
  "9007199254740992",
  "-9007199254740993",
  "123456789012345678901234567890",
  "1e400",
  '"\\ud800"',
  '"\\udc00x"',
  '{"__proto__":1}',
  '{"__proto__":{"a":[1]}}',
  '{"a":1,"a":2}',
  '{"a":{"b":1},"b":2,"a":[3]}',
  '{"\\u0061":1}',
  '"\\ud83d\\ude00"',
);
const quoted = (text: string): string => JSON.stringify(text);

const { object } = fc.letrec<{ value: string; object: string; list: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom("null", "true", "false"),
    numbers,
    strings.map(quoted),
    { weight: 1, arbitrary: odd },
    tie("list"),
    tie("object"),
  ),
  list: fc.array(tie("value"), { maxLength: 6 }).map((items) => `[${items.join(", ")}]`),
  object: fc
    .array(fc.tuple(keys, tie("value")), { maxLength: 7 })
    .map((members) => `{${members.map(([key, value]) => `${quoted(key)}:${value}`).join(",")}}`),
}));

describe("the first change of a document", () => {
  test("is byte for byte the one that Automerge makes, whatever the value", () => {
    const refused = { no: 0, yes: 0 };
    fc.assert(
      fc.property(
        object,
        fc.integer({ min: 0, max: 2 ** 40 }),
        fc.option(strings, { nil: undefined }),
        (value, time, message) => {
          const other = byAutomerge(value, time, message);
          expect(without(value, time, message)).toEqual(other);
          refused[other.error === undefined ? "no" : "yes"] += 1;
        },
      ),
      { numRuns: 2000 * FACTOR },
    );
    // Values of either kind, in numbers.
    expect(Math.min(refused.no, refused.yes)).toBeGreaterThan(200);
  });

  test("is refused like any other put when its text is spoilt", () => {
    fc.assert(
      fc.property(
        object,
        fc.nat(),
        fc.constantFrom("", '"', "{", "}", "[", ",", "\\", "1", "-", " "),
        (text, at, put) => {
          const place = at % (text.length + 1);
          const value = text.slice(0, place) + put + text.slice(place + 1);
          expect(without(value)).toEqual(byAutomerge(value));
        },
      ),
      { numRuns: 500 * FACTOR },
    );
  });

  test.each<[string, string]>([
    ["nothing", "{}"],
    ["no object", "[1]"],
    ["no value", ""],
    ["a scalar", '"text"'],
    ["spaces and a repeated key", ' { "b" : 1 , "a" : [ ] , "b" : { "c" : "d" } } '],
    ["64 levels", '{"a":'.repeat(64) + "1" + "}".repeat(64)],
    ["65 levels", '{"a":'.repeat(65) + "1" + "}".repeat(65)],
    ["64 levels of lists", '{"a":' + "[".repeat(63) + "1e30" + "]".repeat(63) + "}"],
    ["too many levels to walk", "[".repeat(100_000) + "]".repeat(100_000)],
    ["many problems", `{${Array.from({ length: 50 }, (_, i) => `"${i}":9007199254740993`).join(",")}}`],
    ["a key at the limit", `{"${"k".repeat(16 * 1024)}":1}`],
    ["a key beyond it", `{"${"k".repeat(16 * 1024 + 1)}":1}`],
    ["a key beyond it in bytes", `{"${"é".repeat(8 * 1024 + 1)}":1}`],
    ["a lone surrogate in a key that is not escaped", '{"\ud800":1}'],
    ["a nested __proto__", '{"a":{"__proto__":"x"}}'],
    ["a list of seventy different things", JSON.stringify({ list: Array.from({ length: 70 }, (_, i) => i) })],
    ["ten thousand numbers", JSON.stringify({ list: Array.from({ length: 10_000 }, (_, i) => i * i) })],
    [
      "ten thousand keys",
      JSON.stringify(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i]))),
    ],
    ["a long text", JSON.stringify({ text: "abc".repeat(10_000) })],
    ["a long text of all sizes", JSON.stringify({ text: "aé日😀".repeat(5000) })],
    ["equal keys of nested maps", '{"a":{"a":{"a":{"b":1}},"b":{"b":2}}}'],
    ["bytes and dates as JSON has them", '{"b":{"/":{"bytes":"AAEC"}},"d":"2024-01-01T00:00:00.000Z"}'],
  ])("of %s is the same either way", (_name, value) => {
    const [own, other] = [without(value), byAutomerge(value)];
    // Of what is a megabyte long only this is printed.
    expect(own.change?.hash).toBe(other.change?.hash);
    expect(own).toEqual(other);
  });

  test("is told apart from one with its operations in another order, or with other types", () => {
    expect(without('{"b":1,"a":2}')).not.toEqual(byAutomerge('{"a":2,"b":1}'));
    expect(without('{"a":1}')).not.toEqual(byAutomerge('{"a":1.5}'));
    expect(without('{"a":0}')).not.toEqual(byAutomerge('{"a":-0}'));
    expect(without('{"a":"x"}')).not.toEqual(byAutomerge('{"a":["x"]}'));
  });

  test("is one that Automerge applies, saves and loads", () => {
    fc.assert(
      fc.property(object, (value) => {
        const { change, json } = without(value);
        if (!change) return;
        const bytes = Uint8Array.from(Buffer.from(change.bytes, "base64"));
        const [applied] = A.applyChanges(A.init(), [GENESIS.bytes, bytes]);
        const loaded = A.load(A.save(applied));
        expect(A.getHeads(loaded)).toEqual([change.hash]);
        expect(A.decodeChange(bytes)).toMatchObject({ hash: change.hash, deps: [GENESIS.hash], seq: 1 });
        expect(stringifyJson(documentJson(A.getBackend(loaded)))).toBe(json);
      }),
      { numRuns: 100 * FACTOR },
    );
  });
});
