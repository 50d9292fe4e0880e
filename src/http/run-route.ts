import * as z from "zod";
import { SkaldError } from "../errors.ts";
import { sha256Hex } from "../ids/hash.ts";
import { SqlRows } from "../protocol/query-wire.ts";
import { notModified } from "./etag.ts";
import { argsOfUrl } from "./query-args.ts";
import { CSV, NDJSON, given, rowsAnswer, type Form } from "./query-answer.ts";
import { pointHeaders, pointQuery } from "./point.ts";
import type { Answer, Call, Route } from "./route.ts";
import { find } from "./statement-routes.ts";

/** Runs a stored statement by its name: what a page, a spreadsheet or a chart is pointed at. */
export const runRoute: Route = {
  method: "GET",
  path: "/db/:db/query/:name.:form",
  summary: "Run a stored statement",
  description:
    "`<name>.json`, `<name>.csv` or `<name>.ndjson`. Its parameters stand in the URL: `?most=10` for `:most`, where a JSON number, `null`, `true`, `false` and a JSON string in its quotes are that and everything else is text. A ticket of `query.run` will do in the place of a token.",
  tag: "queries",
  access: "query.run",
  or: ["query.read"],
  ticket: true,
  resource: (params) => params["name"] ?? "",
  query: z.object(pointQuery).catchall(z.string()),
  answers: {
    200: {
      description: "The rows.",
      types: { "application/json": SqlRows, [NDJSON]: "raw", [CSV]: "raw" },
    },
    304: { description: "Still what If-None-Match names." },
  },
  handle: run,
};

const FORMS: ReadonlySet<string> = new Set<Form>(["json", "ndjson", "csv"]);

async function run(call: Call): Promise<Answer> {
  const form = call.params["form"] ?? "";
  if (!FORMS.has(form))
    throw new SkaldError(
      "NOT_FOUND",
      `A stored statement answers as .json, .ndjson and .csv, not as .${form.slice(0, 20)}.`,
    );
  return call.db(async (db) => {
    const { sql } = find(call, db);
    const { at, branch, ...named } = call.query as Record<string, string>;
    const asked = { sql, args: argsOfUrl(named), ...given({ at, branch }) };
    // What it says may be another thing each time.
    const changing = CHANGING.test(sql);
    const tag = (seq: number): string => etagOf(seq, [sql, form, call.query]);
    const now = db.log.head().seq;
    if (!changing && at === undefined && notModified(call.header("if-none-match"), tag(now)))
      return { status: 304, headers: { ...pointHeaders(db, now), etag: tag(now) } };
    return rowsAnswer(call, db, asked, form as Form, (seq) => (changing ? {} : { etag: tag(seq) }));
  });
}

/** Functions of the moment and of chance, as they are written; a word of them in a text does no harm. */
const CHANGING =
  /\b(?:random|randomblob|now|current_(?:date|time|timestamp))\b|\b(?:date|time|datetime|julianday|unixepoch)\s*\(\s*\)/i;

/** Of all that the answer is made of: the same statement with the same arguments on the same state. */
function etagOf(seq: number, of: unknown): string {
  return `"${seq}.${sha256Hex(Buffer.from(JSON.stringify(of))).slice(0, 24)}"`;
}
