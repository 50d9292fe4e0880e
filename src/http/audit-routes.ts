import * as z from "zod";
import { auditAll, auditPage, type AuditFilter, type AuditFound } from "../audit/search.ts";
import { parseTime } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { AuditList, type AuditItem } from "../protocol/audit-wire.ts";
import { nameCursor, nameOfCursor, nextLink, pageQuery } from "./point.ts";
import { formOf, NDJSON, CSV } from "./query-answer.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";

const text = z.string().max(LIMITS.query.prefixCharacters.value).optional();
const PATH = "/api/v1/audit";

export const auditRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/audit",
    summary: "Who did what, when and from where",
    description:
      "Newest first. With `Accept: application/x-ndjson` or `text/csv` everything that fits, or `limit` of it, in one answer. The same entries are documents of the db `_audit`, which `admin.audit` lets one read like any other.",
    tag: "audit",
    access: "admin.audit",
    query: z.strictObject({
      db: text.meta({ description: "Of what was done to this db." }),
      who: text.meta({ description: "An id or a subject." }),
      action: text.meta({ description: "Such as `token.create`, or `token.*`." }),
      since: text.meta({ description: "An RFC 3339 time." }),
      until: text.meta({ description: "An RFC 3339 time." }),
      limit: pageQuery.limit
        .unwrap()
        .optional()
        .meta(pageQuery.limit.meta() ?? {}),
      cursor: pageQuery.cursor,
    }),
    answers: {
      200: {
        description: "A page, or all of it.",
        types: { "application/json": AuditList, [NDJSON]: "raw", [CSV]: "raw" },
      },
    },
    handle: answer,
  },
];

async function answer(call: Call): Promise<Answer> {
  const { db, who, action, since, until, limit, cursor } = call.query as Record<
    string,
    string | undefined
  > & {
    limit?: number;
  };
  const filter: AuditFilter = {
    ...(db === undefined ? {} : { db }),
    ...(who === undefined ? {} : { who }),
    ...(action === undefined ? {} : { action }),
    ...(since === undefined ? {} : { since: timeOf("since", since) }),
    ...(until === undefined ? {} : { until: timeOf("until", until) }),
  };
  const { engine, audit } = call.services;
  // Whoever asks after something was done finds it.
  await audit.flush();
  const form = formOf(call.header("accept"));
  if (form !== "json") {
    const entries = auditAll(engine, filter, limit);
    const type = form === "csv" ? `${CSV}; charset=utf-8; header=present` : NDJSON;
    const headers = { "content-type": type, vary: "accept", "cache-control": "no-store" };
    return { status: 200, headers, body: form === "csv" ? csvOf(entries) : linesOf(entries) };
  }
  const page = await auditPage(
    engine,
    filter,
    cursor === undefined ? undefined : nameOfCursor("audit", cursor),
    limit ?? 100,
  );
  const next = page.after === undefined ? null : nameCursor("audit", page.after);
  return json(
    200,
    { entries: page.entries.map(itemOf), cursor: next },
    { vary: "accept", "cache-control": "no-store", ...nextLink(PATH, call.query, next) },
  );
}

function timeOf(name: string, value: string): number {
  const time = parseTime(value);
  if (time === undefined) throw new SkaldError("BAD_REQUEST", `\`${name}\` is an RFC 3339 time.`);
  return time;
}

function itemOf(found: AuditFound): z.infer<typeof AuditItem> {
  const { id, time, who, subject, action, db, detail, address, request_id, count } = found;
  return {
    id,
    time,
    who,
    subject: subject ?? null,
    action,
    db: db ?? null,
    detail: detail ?? null,
    address: address ?? null,
    request_id: request_id ?? null,
    count: count ?? 1,
  };
}

async function* linesOf(entries: AsyncIterable<AuditFound>): AsyncGenerator<string> {
  for await (const lines of inParts(entries, (found) => `${JSON.stringify(itemOf(found))}\n`)) yield lines;
}

const COLUMNS = [
  "time",
  "who",
  "subject",
  "action",
  "db",
  "detail",
  "address",
  "request_id",
  "count",
  "id",
] as const;

/** RFC 4180, with the columns' names first. */
async function* csvOf(entries: AsyncIterable<AuditFound>): AsyncGenerator<string> {
  yield `${COLUMNS.join()}\r\n`;
  yield* inParts(entries, (found) => {
    const item = itemOf(found);
    return `${COLUMNS.map((column) => cellOf(item[column])).join()}\r\n`;
  });
}

/**
 * People open this in a spreadsheet, which takes what begins so for a formula, and much of it was written by whoever
 * came to the door; the other forms have it as it is.
 */
const FORMULA = /^[=+\-@\t\r]/;

function cellOf(value: string | number | null): string {
  const plain = value === null ? "" : String(value);
  const cell = FORMULA.test(plain) ? `'${plain}` : plain;
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** Parts worth a write of their own. */
const PART_CHARACTERS = 16_384;

async function* inParts(
  entries: AsyncIterable<AuditFound>,
  textOf: (found: AuditFound) => string,
): AsyncGenerator<string> {
  let part = "";
  for await (const found of entries) {
    part += textOf(found);
    if (part.length < PART_CHARACTERS) continue;
    yield part;
    part = "";
  }
  if (part !== "") yield part;
}
