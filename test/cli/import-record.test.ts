import { memberText, nameRecord, type Naming } from "../../src/cli/import-record.ts";

const PLAIN: Naming = { collection: "things", forced: true, key: undefined };
const name = (json: string, naming: Partial<Naming> = {}) =>
  nameRecord(Buffer.from(json), { ...PLAIN, ...naming });

test("a record is named by its id, _id or key, in this order", () => {
  expect(name('{"key":"k","_id":"u","id":7}').doc).toBe("things/7");
  expect(name('{"key":"k","_id":"u"}').doc).toBe("things/u");
  expect(name('{"key":"k","id":null}').doc).toBe("things/k");
});

test("a record without one is named by its content, whatever the order of its keys", () => {
  const one = name('{"a":1,"b":{"c":[2,"é"],"d":null}}').doc;
  expect(one).toMatch(/^things\/[0-9a-f]{32}$/);
  expect(name('{ "b": {"d":null,"c":[2,"\\u00e9"]}, "a":1 }').doc).toBe(one);
  expect(name('{"a":2,"b":{"c":[2,"é"],"d":null}}').doc).not.toBe(one);
});

test("an integer that JSON.parse rounds is no key", () => {
  expect(name('{"id":9007199254740993,"key":"k"}').doc).toBe("things/k");
});

test("--key takes a field or a JSON pointer, and misses no record silently", () => {
  expect(name('{"id":1,"sku":"A"}', { key: "sku" }).doc).toBe("things/A");
  expect(name('{"a":{"x/y":[0,5]}}', { key: "/a/x~1y/1" }).doc).toBe("things/5");
  expect(() => name('{"id":1}', { key: "sku" })).toThrow(expect.objectContaining({ code: "IMPORT_INVALID" }));
  expect(() => name('{"id":1}', { key: "__proto__" })).toThrow(
    expect.objectContaining({ code: "IMPORT_INVALID" }),
  );
});

test("the text of a record goes through as it is", () => {
  const text = '{ "id": "a", "n": 12345678901234567890, "f": 1.0, "z": -0 }';
  expect(name(text).json).toBe(text);
});

test("an exported line names its document, and its value's text goes through as it is", () => {
  const line = '{ "doc": "notes/a/b", "value": {"x":[1.0,{"value":2}],"doc":"\\"}"} }';
  const unforced = { collection: "file", forced: false };
  expect(name(line, unforced)).toEqual({
    doc: "notes/a/b",
    json: '{"x":[1.0,{"value":2}],"doc":"\\"}"}',
  });
  expect(name(line).doc).toBe("things/a/b");
});

test("a record with a further field is no exported line", () => {
  expect(name('{"doc":"notes/a","value":{},"id":"r"}').doc).toBe("things/r");
});

test.each([
  ["[1]", "IMPORT_INVALID"],
  ["null", "IMPORT_INVALID"],
  ["{", "BAD_JSON"],
  ['{"id":"a\\u0000b"}', "NAME_INVALID"],
])("%s is refused with %s", (text, code) => {
  expect(() => name(text)).toThrow(expect.objectContaining({ code }));
});

test("bytes that are no UTF-8 are refused", () => {
  const bytes = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]);
  expect(() => nameRecord(bytes, PLAIN)).toThrow(expect.objectContaining({ code: "BAD_JSON" }));
});

test("a member's text is found behind members that look like it", () => {
  expect(memberText('{"a":{"v":1},"b":["v",{"v":2}],"c":"\\"v\\":3","v" : [4, 5] }', "v")).toBe("[4, 5]");
  expect(memberText('{"\\u0076":true}', "v")).toBe("true");
});
