import * as z from "zod";
import { prefixesFor } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import type { Json } from "../documents/json-value.ts";
import { SkaldError } from "../errors.ts";
import { exactJson } from "../graph/exact-json.ts";
import type { Visible } from "../graph/db-source.ts";
import { graphResult, readGraphQuery, type GraphQuery, type GraphResult } from "../graph/query.ts";
import { cidToString } from "../ids/cid.ts";
import { LIMITS } from "../limits.ts";
import { MAIN } from "../log/branches.ts";
import { GraphAnswer, GraphRequest } from "../protocol/graph-wire.ts";
import { checked, jsonText } from "./body.ts";
import { SSE, whole } from "./feed-query.ts";
import { followGraph } from "./graph-stream.ts";
import { cursorAt, pointHeaders } from "./point.ts";
import type { Answer, Call, Route } from "./route.ts";

const JSON_TYPE = "application/json";
const path = "/db/:db/query/graph";
const tag = "query";
const { heartbeatMsMin, heartbeatMsMax } = LIMITS.feed;

const heartbeat = whole(
  heartbeatMsMin.value,
  heartbeatMsMax.value,
  "Milliseconds of silence after which a `heartbeat` is sent; 15000 when left out.",
);

const watched = {
  200: { description: "`snapshot`, then `update`s.", types: { [SSE]: "raw" as const } },
};
const description =
  "Server-sent events: `snapshot` with the answer of `…/query/graph`, `update` with the answer whenever its `result_hash` is another, `heartbeat` with `{seq, cursor, result_hash}`, and `error` with `{code, detail, seq, cursor}` as the last. `Last-Event-ID` is honoured: no `snapshot` when the answer is still the one that the client has.";

/** A JSON Schema that walks a document and, through links, others: specs/26-graph.md. */
export const graphRoutes: readonly Route[] = [
  {
    method: "POST",
    path,
    summary: "Ask a JSON Schema of a document and of what it links to",
    description:
      "The schema is asked of the value at `path` and, wherever it looks at a link, of what the link leads to. `docs` has what it looked at.",
    tag,
    access: "doc.read",
    partial: true,
    body: { types: { [JSON_TYPE]: GraphRequest } },
    answers: { 200: { description: "The verdict.", types: { [JSON_TYPE]: GraphAnswer } } },
    handle: (call) =>
      call.db(async (db) => {
        const { query, at } = queryIn(call, jsonText(call.body.bytes));
        const result = await graphResult(db, query, at, visibleTo(call, db.id), call.signal);
        return answerOf(db, query, result);
      }),
  },
  {
    method: "POST",
    path: `${path}/watch`,
    summary: "Watch a graph query",
    description,
    tag,
    access: "doc.read",
    partial: true,
    ticket: true,
    stays: () => true,
    query: z.strictObject({ heartbeat }),
    body: { types: { [JSON_TYPE]: GraphRequest } },
    answers: watched,
    handle: (call) => watch(call, jsonText(call.body.bytes)),
  },
  {
    method: "GET",
    path: `${path}/watch`,
    summary: "Watch a graph query, for EventSource",
    description: `\`q\` is the request as JSON. ${description}`,
    tag,
    access: "doc.read",
    partial: true,
    ticket: true,
    stays: () => true,
    query: z.strictObject({ q: z.string().max(LIMITS.graph.queryCharacters.value), heartbeat }),
    answers: watched,
    handle: (call) => watch(call, call.query["q"] as string),
  },
];

function watch(call: Call, text: string): Promise<Answer> {
  const { query, at } = queryIn(call, text);
  if (at !== undefined) throw new SkaldError("BAD_REQUEST", "`at` is not of a watch, which goes on.");
  return followGraph(call, query, visibleTo(call, call.params["db"] as string), resultText);
}

/** The query of a text, whose numbers are taken as they were written. Throws BAD_JSON, BAD_REQUEST and more. */
function queryIn(call: Call, text: string): { query: GraphQuery; at: string | undefined } {
  let value: Json;
  try {
    value = exactJson(text);
  } catch (cause) {
    throw new SkaldError("BAD_JSON", `The query is not JSON: ${(cause as Error).message}.`, { cause });
  }
  const where = call.body.type === "" ? "query" : "body";
  const request = checked(GraphRequest, value, where) as z.infer<typeof GraphRequest>;
  if (request.schema === undefined)
    throw new SkaldError("BAD_REQUEST", `The ${where} has no \`schema\`.`, {
      details: { errors: [{ pointer: "/schema", message: "is missing" }] },
    });
  return { query: readGraphQuery({ ...request, schema: request.schema as Json }), at: request.at };
}

function visibleTo(call: Call, dbId: string): Visible {
  const seen = prefixesFor(call.principal, "doc.read", dbId);
  return seen === "none" ? [] : seen;
}

function answerOf(db: Db, query: GraphQuery, result: GraphResult): Answer {
  return {
    status: 200,
    headers: { "content-type": JSON_TYPE, ...pointHeaders(db, result.seq) },
    body: resultText(db, query, result),
  };
}

/** An answer as JSON. */
function resultText(db: Db, { branch }: GraphQuery, { seq, answer }: GraphResult): string {
  const cid = seq > 0 ? db.log.commit(seq)?.cid : undefined;
  const point = {
    seq,
    commit: cid ? cidToString(cid) : null,
    cursor: cursorAt(db, seq),
    branch: branch ?? MAIN,
  };
  return `${JSON.stringify(point).slice(0, -1)},${answer.text}}`;
}
