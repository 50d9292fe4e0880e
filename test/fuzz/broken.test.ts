import { SkaldError } from "../../src/errors.ts";
import { CborWriter } from "../../src/ids/cbor.ts";
import { fuzz, held, type Target, type Tally } from "./harness.ts";

/** Decoders that are wrong on purpose: each property of the harness is seen to fail. */

/** Reads one unsigned number; how it is wrong is up to `spoil`. */
function numberTarget(spoil: (bytes: Uint8Array) => void, canonical = true): Target {
  return {
    name: "number",
    covers: [],
    runs: 1,
    codes: ["BAD_CBOR"],
    make: (random) =>
      Uint8Array.from([random.chance(0.2) ? 24 : random.below(256), ...random.bytes(random.below(3))]),
    run(input) {
      const bytes = input as Uint8Array;
      spoil(bytes);
      const [first = 0] = bytes;
      const value =
        first < 24 && bytes.length === 1 ? first : first === 24 && bytes.length === 2 ? bytes[1] : undefined;
      if (value === undefined || (canonical && first === 24 && value < 24))
        throw new SkaldError("BAD_CBOR", "no number");
      return value;
    },
    holds(bytes: Uint8Array, value: number) {
      const w = new CborWriter();
      w.uint(value);
      return Buffer.compare(w.take(), bytes) === 0 ? undefined : "is written again in other bytes";
    },
  };
}

const found = ({ findings }: Tally): string[] => findings.map(({ what }) => what);
const spin = (ms: number): void => {
  for (const began = process.cpuUsage(); process.cpuUsage(began).user < ms * 1000;);
};

describe("the harness", () => {
  test("finds nothing in a decoder that is right", async () => {
    const tally = await fuzz(
      numberTarget(() => {}),
      5,
      20_000,
    );
    expect(found(tally)).toEqual([]);
    expect(tally.taken).toBeGreaterThan(100);
  });

  test("finds a number that is taken in a longer form", async () => {
    const tally = await fuzz(
      numberTarget(() => {}, false),
      5,
      20_000,
    );
    expect(found(tally)).toEqual(["is written again in other bytes"]);
    expect(tally.findings[0]?.input).toMatch(/^18(0|1[0-7])/);
  });

  test.each([
    ["TypeError", new TypeError("of undefined")],
    ["RangeError", new RangeError("stack")],
    ["SyntaxError", new SyntaxError("json")],
    ["an unknown code", Object.assign(new Error("x"), { name: "SkaldError", code: "NO_SUCH" })],
  ])("finds a decoder that throws %s for one input in hundreds", async (_, error) => {
    const target = numberTarget((bytes) => {
      if (bytes[0] === 0xe3) throw error;
    });
    const tally = await fuzz(target, 5, 20_000);
    expect(found(tally)).toEqual([`threw ${error.name}: ${error.message}`]);
    expect(tally.findings[0]?.input).toMatch(/^e3/);
  });

  test("finds a refusal under a code that is not its own", async () => {
    const target = numberTarget((bytes) => {
      if (bytes[0] === 7) throw new SkaldError("INTERNAL", "x");
    });
    expect(found(await fuzz(target, 5, 20_000))).toEqual(["refused with INTERNAL"]);
  });

  test("finds an input that keeps the thread for 60 ms", async () => {
    const target = numberTarget((bytes) => {
      if (bytes[0] === 3 && bytes.length === 1) spin(60);
    });
    const tally = await fuzz(target, 5, 1500);
    expect(found(tally)).toEqual([expect.stringMatching(/^took \d+ ms$/)]);
    expect(tally.findings[0]?.input).toBe("03");
  });

  test("takes many inputs of a millisecond for what they are", async () => {
    const target = numberTarget((bytes) => {
      if ((bytes[0] ?? 0) > 200) spin(3);
    });
    expect(found(await fuzz(target, 5, 640))).toEqual([]);
  });

  test("sees memory that stays behind", async () => {
    const kept: Uint8Array[] = [];
    const before = held();
    await fuzz(
      numberTarget((bytes) => kept.push(new Uint8Array(4096).fill(bytes[0] ?? 0))),
      5,
      12_000,
    );
    expect(held() - before).toBeGreaterThan(32 * 1024 * 1024);
    expect(kept.length).toBeGreaterThanOrEqual(12_000);
  });

  test("gives the same inputs for the same seed", async () => {
    const seen: string[][] = [[], []];
    for (const list of seen)
      await fuzz(
        numberTarget((bytes) => list.push(bytes.join())),
        9,
        200,
      );
    expect(seen[0]).toEqual(seen[1]);
    expect(new Set(seen[0]).size).toBeGreaterThan(50);
  });
});
