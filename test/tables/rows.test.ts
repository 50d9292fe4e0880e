import fc from "fast-check";
import { stringifyJson, type Json, type JsonObject } from "../../src/documents/json-value.ts";
import { applyJsonPatch } from "../../src/documents/json-patch.ts";
import {
  documentOf,
  fieldsOf,
  keyOf,
  keyValueOf,
  patchOf,
  sqlValueOf,
  valuesOf,
  type Row,
  type SqlValue,
} from "../../src/tables/rows.ts";

const column = (name: string, type = "") => ({ name, type });

describe("a field in a column", () => {
  test.each<[string, SqlValue]>([
    ['"text"', "text"],
    ["5", 5n],
    ["-0", 0n],
    ["9007199254740991", 9007199254740991n],
    ["9007199254740993", 9007199254740992],
    ["1.5", 1.5],
    ["1e+300", 1e300],
    ["true", 1n],
    ["false", 0n],
    ["null", null],
    ["[1, 9007199254740993]", "[1,9007199254740993]"],
    ['{"b":1,"a":{}}', '{"a":{},"b":1}'],
    ['{"/":{"bytes":"AQID"}}', '{"/":{"bytes":"AQID"}}'],
  ])("%s", (json, expected) => {
    expect(valuesOf([column("x"), column("y")], fieldsOf(`{"x":${json}}`))).toEqual([expected, null]);
  });

  test("is found by exactly its name, whatever that is", () => {
    const fields = fieldsOf('{"__proto__":1,"Title":2,"constructor":3}');
    const columns = ["__proto__", "title", "Title", "constructor", "toString"].map((name) => column(name));
    expect(valuesOf(columns, fields)).toEqual([1n, null, 2n, 3n, null]);
  });
});

test("a key that is an INTEGER is its canonical digits, within 64 bits", () => {
  const integer = { keyType: "INTEGER" } as const;
  for (const key of ["0", "-1", "9223372036854775807", "-9223372036854775808"])
    expect(keyOf(integer, keyValueOf(integer, key) as bigint)).toBe(key);
  for (const key of ["", "-0", "01", "+1", "1.0", " 1", "a", "9223372036854775808", "99999999999999999999"])
    expect(keyValueOf(integer, key)).toBeUndefined();
  expect(keyValueOf({ keyType: "TEXT" }, "01")).toBe("01");
  expect(keyOf({ keyType: "" }, 5)).toBe("5");
  expect(keyOf({ keyType: "TEXT" }, null)).toBeUndefined();
  expect(keyOf({ keyType: "TEXT" }, 1.5)).toBeUndefined();
});

describe("a column that is changed", () => {
  test.each<[string, string, string, SqlValue, unknown]>([
    ["is a text", "", "{}", "a", [{ op: "add", path: "/x", value: "a" }]],
    ["takes the place of another value", "", '{"x":1}', "a", [{ op: "replace", path: "/x", value: "a" }]],
    ["that has its value already stays", "", '{"x":true}', 1, []],
    ["stays as a float", "", '{"x":0.1}', 0.1, []],
    ["stays as JSON text", "", '{"x":[1]}', "[1]", []],
    ["and is NULL goes", "", '{"x":1}', null, [{ op: "remove", path: "/x" }]],
    ["and is NULL and was not there stays", "", "{}", null, []],
    ["and is NULL and was null stays", "", '{"x":null}', null, []],
    ["of a boolean is one", "", '{"x":true}', 0, [{ op: "replace", path: "/x", value: false }]],
    ["of a boolean that is 2 is a number", "", '{"x":true}', 2, [{ op: "replace", path: "/x", value: 2 }]],
    ["declared BOOLEAN is one", "BOOLEAN", "{}", 1n, [{ op: "add", path: "/x", value: true }]],
    [
      "declared JSON is what its text says",
      "JSON",
      "{}",
      '{"a":1}',
      [{ op: "add", path: "/x", value: { a: 1 } }],
    ],
    ["declared JSON that is none is a text", "JSONB", "{}", "{", [{ op: "add", path: "/x", value: "{" }]],
    [
      "of a list is what its text says",
      "",
      '{"x":[1]}',
      "[1,2]",
      [{ op: "replace", path: "/x", value: [1, 2] }],
    ],
    ["of a text stays text", "", '{"x":"a"}', "[1,2]", [{ op: "replace", path: "/x", value: "[1,2]" }]],
    [
      "is bytes",
      "",
      "{}",
      new Uint8Array([1, 2, 3]),
      [{ op: "add", path: "/x", value: { "/": { bytes: "AQID" } } }],
    ],
    [
      "beyond 2^53 keeps its digits",
      "",
      "{}",
      9007199254740993n,
      [{ op: "add", path: "/x", value: 9007199254740993n }],
    ],
    ["that is 1.0 and was 1 stays", "", '{"x":1}', 1, []],
  ])("%s", (_, type, before, value, expected) => {
    expect(patchOf([column("x", type)], fieldsOf(before), { x: value })).toEqual(expected);
  });

  test("others, and fields without a column, stay", () => {
    const columns = [column("a"), column("b/c")];
    expect(patchOf(columns, fieldsOf('{"a":1,"z":2}'), { "b/c": 1, z: 9 })).toEqual([
      { op: "add", path: "/b~1c", value: 1 },
    ]);
    expect(documentOf(columns, { a: null, "b/c": 2 })).toEqual({ "b/c": 2 });
  });

  test("and is infinite, or JSON deeper than a document, is refused", () => {
    const refused = (type: string, value: SqlValue) => () => patchOf([column("x", type)], {}, { x: value });
    expect(refused("", Infinity)).toThrow(expect.objectContaining({ code: "VALUE_INVALID" }));
    expect(refused("JSON", "[".repeat(64) + "]".repeat(64))).toThrow(
      expect.objectContaining({ code: "VALUE_INVALID" }),
    );
  });
});

test("whatever a statement makes of a row comes back out of the document", () => {
  const text = fc.string({ unit: "binary" });
  const json = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<Json>;
  const value: fc.Arbitrary<SqlValue> = fc.oneof(
    fc.constant(null),
    text,
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.bigInt({ min: -(2n ** 53n) + 1n, max: 2n ** 53n - 1n }),
  );
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom("a", "b", "c", "d"), json),
      fc.dictionary(fc.constantFrom("a", "b", "c"), value),
      (before, changed) => {
        const columns = ["a", "b", "c"].map((name) => column(name));
        const fields = before as JsonObject;
        const steps = patchOf(columns, fields, changed as Row);
        const after = applyJsonPatch(fields, JSON.parse(JSON.stringify(steps)) as Json) as JsonObject;
        expect(stringifyJson(after["d"] ?? null)).toBe(stringifyJson(fields["d"] ?? null));
        for (const name of ["a", "b", "c"]) {
          const is = sqlValueOf(Object.hasOwn(after, name) ? after[name] : undefined);
          const asked = Object.hasOwn(changed, name) ? (changed as Row)[name] : sqlValueOf(fields[name]);
          // JSON text may come back in another spelling; a number as the one that it is.
          const plain = (one: SqlValue | undefined): unknown => {
            if (typeof one === "bigint" || typeof one === "number") return Number(one) + 0;
            try {
              return typeof one === "string" ? stringifyJson(JSON.parse(one) as Json) : one;
            } catch {
              return one;
            }
          };
          expect(plain(is)).toEqual(plain(asked));
        }
      },
    ),
    { numRuns: 500 },
  );
});
