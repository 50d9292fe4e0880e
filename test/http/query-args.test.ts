import { argsOf, argsOfUrl, valuesOf } from "../../src/http/query-args.ts";
import { formOf } from "../../src/http/query-answer.ts";

test("arguments keep every digit, and what is no scalar is the text that was sent", () => {
  expect(argsOf(undefined)).toBeUndefined();
  expect(argsOf('[1, -2.5, "a", null, true, 9007199254740993, {"x": 1.0}, [ 1 ]]')).toEqual([
    1,
    -2.5,
    "a",
    null,
    true,
    9007199254740993n,
    '{"x": 1.0}',
    "[ 1 ]",
  ]);
  expect(argsOf('{"a": -9223372036854775808, "__proto__": {"/": {"bytes": "AQI"}}}')).toEqual(
    Object.assign(Object.create(null), {
      a: -9223372036854775808n,
      ["__proto__"]: { "/": { bytes: "AQI" } },
    }),
  );
  expect(valuesOf("[[1],[], [9007199254740993, null]]")).toEqual([[1], [], [9007199254740993n, null]]);
});

test.each(["9223372036854775808", "-9223372036854775809", "1e400", "123456789012345678901234567890"])(
  "%s is a number that SQLite does not have",
  (text) => {
    expect(() => argsOf(`[${text}]`)).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }) as Error);
    expect(() => argsOfUrl({ n: text })).toThrow(expect.objectContaining({ code: "BAD_REQUEST" }) as Error);
  },
);

test("in a URL, JSON numbers, null, true, false and texts in quotes are that, and anything else is text", () => {
  const given = {
    a: "12",
    b: "012",
    c: '"12"',
    d: "null",
    e: "",
    f: '"',
    g: "1.5",
    h: "[1]",
    i: "true",
    j: "Null",
  };
  expect(argsOfUrl(given)).toEqual(
    Object.assign(Object.create(null), {
      a: 12,
      b: "012",
      c: "12",
      d: null,
      e: "",
      f: '"',
      g: 1.5,
      h: "[1]",
      i: true,
      j: "Null",
    }),
  );
});

test.each([
  [undefined, "json"],
  ["*/*", "json"],
  ["text/csv", "csv"],
  ["text/*", "csv"],
  ["text/html, application/x-ndjson;q=0.5, */*;q=0.1", "ndjson"],
  ["application/json;q=0, text/csv;q=0.2", "csv"],
  ["text/csv, application/json", "json"],
  ["text/csv, */*", "csv"],
])("Accept: %s asks for %s", (accept, form) => {
  expect(formOf(accept)).toBe(form);
});

test("a form that rows do not come in is NOT_ACCEPTABLE", () => {
  expect(() => formOf("text/html")).toThrow(expect.objectContaining({ code: "NOT_ACCEPTABLE" }) as Error);
  expect(() => formOf("application/json;q=0")).toThrow(
    expect.objectContaining({ code: "NOT_ACCEPTABLE" }) as Error,
  );
});
