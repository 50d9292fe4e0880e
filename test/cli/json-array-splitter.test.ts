import fc from "fast-check";
import { splitJsonArray } from "../../src/cli/json-array-splitter.ts";

async function* inPieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

async function split(text: string, size = 1, maxBytes = 1_000_000): Promise<string[]> {
  const texts: string[] = [];
  for await (const bytes of splitJsonArray(inPieces(text, size), maxBytes))
    texts.push(bytes.toString("utf8"));
  return texts;
}

const TRICKY = String.raw`[ {"a":"]},[{\"\\"} ,["x\\\"]",[1,2]],"é\u00e9 🎉,]" , 12345678901234567890, -0.0 ,
  null,{"b":{"c":[{"d":"\\\\"}]}}]`;

test("each element comes with its own text, wherever the chunks are cut", async () => {
  const whole = JSON.parse(TRICKY) as unknown[];
  for (const size of [1, 2, 3, 5, 7, 64, 1000]) {
    const texts = await split(TRICKY, size);
    expect(texts.map((text) => JSON.parse(text) as unknown)).toEqual(whole);
    expect(texts[3]?.trim()).toBe("12345678901234567890");
    expect(texts[4]?.trim()).toBe("-0.0");
  }
});

test("an empty array has no elements", async () => {
  expect(await split(" [ \n ] ")).toEqual([]);
});

test("what JSON.stringify writes comes back the same", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.jsonValue(), { maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(0, 1, 3),
      async (values, size, indent) => {
        const text = JSON.stringify(values, undefined, indent);
        expect((await split(text, size)).map((part) => JSON.parse(part) as unknown)).toEqual(
          JSON.parse(text),
        );
      },
    ),
    { numRuns: 100 },
  );
});

test.each([
  ["", "within"],
  ["{}", "no array"],
  ["[1,2", "within"],
  ['["a', "within"],
  ["[1,]", "missing"],
  ["[,1]", "missing"],
  ["[1,,2]", "missing"],
  ["[1] x", "follows"],
  ["[1}]", "closes nothing"],
])("%j is no array", async (text, why) => {
  await expect(split(text)).rejects.toMatchObject({
    code: "BAD_JSON",
    message: expect.stringContaining(why),
  });
});

test("the elements before the place that is wrong are given", async () => {
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    for await (const bytes of splitJsonArray(inPieces("[1,2,}", 2), 100)) seen.push(bytes.toString());
  };
  await expect(read()).rejects.toMatchObject({ message: expect.stringContaining("element 2") });
  expect(seen).toEqual(["1", "2"]);
});

test("an element above the limit is refused before all of it is held", async () => {
  await expect(split(`[1,"${"x".repeat(200)}"]`, 10, 100)).rejects.toMatchObject({
    code: "TOO_LARGE",
    message: expect.stringContaining("Element 1"),
  });
});
