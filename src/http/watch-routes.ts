import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { memberTexts } from "../protocol/json-source.ts";
import { WatchRequest } from "../protocol/watch-wire.ts";
import { jsonText } from "./body.ts";
import { SSE, whole } from "./feed-query.ts";
import { pointQuery } from "./point.ts";
import { watchAnswer, watchedOf } from "./watch-answer.ts";
import type { Route } from "./route.ts";

const { query: bounds, feed: limits } = LIMITS;

export const watchQuery = z.strictObject({
  sql: z.string().meta({ description: "One SELECT, VALUES or WITH that reads." }),
  args: z
    .string()
    .optional()
    .meta({ description: "JSON: a list for `?`, an object for `:name`, as the body's `args` has it." }),
  branch: pointQuery.branch,
  delta: z.enum(["true", "false"]).optional().meta({
    description: "An update says what leads from the rows before to those after, when that is shorter.",
  }),
  since: z.string().min(1).max(bounds.cursorCharacters.value).optional().meta({
    description: "The cursor of an event, to go on from it; or a place in the log whose result is known.",
  }),
  heartbeat: whole(
    limits.heartbeatMsMin.value,
    limits.heartbeatMsMax.value,
    "Milliseconds of silence after which a sign of life is sent; 15000 when left out.",
  ),
});

const tag = "queries";
const PATH = "/db/:db/query/watch";
const answers = { 200: { description: "Events.", types: { [SSE]: "raw" } } } as const;
const description =
  "Server-sent events. `snapshot`: the whole result; `update`: the whole result as it is now, or with `delta` what leads to it from the one before; `resumed`: `since` is the result still; `heartbeat`; `error`, and then it ends. Each has `seq`, the commit that it holds for, `result_hash`, and `cursor`, which is also its `id`: `Last-Event-ID` is honoured.";

/** Live results of SQL. */
export const watchRoutes: readonly Route[] = [
  {
    method: "POST",
    path: PATH,
    summary: "Watch the result of an SQL statement",
    description,
    tag,
    access: "query.read",
    body: { types: { "application/json": WatchRequest } },
    stays: () => true,
    answers,
    handle: (call) => {
      const { delta, ...body } = call.body.value as z.infer<typeof WatchRequest>;
      const args = memberTexts(jsonText(call.body.bytes)).get("args");
      return watchAnswer(call, watchedOf({ ...body, args, delta: delta === true }));
    },
  },
  {
    method: "GET",
    path: PATH,
    summary: "The same for those who can only ask for a URL",
    description: `${description} With an upgrade to a WebSocket each is a text frame, with \`event\` in it.`,
    tag,
    access: "query.read",
    ticket: true,
    query: watchQuery,
    stays: () => true,
    answers,
    handle: (call) => watchAnswer(call, watchedOfUrl(call.query as unknown as z.infer<typeof watchQuery>)),
  },
];

export function watchedOfUrl({ delta, ...query }: z.infer<typeof watchQuery>) {
  return watchedOf({ ...query, delta: delta === "true" });
}
