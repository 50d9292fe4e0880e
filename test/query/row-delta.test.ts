import { applyDelta } from "../../src/protocol/row-delta.ts";
import { deltaOf, type RowDelta } from "../../src/query/row-delta.ts";
import { seedOf, seeded } from "../support/fault-process.ts";

const runs = Number(process.env["SKALD_TEST_RUNS"] ?? 2000);

/** Rows of a small alphabet, so that many are equal. */
function rows(random: () => number, most: number): string[] {
  return Array.from({ length: Math.floor(random() * most) }, () => `[${Math.floor(random() * 6)}]`);
}

/** Puts some rows elsewhere, takes some out, and puts some in. */
function edited(before: readonly string[], random: () => number): string[] {
  const after = [...before];
  for (let i = Math.floor(random() * 4); i >= 0; i -= 1) {
    const at = Math.floor(random() * (after.length + 1));
    const kind = random();
    if (kind < 0.3) after.splice(at, 1);
    else if (kind < 0.6) after.splice(at, 0, `[${Math.floor(random() * 6)}]`);
    else if (kind < 0.8) after[at] = `[${Math.floor(random() * 6)}]`;
    else after.splice(at, 0, ...after.splice(Math.floor(random() * after.length), 1));
  }
  return after;
}

/** Random lists of rows, applied with `apply`; gives the first that did not come out. */
function firstWrong(apply: (before: readonly string[], delta: RowDelta) => string[]): unknown {
  const random = seeded(seedOf());
  for (let i = 0; i < runs; i += 1) {
    const before = rows(random, 12);
    const after = random() < 0.5 ? edited(before, random) : rows(random, 12);
    const delta = deltaOf(before, after);
    let got: unknown;
    try {
      got = apply(before, delta);
    } catch (error) {
      got = error;
    }
    if (JSON.stringify(got) !== JSON.stringify(after)) return { before, after, delta, got };
    for (const list of [delta.changed, delta.removed, delta.added])
      for (let j = 1; j < list.length; j += 1)
        expect(list[j]?.[0]).toBeGreaterThan(list[j - 1]?.[0] as number);
    for (const [at, row] of delta.removed) expect(before[at]).toBe(row);
    for (const [at, row] of delta.added) expect(after[at]).toBe(row);
  }
  return undefined;
}

test(`a delta applied gives exactly the rows after, equal rows and their order included (${runs} lists)`, () => {
  expect(firstWrong(applyDelta)).toBeUndefined();
});

test("one that takes equal rows for one, or adds at the end, is noticed", () => {
  expect(firstWrong((before, delta) => [...new Set(applyDelta(before, delta))])).toBeDefined();
  expect(
    firstWrong((before, { added, ...rest }) => [
      ...applyDelta(before, { ...rest, added: [] }),
      ...added.map(([, row]) => row),
    ]),
  ).toBeDefined();
});

test("a row that moved, one in the midst that changed and one that went cost no more than themselves", () => {
  const before = Array.from({ length: 1000 }, (_, i) => `[${i}]`);
  const moved = [...before.slice(1, 500), "[0]", ...before.slice(500)];
  expect(deltaOf(before, moved)).toEqual({ changed: [], removed: [[0, "[0]"]], added: [[499, "[0]"]] });
  const changed = before.with(700, "[x]");
  expect(deltaOf(before, changed)).toEqual({ changed: [[700, "[x]"]], removed: [], added: [] });
  expect(deltaOf(before, before.toSpliced(3, 1))).toEqual({ changed: [], removed: [[3, "[3]"]], added: [] });
});

test("a delta of other rows is refused", () => {
  expect(() => applyDelta(["[1]"], { changed: [[1, "[2]"]], removed: [], added: [] })).toThrow(RangeError);
  expect(() => applyDelta(["[1]"], { changed: [], removed: [[5, "[2]"]], added: [] })).toThrow(RangeError);
  expect(() => applyDelta(["[1]"], { changed: [], removed: [], added: [[3, "[2]"]] })).toThrow(RangeError);
});
