import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import { Answers } from "../../src/graph/answer.ts";
import { GraphWatches } from "../../src/graph/graph-watches.ts";
import type { DocSource } from "../../src/graph/places.ts";
import { readGraphQuery } from "../../src/graph/query.ts";
import { readSchema } from "../../src/graph/schema.ts";
import { Walk } from "../../src/graph/walk.ts";
import { realWorld } from "../../src/world.ts";
import type { RawSchema, Value } from "../graph/oracle.ts";
import { link, said, sourceOf, walkOf, type Said } from "../graph/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { codeOf, outcomeIn, outcomeOf, type Outcome, type ProbeSpec } from "./probe.ts";
import { DB, ask } from "./server.ts";

const asked = async (more: object): Promise<Outcome> =>
  outcomeIn(await ask("POST", `${DB}/query/graph`, { body: { doc: "k/seed", schema: true, ...more } }));

/** What a walk of a document, and of others beside it, says. */
async function walked(schema: RawSchema, value: Value, others: [string, Value][] = []): Promise<Said> {
  // A busy machine must not reach the limit on time first.
  const walk = walkOf(schema, "d/0", 16, { timeMs: Infinity });
  await walk.begin(sourceOf(new Map([["d/0", value], ...others])));
  return said(new Answers(walk));
}

const zeros = (count: number): number[] => Array<number>(count).fill(0);

/** A walk that takes `n` steps: one for the list, two and the values of a constant for each element, and the rest. */
function steps(n: number): Promise<Said> {
  const each = 98;
  const elements = Math.floor((n - 1) / (each + 2));
  const rest = n - 1 - elements * (each + 2);
  const items = { const: zeros(each - 1) };
  return walked(rest === 0 ? { items } : { items, const: zeros(rest - 1) }, zeros(elements));
}

async function watched(places: number, most: number): Promise<Outcome> {
  const engine = new Engine({ dir: path.join(tempDir(), "data"), reserve: 0, documents: { workers: 1 } });
  try {
    await engine.create("n");
    return await engine.use("n", async (db) => {
      const value = JSON.stringify({ list: zeros(places - 2) });
      await db.tx({ author: "a", writes: [{ doc: "d/0", edit: { kind: "put", value } }] });
      const schema = { properties: { list: { items: { type: "number" } } } };
      return new Promise<Outcome>((resolve) => {
        new GraphWatches(most).watch(db, readGraphQuery({ doc: "d/0", schema }), "all", {
          take: () => resolve("ok"),
          fail: (error) => resolve(codeOf(error)),
        });
      });
    });
  } finally {
    await engine.close();
  }
}

export const graphProbes: Readonly<Record<string, ProbeSpec>> = {
  linkDepth: { cheap: true, run: (n) => asked({ max_link_depth: n }) },
  pathSteps: { cheap: true, run: (n) => asked({ path: Array<string>(n).fill("a") }) },
  queryCharacters: {
    cheap: true,
    run: async (n) => {
      const q = '{"doc":"a/b","schema":true}';
      const text = encodeURIComponent(q) + "+".repeat(n - q.length);
      const reply = await ask("HEAD", `${DB}/query/graph/watch?q=${text}`);
      return reply.status === 200 ? "ok" : reply.status === 400 ? "BAD_REQUEST" : String(reply.status);
    },
  },
  schemaLevels: {
    cheap: true,
    run: (n) => {
      let schema: RawSchema = {};
      for (let i = 1; i < n; i += 1) schema = { not: schema };
      return outcomeOf(() => readSchema(schema));
    },
  },
  schemaCharacters: {
    cheap: true,
    run: (n) => outcomeOf(() => readSchema({ const: "x".repeat(n - '{"const":""}'.length) })),
  },
  schemas: {
    cheap: true,
    run: (n) =>
      outcomeOf(() => readSchema({ anyOf: Array.from({ length: n - 1 }, (_, i) => ({ minimum: i })) })),
  },
  places: { run: (n) => outcomeOf(() => walked({ items: { type: "number" } }, zeros(n - 1))) },
  documents: {
    run: (n) => {
      const names = Array.from({ length: n - 1 }, (_, i) => `t/${i}`);
      const list = names.map((name) => link(name));
      return outcomeOf(() => walked({ items: { type: "number" } }, list, [[names[0] as string, 1]]));
    },
  },
  readCharacters: {
    cheap: true,
    run: (n) => {
      const source: DocSource = {
        nameOf: (id) => id,
        load: () => Promise.resolve({ seq: 1, heads: [], value: 0, size: n }),
      };
      return outcomeOf(() => walkOf(true, "d/0").begin(source));
    },
  },
  steps: { run: (n) => outcomeOf(() => steps(n)) },
  timeMs: {
    cheap: true,
    run: (n) => {
      let now = 0;
      const world = { ...realWorld, monotonic: () => now };
      const walk = new Walk({ schema: readSchema(true).root, doc: "d/0", steps: [], maxDepth: 1 }, world);
      const source = sourceOf(new Map([["d/0", 0]]));
      return outcomeOf(() =>
        walk.begin({
          nameOf: (id) => id,
          load: (doc) => {
            now = n;
            return source.load(doc);
          },
        }),
      );
    },
  },
  answerCharacters: { run: (n) => outcomeOf(() => walked(true, "x".repeat(n - 2))) },
  touched: {
    cheap: true,
    run: async (n) => {
      const { touched } = await walked({ items: { type: "number" } }, zeros(n - 1));
      return touched.length === n ? "ok" : "shorter";
    },
  },
  reasons: {
    cheap: true,
    run: async (n) => {
      const { reasons } = await walked({ items: false }, zeros(n));
      return reasons.length === n ? "ok" : "shorter";
    },
  },
  watchedPlaces: { made: 12, run: (n) => watched(n, 12) },
};
