import fc from "fast-check";
import { itemTexts, memberTexts } from "../../src/protocol/json-source.ts";

const spaced = (value: unknown, spaces: number): string => JSON.stringify(value, null, spaces);

test("texts of members and items parse to the values that the whole parses to", () => {
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.jsonValue(),
      fc.string(),
      fc.integer({ min: 0, max: 3 }),
      (a, b, key, spaces) => {
        const object = { [key]: a, k: b, '"\\': [a, b] };
        const members = memberTexts(` ${spaced(object, spaces)}\n`);
        expect([...members.keys()].sort()).toEqual(Object.keys(object).sort());
        for (const [name, text] of members)
          expect(JSON.parse(text)).toEqual(JSON.parse(spaced(object, 0))[name]);
        const items = itemTexts(spaced([a, b, key], spaces));
        expect(items.map((text) => JSON.parse(text) as unknown)).toEqual(JSON.parse(spaced([a, b, key], 0)));
      },
    ),
  );
});

test("numbers keep every digit, and the last of repeated keys counts", () => {
  expect([...memberTexts('{"a":1,"\\u0061":-0.0e400 ,"b":12345678901234567890}')]).toEqual([
    ["a", "-0.0e400"],
    ["b", "12345678901234567890"],
  ]);
  expect(itemTexts("[]")).toEqual([]);
  expect([...memberTexts(" { } ")]).toEqual([]);
});
