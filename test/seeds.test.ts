import fc from "fast-check";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { PROGRAMMES, environmentOf } from "./soak/programmes.mjs";
import { CI_SEED, seedOf } from "./support/fault-process.ts";

/** What SKALD_TEST_SEED asks for, or what CI has; nothing elsewhere. */
const { SKALD_TEST_SEED: asked, CI } = process.env;
const expected = asked ?? (CI === undefined ? undefined : CI_SEED);
const twice = <T>(draw: () => T): [T, T] => [draw(), draw()];
const differ = ([one, two]: [unknown, unknown]): boolean => one !== two;

describe("a seed", () => {
  test.each([
    ["a test that draws it itself", seedOf],
    [
      "a property that is given none",
      () =>
        fc.check(
          fc.property(fc.nat(), () => true),
          { numRuns: 1 },
        ).seed,
    ],
  ])("of %s is that of CI there, the one that is asked for, and else always another", (_, draw) => {
    const drawn = twice(draw);
    expect(expected === undefined ? differ(drawn) : drawn).toEqual(
      expected === undefined ? true : [Number(expected), Number(expected)],
    );
  });

  test("is printed with a property that fails", () => {
    const { seed } = fc.check(
      fc.property(fc.nat(), () => true),
      { numRuns: 1 },
    );
    const fails = fc.property(fc.nat(), () => false);
    expect(() => fc.assert(fails, { seed })).toThrow(`seed: ${seed}`);
  });

  test("of a long hunt is always another, also in CI, unless one is given", () => {
    for (const [name, { draws = false }] of Object.entries(PROGRAMMES)) {
      expect(differ(twice(() => environmentOf(name, undefined, { CI: "true" })["SKALD_TEST_SEED"]))).toBe(
        !draws,
      );
      expect(environmentOf(name, "7", { CI: "true" })["SKALD_TEST_SEED"]).toBe("7");
      expect(environmentOf(name, undefined, { SKALD_TEST_SEED: "8" })["SKALD_TEST_SEED"]).toBe("8");
    }
  });
});

test("the hunts name tests that are there", () => {
  const there = (test: string): boolean =>
    [test, `${test}.test.ts`].some((file) => existsSync(path.resolve(file)));
  const named = Object.values(PROGRAMMES).flatMap(({ tests }) => tests);
  expect(named.filter((test) => !there(test))).toEqual([]);
  const sequencer = readFileSync(path.resolve("test/support/longest-first.mjs"), "utf8");
  const longest = [...(/\[([^\]]*)\]/.exec(sequencer)?.[1] ?? "").matchAll(/"([^"]+)"/g)].map(
    ([, name]) => `test/${name}`,
  );
  expect(longest.length).toBeGreaterThan(10);
  expect(longest.filter((test) => !there(test))).toEqual([]);
});
