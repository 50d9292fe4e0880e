import fc from "fast-check";
import { acyclic, anyDocs, plain, schemas } from "./generate.ts";
import { matches, search } from "./oracle.ts";
import { RUNS, ask, foundBy } from "./world.ts";

describe("a verdict", () => {
  test("on a value without links is that of a plain validator", async () => {
    await fc.assert(
      fc.asyncProperty(schemas({ denies: true, refs: false }), plain, async (schema, value) => {
        const answer = await ask(new Map([["d/0", value]]), schema);
        expect(answer.verdict).toBe(matches(schema, schema, value) ? "yes" : "no");
      }),
      { numRuns: 200 * RUNS },
    );
  });

  test("on documents that link to each other in circles is that of the definition", async () => {
    const tally: Record<string, number> = {};
    await fc.assert(
      fc.asyncProperty(
        schemas({ denies: false, refs: true }),
        anyDocs,
        fc.integer({ min: 0, max: 4 }),
        async (schema, docs, depth) => {
          const found = search(docs, schema, "d/0", depth);
          expect(foundBy(await ask(docs, schema, depth))).toEqual(found);
          tally[found.verdict] = (tally[found.verdict] ?? 0) + 1;
        },
      ),
      { numRuns: 200 * RUNS },
    );
    if (RUNS > 1) process.stderr.write(`${JSON.stringify(tally)}\n`);
    expect(Object.keys(tally).length).toBe(3);
  });

  test("with `not` and `oneOf` too, where no circle goes through them", async () => {
    await fc.assert(
      fc.asyncProperty(
        schemas({ denies: true, refs: false }),
        acyclic,
        fc.integer({ min: 0, max: 4 }),
        async (schema, docs, depth) => {
          expect(foundBy(await ask(docs, schema, depth))).toEqual(search(docs, schema, "d/0", depth));
        },
      ),
      { numRuns: 200 * RUNS },
    );
  });
});
