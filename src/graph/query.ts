import type { Db } from "../db/db.ts";
import { resolvePoint } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { parseDocName } from "../ids/names.ts";
import { parsePointer, type Json } from "../documents/json-value.ts";
import { LIMITS } from "../limits.ts";
import { Answers, type GraphAnswer } from "./answer.ts";
import { DbSource, type Visible } from "./db-source.ts";
import { readSchema } from "./schema.ts";
import { Walk, type GraphBounds, type WalkStart } from "./walk.ts";

/** A graph query as it was asked, checked. */
export interface GraphQuery extends WalkStart {
  readonly branch: string | undefined;
  /** The same for queries that ask the same of the same. */
  readonly key: string;
}

export interface GraphRequest {
  readonly doc: string;
  /** A JSON pointer, or keys and indices. */
  readonly path?: string | readonly (string | number)[] | undefined;
  readonly schema: Json;
  readonly max_link_depth?: number | undefined;
  readonly branch?: string | undefined;
}

/** Links followed one after the other unless told. */
export const LINK_DEPTH = 16;

/** Throws NAME_INVALID, PATH_INVALID, BAD_REQUEST, JSON_SCHEMA_INVALID, QUERY_LIMIT. */
export function readGraphQuery(request: GraphRequest, bounds?: Partial<GraphBounds>): GraphQuery {
  const { doc, path = "", max_link_depth: maxDepth = LINK_DEPTH, branch } = request;
  parseDocName(doc);
  const steps = typeof path === "string" ? parsePointer(path) : path.map(String);
  if (!steps) throw new SkaldError("PATH_INVALID", "`path` is no JSON pointer.");
  const { pathSteps } = LIMITS.graph;
  if (steps.length > pathSteps.value)
    throw new SkaldError("BAD_REQUEST", `\`path\` has more than ${pathSteps.value} steps.`);
  const schema = readSchema(request.schema);
  return {
    doc,
    steps,
    schema: schema.root,
    maxDepth,
    branch,
    key: JSON.stringify([doc, steps, maxDepth, branch ?? "main", schema.text]),
    ...(bounds ? { bounds } : {}),
  };
}

export interface GraphResult {
  /** The commit that it holds for. */
  readonly seq: number;
  readonly answer: GraphAnswer;
}

/** Answers a query for a point. Throws what `resolvePoint` and `Walk.begin` throw. */
export async function graphResult(
  db: Db,
  query: GraphQuery,
  at: string | undefined,
  visible: Visible,
  signal?: AbortSignal,
): Promise<GraphResult> {
  await db.locate(at);
  const seq = resolvePoint(db.log, at, query.branch);
  const walk = new Walk(query, db.log.world, signal);
  await walk.begin(new DbSource(db, query.branch, seq, visible));
  return { seq, answer: await new Answers(walk).answer() };
}
