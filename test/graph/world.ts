import { Answers } from "../../src/graph/answer.ts";
import { writeValue } from "../../src/graph/json.ts";
import type { Absence, DocSource, LoadedDoc } from "../../src/graph/places.ts";
import { readSchema } from "../../src/graph/schema.ts";
import { Walk, type GraphBounds } from "../../src/graph/walk.ts";
import { realWorld } from "../../src/world.ts";
import type { Docs, Found, RawSchema, Value } from "./oracle.ts";

/** Documents in memory, and what a walk through them says. */

/** `SKALD_TEST_GRAPHS` times the cases of CI. */
export const RUNS = Number(process.env["SKALD_TEST_GRAPHS"] ?? 1);

export function sourceOf(docs: Docs, versions: ReadonlyMap<string, number> = new Map()): DocSource {
  return {
    nameOf: (id) => id,
    load: (doc): Promise<LoadedDoc | Absence> => {
      const value = docs.get(doc);
      const heads = [String(versions.get(doc) ?? 0)];
      if (value === undefined) return Promise.resolve("missing");
      const size = writeValue(
        value,
        undefined,
        () => "whole",
        () => {},
      ).length;
      return Promise.resolve({ seq: 1, heads, value, size });
    },
  };
}

export function walkOf(
  schema: RawSchema,
  doc: string,
  maxDepth = 16,
  bounds: Partial<GraphBounds> = {},
): Walk {
  return new Walk({ schema: readSchema(schema).root, doc, steps: [], maxDepth, bounds }, realWorld);
}

export interface Said {
  readonly verdict: string;
  readonly result_hash: string;
  readonly docs: { doc: string; path: string; value: Value }[];
  readonly touched: { doc: string; path: string }[];
  readonly missing: { doc: string; path: string; reason: string }[];
  readonly links: { followed: number; exceeded: number };
  readonly reasons: { doc: string; path: string; schema_path: string; message: string }[];
}

export const said = async (answers: Answers): Promise<Said> =>
  JSON.parse(`{${(await answers.answer()).text}}`) as Said;

export async function ask(docs: Docs, schema: RawSchema, maxDepth?: number): Promise<Said> {
  const walk = walkOf(schema, "d/0", maxDepth);
  await walk.begin(sourceOf(docs));
  return said(new Answers(walk));
}

export function foundBy(answer: Said): Found {
  const names = (list: readonly { doc: string; path: string }[]): string[] =>
    list.map(({ doc, path }) => `${doc} ${path}`).sort();
  return {
    verdict: answer.verdict as Found["verdict"],
    touched: names(answer.touched),
    missing: names(answer.missing),
  };
}

export const link = (id: string, ...path: (string | number)[]): Value => ({
  "/": { "link@1": { id, path } },
});
