import fc from "fast-check";
import { Answers } from "../../src/graph/answer.ts";
import { DOCS, anyDocs, linked, schemas } from "./generate.ts";
import type { Docs, RawSchema, Value } from "./oracle.ts";
import { RUNS, ask, link, said, sourceOf, walkOf } from "./world.ts";

type Edit = [string, Value | undefined];

const edits: fc.Arbitrary<Edit[][]> = fc.array(
  fc.array(
    fc.tuple(fc.constantFrom(...DOCS, "d/none"), fc.option(linked(DOCS), { freq: 5, nil: undefined })),
    { minLength: 1, maxLength: 2 },
  ),
  { minLength: 1, maxLength: 6 },
);

/**
 * A walk that goes on after each of some edits, beside one from nothing; the first answers that differ, if any.
 * `told` is what the walk hears of an edit.
 */
async function compared(
  schema: RawSchema,
  docs: Docs,
  steps: readonly Edit[][],
  depth: number,
  told: (names: string[]) => string[] = (names) => names,
): Promise<unknown> {
  const now = new Map(docs);
  const versions = new Map<string, number>();
  const walk = walkOf(schema, "d/0", depth);
  await walk.begin(sourceOf(now, versions));
  const answers = new Answers(walk);
  await said(answers);
  for (const step of steps) {
    for (const [doc, value] of step) {
      versions.set(doc, (versions.get(doc) ?? 0) + 1);
      if (value === undefined) now.delete(doc);
      else now.set(doc, value);
    }
    await walk.update(sourceOf(now, versions), told(step.map(([doc]) => doc)));
    const fresh = walkOf(schema, "d/0", depth);
    await fresh.begin(sourceOf(now, versions));
    const [own, other] = [await said(answers), await said(new Answers(fresh))];
    if (JSON.stringify(own) !== JSON.stringify(other) || walk.size !== fresh.size)
      return { own, other, sizes: [walk.size, fresh.size] };
  }
  return undefined;
}

describe("a walk that goes on after edits says what a new one says", () => {
  test("of documents that link to each other as they like", async () => {
    await fc.assert(
      fc.asyncProperty(
        schemas({ denies: true, refs: true }),
        anyDocs,
        edits,
        fc.integer({ min: 0, max: 5 }),
        async (schema, docs, steps, depth) => {
          expect(await compared(schema, docs, steps, depth)).toBeUndefined();
        },
      ),
      { numRuns: 200 * RUNS },
    );
  });

  test("and one that does not hear of some edits is found out", async () => {
    const broken = fc.asyncProperty(
      schemas({ denies: true, refs: true }),
      anyDocs,
      edits,
      fc.integer({ min: 0, max: 5 }),
      async (schema, docs, steps, depth) =>
        (await compared(schema, docs, steps, depth, (names) => names.slice(1))) === undefined,
    );
    const result = await fc.check(broken, { numRuns: 400, endOnFailure: true });
    expect(result.failed).toBe(true);
  });
});

describe("what a change costs", () => {
  const schema: RawSchema = {
    properties: {
      tasks: {
        items: { required: ["title"], properties: { title: { type: "string" }, done: { const: true } } },
      },
    },
  };
  const many = 1000;
  const task = (i: number): Value => ({ title: `task ${i}`, done: true, note: "" });

  async function project(): Promise<{ docs: Map<string, Value>; names: string[] }> {
    const names = Array.from({ length: many }, (_, i) => `t/${i}`);
    const docs = new Map<string, Value>(names.map((name, i) => [name, task(i)]));
    docs.set("d/0", { tasks: names.map((name) => link(name)) });
    return Promise.resolve({ docs, names });
  }

  test("one of a thousand linked documents costs what depends on it alone", async () => {
    const { docs } = await project();
    const versions = new Map<string, number>();
    const walk = walkOf(schema, "d/0");
    await walk.begin(sourceOf(docs, versions));
    const answers = new Answers(walk);
    expect((await said(answers)).verdict).toBe("yes");
    const all = { looked: walk.looked, settled: walk.settled, parts: answers.parts };
    expect(all).toEqual({ looked: 4002, settled: 4002, parts: 1001 });

    const cost = async (value: Value): Promise<object> => {
      const before = { looked: walk.looked, settled: walk.settled, parts: answers.parts };
      docs.set("t/500", value);
      versions.set("t/500", (versions.get("t/500") ?? 0) + 1);
      await walk.update(sourceOf(docs, versions), ["t/500"]);
      await said(answers);
      return {
        looked: walk.looked - before.looked,
        settled: walk.settled - before.settled,
        parts: answers.parts - before.parts,
      };
    };
    // The task, its title and `done`; and up from there the link, the list and the project.
    expect(await cost({ title: "other", done: true })).toEqual({ looked: 3, settled: 0, parts: 1 });
    expect(await cost({ title: "other", done: false })).toEqual({ looked: 3, settled: 5, parts: 1 });
    expect(walk.verdict).toBe(0);
    expect(await cost({ title: "other", done: true })).toEqual({ looked: 3, settled: 5, parts: 1 });
    expect(walk.verdict).toBe(2);
    expect(await cost({ title: "other", done: true, note: "no" })).toEqual({
      looked: 3,
      settled: 0,
      parts: 1,
    });
  });

  test("a place that many links lead to is looked at once with a sub-schema", async () => {
    const docs = new Map<string, Value>([
      ["d/0", { tasks: Array.from({ length: 100 }, () => link("t/0")) }],
      ["t/0", task(0)],
    ]);
    const walk = walkOf(schema, "d/0");
    await walk.begin(sourceOf(docs));
    expect(walk.looked).toBe(2 + 100 + 3);
    // However its keywords stand, and whatever it says beside them.
    const again = walkOf(
      {
        properties: {
          tasks: {
            allOf: [
              { items: { type: "object", required: ["title"], title: "A task" } },
              { items: { required: ["title"], "x-own": 1, type: "object" } },
            ],
          },
        },
      },
      "d/0",
    );
    await again.begin(sourceOf(docs));
    expect(again.looked).toBe(3 + 100 + 1);
  });
});

test("a circle that holds as long as nothing denies it is let go and taken up again", async () => {
  const schema: RawSchema = { required: ["ok"], properties: { next: { $ref: "#" } } };
  const ring = (i: number, more: Record<string, Value> = { ok: true }): [string, Value] => [
    `d/${i}`,
    { ...more, next: link(`d/${(i + 1) % 5}`) },
  ];
  const docs = new Map(Array.from({ length: 5 }, (_, i) => ring(i)));
  expect(await ask(docs, schema)).toMatchObject({ verdict: "yes", links: { followed: 5, exceeded: 0 } });
  expect(await ask(docs, schema, 3)).toMatchObject({
    verdict: "maybe exceeded depth",
    links: { followed: 3, exceeded: 1 },
    reasons: [{ doc: "d/3", path: "/next" }],
  });
  docs.set(...ring(3, {}));
  expect(await ask(docs, schema)).toMatchObject({
    verdict: "no",
    reasons: [{ doc: "d/3", path: "", schema_path: "/required", message: "needs ok" }],
  });
});
