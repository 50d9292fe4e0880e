import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { GraphWatches } from "../../src/graph/graph-watches.ts";
import type { GraphMember } from "../../src/graph/graph-watch.ts";
import { graphResult, readGraphQuery, type GraphQuery, type GraphResult } from "../../src/graph/query.ts";
import { nextTurn, realWorld } from "../../src/world.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import type { RawSchema, Value } from "./oracle.ts";
import { RUNS, link } from "./world.ts";

const engine = new Engine({ dir: path.join(tempDir(), "data"), reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());

const TASK: RawSchema = {
  properties: { of: { $ref: "#/$defs/task" }, all: { items: { $ref: "#/$defs/task" } } },
  $defs: {
    task: {
      type: "object",
      properties: {
        n: { type: "integer", maximum: 5 },
        next: { anyOf: [{ type: "null" }, { $ref: "#/$defs/task" }] },
      },
    },
  },
};

const put = (db: Db, doc: string, value: Value, branch?: string): Promise<unknown> =>
  db.tx({
    author: "a",
    writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }],
    ...(branch === undefined ? {} : { branch }),
  });
const drop = (db: Db, doc: string): Promise<unknown> =>
  db.tx({ author: "a", writes: [{ doc, delete: true }] });

interface Heard extends GraphMember {
  readonly results: GraphResult[];
  readonly errors: unknown[];
}
function listener(): Heard {
  const results: GraphResult[] = [];
  const errors: unknown[] = [];
  return { results, errors, take: (result) => results.push(result), fail: (error) => errors.push(error) };
}

/** What the answer would be at each commit from one on. */
async function replay(db: Db, query: GraphQuery, from: number): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (let seq = from; seq <= db.log.head().seq; seq += 1) {
    if (!db.log.isOn(seq, query.branch)) continue;
    found.set(seq, (await graphResult(db, query, String(seq), "all")).answer.hash);
  }
  return found;
}

/** Complains of a stream of results that is not the one of its commits. */
function complaints(heard: Heard, answers: ReadonlyMap<number, string>): string[] {
  const found = heard.results.flatMap(({ seq, answer }, i) => [
    ...(answers.get(seq) === answer.hash ? [] : [`at ${seq} it was another`]),
    ...(heard.results[i - 1]?.answer.hash === answer.hash ? [`at ${seq} nothing changed`] : []),
    ...((heard.results[i - 1]?.seq ?? -1) >= seq ? [`${seq} came late`] : []),
  ]);
  const last = [...answers.values()].at(-1);
  return heard.results.at(-1)?.answer.hash === last ? found : [...found, "the last is missing"];
}

describe("what a watch gives while others write", () => {
  const seed = seedOf();

  /** Random edits; `told` decides which commits' documents the watches hear of. */
  async function scenario(
    db: Db,
    edits: number,
    seedNow: number,
    told?: (doc: string) => boolean,
  ): Promise<string[]> {
    const random = seeded(seedNow);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
    const names = ["t/0", "t/1", "t/2", "t/3"];
    const value = (): Value => ({
      n: pick([1, 2, 6, "x"]),
      next: random() < 0.5 ? null : link(pick(names)),
      note: Math.floor(random() * 3),
    });
    await put(db, "p/0", { of: link("t/0"), all: [link("t/1"), link("t/9")] });
    const watches = new GraphWatches();
    const query = readGraphQuery({ doc: "p/0", schema: TASK, max_link_depth: 3 });
    const from = db.log.head().seq;
    const original = db.log.commits.bind(db.log);
    // A log that leaves documents out of what it tells is a broken build: seen red below.
    if (told)
      db.log.commits = (at, limit) =>
        original(at, limit).map((stored) => ({
          ...stored,
          commit: { ...stored.commit, entries: stored.commit.entries.filter(({ doc }) => told(doc)) },
        }));
    const first = listener();
    const ends = [watches.watch(db, query, "all", first)];
    const late: Heard[] = [];
    const under: Promise<unknown>[] = [];
    for (let i = 0; i < edits; i += 1) {
      const doc = random() < 0.1 ? "t/9" : random() < 0.1 ? "p/0" : pick(names);
      const written =
        doc === "p/0"
          ? put(db, doc, { of: link(pick(names)), all: [link(pick(names))] })
          : random() < 0.2 && db.log.state(doc)?.deleted === false
            ? drop(db, doc)
            : put(db, doc, value());
      // What is deleted twice is refused.
      const writing = written.catch(() => {});
      // Some wait for each other, others come in a burst.
      if (random() < 0.7) await writing;
      else under.push(writing);
      if (random() < 0.1) {
        const other = listener();
        late.push(other);
        ends.push(watches.watch(db, query, "all", other));
      }
      expect(watches.count(db)).toBe(1);
    }
    await Promise.all(under);
    await put(db, "x/last", { i: 1 });
    const fresh = listener();
    ends.push(watches.watch(db, query, "all", fresh));
    while (fresh.results.length === 0 && fresh.errors.length === 0) await nextTurn(realWorld);
    db.log.commits = original;
    for (const end of ends) end.leave();
    expect(watches.count(db)).toBe(0);
    expect(watches.kept.places).toBe(0);
    const answers = await replay(db, query, from);
    return [first, ...late, fresh].flatMap((heard) => complaints(heard, answers));
  }

  test(`is what a query says at each commit that it names (SKALD_TEST_SEED=${seed})`, async () => {
    for (let i = 0; i < RUNS; i += 1) {
      await engine.create(`walk${i}`);
      expect(await engine.use(`walk${i}`, (db) => scenario(db, 30, seed + i))).toEqual([]);
    }
  });

  test("and one that does not hear of some documents is found out", async () => {
    const found: string[] = [];
    for (let i = 0; i < 5 && found.length === 0; i += 1) {
      await engine.create(`deaf${i}`);
      found.push(
        ...(await engine.use(`deaf${i}`, (db) => scenario(db, 30, seed + i, (doc) => doc !== "t/1"))),
      );
    }
    expect(found.length).toBeGreaterThan(0);
  });
});

