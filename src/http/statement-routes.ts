import * as z from "zod";
import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { writeEvents } from "../db/write-events.ts";
import { SkaldError } from "../errors.ts";
import { checkStatementName } from "../ids/names.ts";
import type { StoredStatement } from "../log/log.ts";
import { Receipt } from "../protocol/wire.ts";
import { StatementInfo, StatementList, StatementPut } from "../protocol/query-wire.ts";
import { parametersOf } from "../query/binding.ts";
import { classify } from "../query/statement.ts";
import { iso, nameCursor, nameOfCursor, nextLink, pageQuery, pointHeaders } from "./point.ts";
import { callerOf, counted } from "./query-answer.ts";
import { json, type Answer, type Call, type Params, type Route } from "./route.ts";
import { dryRunQuery, idempotencyKey, receiptJson } from "./tx-routes.ts";

const tag = "queries";
const list = "/db/:db/query/statements";
const one = `${list}/:name`;

/** Parameters of a statement's URL that are none of the statement's. */
export const RESERVED: ReadonlySet<string> = new Set(["at", "branch", "ticket", "token", "access_token"]);

const named = (params: Params): string => params["name"] ?? "";

export const statementRoutes: readonly Route[] = [
  {
    method: "GET",
    path: list,
    summary: "List the stored statements that the caller may run",
    tag,
    access: "query.run",
    or: ["query.read", "query.admin"],
    partial: true,
    query: z.strictObject(pageQuery),
    answers: { 200: { description: "A page.", types: { "application/json": StatementList } } },
    handle: (call) => call.db((db) => listStatements(call, db)),
  },
  {
    method: "GET",
    path: one,
    summary: "A stored statement",
    tag,
    access: "query.run",
    or: ["query.read", "query.admin"],
    resource: named,
    answers: { 200: { description: "The statement.", types: { "application/json": StatementInfo } } },
    handle: (call) =>
      call.db((db) => json(200, infoOf(db, find(call, db)), pointHeaders(db, db.log.head().seq))),
  },
  {
    method: "PUT",
    path: one,
    summary: "Give a statement that reads a name, or another one to that name",
    description:
      "Its parameters have names (`:most`), which are the parameters of its URL. Those who may run it need not be able to read anything else.",
    noted: "statement.save",
    tag,
    access: "query.admin",
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": StatementPut } },
    answers: {
      200: { description: "Replaced, or as it was.", types: { "application/json": StatementInfo } },
      201: { description: "Made.", types: { "application/json": StatementInfo } },
    },
    handle: (call) => call.db((db) => save(call, db)),
  },
  {
    method: "DELETE",
    path: one,
    summary: "Take a statement's name away",
    noted: "statement.delete",
    tag,
    access: "query.admin",
    query: z.strictObject(dryRunQuery),
    answers: { 200: { description: "Durable.", types: { "application/json": Receipt } } },
    handle: (call) =>
      call.db(async (db) => {
        const { name } = find(call, db);
        return json(
          200,
          receiptJson(
            db,
            await writeEvents(db, { ...stepOf(call), events: [{ type: "query.remove", name }] }),
          ),
        );
      }),
  },
];

/** The stored statement that the path names. Throws STATEMENT_NOT_FOUND. */
export function find(call: Pick<Call, "params">, db: Db): StoredStatement {
  const name = call.params["name"] ?? "";
  const found = db.log.statement(name);
  if (found) return found;
  throw new SkaldError("STATEMENT_NOT_FOUND", `There is no stored statement ${name.slice(0, 80)}.`);
}

function stepOf(call: Call): { author: string; dryRun: boolean; clientTxId?: string } {
  const clientTxId = idempotencyKey(call);
  return {
    author: call.principal.subject,
    dryRun: call.query["dry_run"] === "true",
    ...(clientTxId === undefined ? {} : { clientTxId }),
  };
}

async function save(call: Call, db: Db): Promise<Answer> {
  const name = checkStatementName(call.params["name"] ?? "");
  const { sql, description } = call.body.value as z.infer<typeof StatementPut>;
  const before = db.log.statement(name);
  const parameters = checkSaved(sql);
  // Made and not run: it names no table and no function that is not there or not for statements from outside.
  const args = Object.fromEntries(parameters.map((parameter) => [parameter, null]));
  const trial = { sql: `EXPLAIN ${sql}`, args, ...callerOf(call) };
  await counted(call, "read", () => call.services.queries.exec(db, trial, call.signal));
  const same = before?.sql === sql && before.description === description;
  const event = { type: "query.save", name, sql, description } as const;
  const receipt = same ? undefined : await writeEvents(db, { ...stepOf(call), events: [event] });
  const seq = receipt?.seq ?? before?.seq ?? 0;
  const kept = { name, sql, ...(description === undefined ? {} : { description }), seq };
  const by = receipt && { author: call.principal.subject, time: receipt.time };
  return json(before ? 200 : 201, infoOf(db, kept, by), pointHeaders(db, db.log.head().seq));
}

/** Names of its parameters. Throws SQL_NOT_ALLOWED, SQL_ERROR, BAD_REQUEST for what could not be run by its name. */
function checkSaved(sql: string): string[] {
  const { kind, tokens } = classify(sql);
  if (kind !== "read")
    throw new SkaldError("SQL_NOT_ALLOWED", "A stored statement only reads.", {
      hint: "Save a SELECT, a VALUES, or a WITH that ends in one.",
    });
  const { anonymous, named: names } = parametersOf(tokens);
  const bare = names.find(([name]) => /^\d/.test(name));
  if (anonymous.length > 0 || bare)
    throw new SkaldError("BAD_REQUEST", "The parameters of a stored statement have names.", {
      hint: "Write :most in the place of ?; it is then given as ?most=10 in the URL.",
    });
  const taken = names.find(([name]) => RESERVED.has(name))?.[0];
  if (taken !== undefined)
    throw new SkaldError(
      "BAD_REQUEST",
      `:${taken} cannot be given in a URL: ?${taken}= has a meaning there.`,
      {
        hint: "Give the parameter another name.",
      },
    );
  return names.map(([name]) => name);
}

function infoOf(
  db: Db,
  { name, sql, description, seq }: StoredStatement,
  by?: { author: string; time: number },
): z.infer<typeof StatementInfo> {
  const commit = by ?? db.log.commit(seq)?.commit;
  return {
    name,
    sql,
    description: description ?? null,
    parameters: parametersOf(classify(sql).tokens).named.map(([parameter]) => parameter),
    seq,
    author: commit?.author ?? "",
    time: iso(commit?.time ?? 0),
  };
}

function listStatements(call: Call, db: Db): Answer {
  const { limit, cursor } = call.query as { limit: number; cursor?: string };
  const after = cursor === undefined ? "" : nameOfCursor("statements", cursor);
  const visible = db.log.statements().filter(({ name }) => name > after && mayRun(call, db.id, name));
  const page = visible.slice(0, limit);
  const last = page.at(-1);
  const next = visible.length > limit && last ? nameCursor("statements", last.name) : null;
  return json(
    200,
    { statements: page.map((statement) => infoOf(db, statement)), cursor: next },
    {
      ...pointHeaders(db, db.log.head().seq),
      ...nextLink(`/api/v1/db/${db.id}/query/statements`, call.query, next),
    },
  );
}

function mayRun({ principal }: Call, db: string, name: string): boolean {
  return (
    allows(principal, "query.run", db, name) ||
    allows(principal, "query.read", db) ||
    allows(principal, "query.admin", db)
  );
}
