import fc from "fast-check";
import { diffLines } from "../../src/ui/diff-lines.ts";
import { firstFault, readDocument, documentText } from "../../src/ui/document-text.ts";
import { equalJson, printJson, readJson } from "../../src/ui/exact-json.ts";
import { diffJson } from "../../src/ui/json-diff.ts";
import { applyStep, type Held } from "../../src/ui/json-patch.ts";
import { mergeJson } from "../../src/ui/three-way.ts";

const key = fc.constantFrom("a", "b", "c", "", "/", "~", "__proto__", "0");
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, 0, 1, -0.5, "", "x", "<b>"),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.array(fc.tuple(key, tie("value")), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs)),
  ),
})).value;

test("a diff, applied, makes the one of the other and touches nothing that is equal", () => {
  fc.assert(
    fc.property(json, json, (from, to) => {
      const held: Held = { value: structuredClone(from) };
      const steps = diffJson(from, to);
      for (const step of steps) applyStep(held, step);
      expect(JSON.stringify(sorted(held.value))).toBe(JSON.stringify(sorted(to)));
      expect(steps.length === 0).toBe(equalJson(from, to));
    }),
  );
});

test("a diff of lists keeps what is alike at both ends", () => {
  expect(diffJson({ l: [1, 2, 3, 4] }, { l: [1, 9, 3, 4] })).toEqual([
    { op: "replace", path: "/l/1", value: 9 },
  ]);
  expect(diffJson([1, 2, 3], [1, 3])).toEqual([{ op: "remove", path: "/1" }]);
  expect(diffJson([1, 3], [1, 2, 3])).toEqual([{ op: "add", path: "/1", value: 2 }]);
});

test("what a patch changes is shown with what was there, step by step", () => {
  const before = { list: ["a", "b", "c"], n: 1 };
  expect(
    diffLines(
      [
        { op: "remove", path: "/list/0" },
        { op: "replace", path: "/list/0", value: "B" },
        { op: "add", path: "/m", value: { x: 1 } },
        { op: "remove", path: "/n" },
      ],
      before,
    ),
  ).toEqual([
    { path: "/list/0", removed: '"a"' },
    { path: "/list/0", removed: '"b"', added: '"B"' },
    { path: "/m", added: '{\n  "x": 1\n}' },
    { path: "/n", removed: "1" },
  ]);
  expect(before).toEqual({ list: ["a", "b", "c"], n: 1 });
  // One that does not fit the document is shown as far as it is known.
  expect(diffLines([{ op: "replace", path: "/none/x", value: 1 }], before)).toEqual([
    { path: "/none/x", added: "1" },
  ]);
});

describe("bringing two sides together", () => {
  test("what only one side changed is taken, whoever is preferred", () => {
    fc.assert(
      fc.property(
        json,
        json,
        fc.constantFrom("mine" as const, "theirs" as const),
        (base, changed, prefer) => {
          for (const [mine, theirs] of [
            [changed, base],
            [base, changed],
            [changed, changed],
          ]) {
            const { value, clashes } = mergeJson(base, mine, theirs, prefer);
            expect(equalJson(value, changed)).toBe(true);
            expect(clashes).toEqual([]);
          }
        },
      ),
    );
  });

  test("without a clash it does not matter which side is which", () => {
    fc.assert(
      fc.property(json, json, json, (base, mine, theirs) => {
        const one = mergeJson(base, mine, theirs, "mine");
        const other = mergeJson(base, theirs, mine, "theirs");
        expect(other.clashes.toSorted()).toEqual(one.clashes.toSorted());
        expect(equalJson(one.value, other.value)).toBe(true);
        // A clash is never without a choice, and nothing is chosen where there is none.
        const preferred = mergeJson(base, mine, theirs, "theirs");
        if (one.clashes.length === 0) expect(equalJson(one.value, preferred.value)).toBe(true);
        else expect(equalJson(one.value, preferred.value)).toBe(false);
      }),
    );
  });

  test("keys and items come together one by one; lists of other lengths are one thing", () => {
    const base = { a: 1, b: [1, 2], c: { x: 1 } };
    expect(mergeJson(base, { a: 2, b: [9, 2], c: { x: 1 } }, { a: 1, b: [1, 8], c: {} }, "mine")).toEqual({
      value: { a: 2, b: [9, 8], c: {} },
      clashes: [],
    });
    expect(mergeJson(base, { ...base, b: [0, 1, 2] }, { ...base, b: [1, 2, 3] }, "theirs")).toEqual({
      value: { ...base, b: [1, 2, 3] },
      clashes: ["/b"],
    });
    expect(mergeJson(base, { ...base, a: 5 }, { b: base.b, c: base.c }, "mine").clashes).toEqual(["/a"]);
  });
});

describe("JSON text", () => {
  test("integers keep their digits through reading and printing", () => {
    const text =
      '{"big":9007199254740993,"list":[-123456789012345678901,1e21,1.5,0.12345678901234568],"text":"9007199254740993"}';
    expect(printJson(readJson(text))).toBe(text.replace("1e21", "1e+21"));
    expect(equalJson(readJson('{"a":9007199254740993}'), readJson('{"a":9007199254740992}'))).toBe(false);
    expect(printJson(readJson('{"k":"\\u0000x\\"9999999999999999999"}'))).toBe(
      '{"k":"\\u0000x\\"9999999999999999999"}',
    );
  });

  test("a document reads back as what was printed", () => {
    fc.assert(
      fc.property(json, (value) => {
        const read = readDocument(documentText({ value }), "no");
        expect("value" in read && equalJson(read.value, { value })).toBe(true);
      }),
    );
  });

  test("a fault is found where the engine finds it", () => {
    let seen = 0;
    fc.assert(
      fc.property(
        json,
        fc.nat(),
        fc.constantFrom("", "}", "]", ",", ":", '"', "x", "1", "\\", "\u0001", "-", " "),
        fc.boolean(),
        (value, at, put, instead) => {
          const text = JSON.stringify(value, null, 1);
          const place = at % (text.length + 1);
          const broken = text.slice(0, place) + put + text.slice(place + (instead ? 1 : 0));
          const fault = firstFault(broken);
          let message = "";
          try {
            JSON.parse(broken);
          } catch (error) {
            message = (error as Error).message;
          }
          if (message === "") return expect(fault).toBe(broken.length);
          const told = /at position (\d+)/.exec(message)?.[1];
          if (/^Unexpected end/.test(message)) expect(fault).toBeLessThanOrEqual(broken.length);
          // Of what is wrong within a text or a number, where that begins.
          else if (told !== undefined) {
            expect(fault).toBeLessThanOrEqual(Number(told));
            if (!/string|escape|control|number|fraction/i.test(message)) expect(fault).toBe(Number(told));
            seen += 1;
          }
        },
      ),
      { numRuns: 2000 },
    );
    expect(seen).toBeGreaterThan(200);
  });

  test("what is no document says where and why", () => {
    expect(readDocument("[]", "An object.")).toEqual({
      error: { message: "An object.", offset: 0, line: 1, column: 1 },
    });
    expect(readDocument('{\n  "a": 1,\n}', "")).toMatchObject({ error: { offset: 12, line: 3, column: 1 } });
    const said = readDocument('{"a": nul}', "");
    expect("error" in said && said.error.message).not.toMatch(/position|not valid JSON/);
  });
});

/** Keys in one order, so that texts can be compared. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => [name, sorted(inner)]);
}