describe("who watches", () => {
  const settled = async (heard: readonly Heard[], count: number): Promise<void> => {
    while (heard.some(({ results, errors }) => results.length < count && errors.length === 0))
      await nextTurn(realWorld);
  };

  test("the same, a thousand times, is worked out once; and not at all for what it does not look at", async () => {
    await engine.create("many");
    await engine.use("many", async (db) => {
      await put(db, "p/0", { of: link("t/0") });
      await put(db, "t/0", { n: 1 });
      const watches = new GraphWatches();
      // The order of keywords and what is said beside them make no other query.
      const texts: RawSchema[] = [
        { properties: { of: { type: "object", required: ["n"] } } },
        { properties: { of: { required: ["n"], title: "A task", type: "object" } }, "x-own": 1 },
      ];
      const heard = Array.from({ length: 1000 }, listener);
      const ends = heard.map((member, i) =>
        watches.watch(db, readGraphQuery({ doc: "p/0", schema: texts[i % 2] as RawSchema }), "all", member),
      );
      await settled(heard, 1);
      expect([watches.count(db), watches.kept.evaluations]).toEqual([1, 1]);
      for (let i = 0; i < 5; i += 1) await put(db, `other/${i}`, { i });
      await settled(heard, 1);
      expect(watches.kept.evaluations).toBe(1);
      await put(db, "t/0", { m: 1 });
      await settled(heard, 2);
      expect(watches.kept.evaluations).toBe(2);
      expect(new Set(heard.flatMap(({ results }) => results.map(({ answer }) => answer.verdict)))).toEqual(
        new Set(["yes", "no"]),
      );
      for (const end of ends) end.leave();
      expect(watches.kept).toMatchObject({ places: 0 });
    });
  });

  test("as another who may see less gets what that one may see", async () => {
    await engine.create("seen");
    await engine.use("seen", async (db) => {
      await put(db, "p/0", { of: link("t/0") });
      await put(db, "t/0", { n: 1 });
      const watches = new GraphWatches();
      const query = readGraphQuery({ doc: "p/0", schema: TASK });
      const [all, some] = [listener(), listener()];
      const ends = [watches.watch(db, query, "all", all), watches.watch(db, query, ["p/"], some)];
      await settled([all, some], 1);
      expect([all, some].map(({ results }) => results[0]?.answer.verdict)).toEqual(["yes", "no"]);
      await put(db, "t/0", { n: 2 });
      await put(db, "p/0", { of: link("t/1") });
      await settled([all], 3);
      await settled([some], 2);
      expect(some.results[1]?.answer.text).toContain(
        '"missing":[{"doc":"t/1","path":"","reason":"missing"}]',
      );
      for (const end of ends) end.leave();
    });
  });

  test("a branch hears of its own commits and of erasures, not of what its parent has written since", async () => {
    await engine.create("branched");
    await engine.use("branched", async (db) => {
      await put(db, "p/0", { of: link("t/0") });
      await put(db, "t/0", { n: 1 });
      const make = (): Promise<unknown> => db.log.createBranch("draft", { author: "a" });
      await make();
      const watches = new GraphWatches();
      const onBranch = readGraphQuery({ doc: "p/0", schema: TASK, branch: "draft" });
      const [draft, main] = [listener(), listener()];
      watches.watch(db, onBranch, "all", draft);
      const end = watches.watch(db, readGraphQuery({ doc: "p/0", schema: TASK }), "all", main);
      await settled([draft, main], 1);
      await put(db, "t/0", { n: 2 });
      await settled([main], 2);
      await put(db, "t/0", { n: 9 }, "draft");
      await settled([draft], 2);
      expect(draft.results.map(({ answer }) => answer.verdict)).toEqual(["yes", "no"]);
      await db.erase({ author: "a", docs: ["t/0"] });
      await settled([draft, main], 3);
      expect(draft.results[2]?.answer.text).toContain('"reason":"erased"');
      expect(main.results).toHaveLength(3);
      // Another branch of its name is another.
      await db.log.deleteBranch("draft", { author: "a" });
      await make();
      await settled([draft], 4);
      expect(draft.errors).toMatchObject([{ code: "BRANCH_NOT_FOUND" }]);
      await put(db, "p/0", { of: null });
      await settled([main], 4);
      expect([main.errors, watches.count(db)]).toEqual([[], 1]);
      end.leave();
    });
  });
});
