import { decode, encode } from "@ipld/dag-cbor";
import fc from "fast-check";
import { decodeValue, encodeValue } from "../../src/client/cbor.ts";

const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: "grapheme" }),
    fc.integer({ min: -(2 ** 32) + 1, max: 2 ** 32 - 1 }),
    fc.double({ noNaN: true, noDefaultInfinity: true, noInteger: true }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 30 }),
    fc.dictionary(fc.string(), tie("value"), { maxKeys: 10, noNullPrototype: true }),
  ),
})).value;

test("what is written is what was meant, by another reader too, and what others write is read", () => {
  fc.assert(
    fc.property(plain, (value) => {
      const bytes = encodeValue(value);
      expect(decodeValue(bytes)).toEqual(value);
      expect(decode(bytes)).toEqual(value);
      expect(decodeValue(encode(value))).toEqual(value);
    }),
  );
});

test("values that only this one has come back: undefined, numbers beyond 32 bits, a key __proto__", () => {
  for (const value of [undefined, 2 ** 40, -(2 ** 33), -0, NaN, Infinity, [undefined]]) {
    expect(decodeValue(encodeValue(value))).toEqual(value);
  }
  const keyed = decodeValue(encodeValue(JSON.parse('{"__proto__": {"x": 1}}'))) as object;
  expect(Object.getPrototypeOf(keyed)).toBe(Object.prototype);
  expect(Object.keys(keyed)).toEqual(["__proto__"]);
  expect(() => encodeValue({ a: () => {} })).toThrow(TypeError);
});

test("bytes that are spoilt are read as another value or refused, in no time", () => {
  const started = process.cpuUsage();
  fc.assert(
    fc.property(plain, fc.nat(), fc.nat(255), fc.boolean(), (value, place, byte, cut) => {
      const bytes = encodeValue(value);
      const at = place % bytes.length;
      bytes[at] = byte;
      try {
        decodeValue(cut ? bytes.subarray(0, at) : bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
    { numRuns: Number(process.env["SKALD_TEST_RUNS"] ?? 2000) },
  );
  for (const hostile of [
    Uint8Array.of(0x9b, 0, 0, 0, 1, 0, 0, 0, 0),
    Uint8Array.of(0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    new Uint8Array(100_000).fill(0x81),
    new Uint8Array(100_000).fill(0xc1),
    Uint8Array.of(0x9f, 0xff),
    new Uint8Array(),
  ]) {
    expect(() => decodeValue(hostile)).toThrow(RangeError);
  }
  // A hang guard.
  expect(process.cpuUsage(started).user).toBeLessThan(20_000_000);
});
