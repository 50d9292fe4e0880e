import * as z from "zod";
import { isPersonId } from "../auth/person-record.ts";
import { allows, prefixesFor } from "../auth/policy.ts";
import { countsAt } from "../db/counts-at.ts";
import type { Db } from "../db/db.ts";
import { resolvePoint } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { AUDIT_DB } from "../ids/names.ts";
import { DbInfo, DbList } from "../protocol/wire.ts";
import { otherDb } from "../replication/serve.ts";
import { noted } from "./noted.ts";
import {
  branchIn,
  cursorAt,
  iso,
  nameCursor,
  nameOfCursor,
  nextLink,
  pageQuery,
  pointHeaders,
  pointQuery,
} from "./point.ts";
import { json, type Call, type Route } from "./route.ts";

const tag = "dbs";
/** Rows read at once, however few of them the caller may see. */
const PAGE = 1000;

export const dbRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db",
    summary: "List the dbs the caller may see",
    tag,
    access: "any",
    query: z.strictObject({
      ...pageQuery,
      own: z
        .enum(["true", "false"])
        .optional()
        .meta({ description: "Also the server's own dbs, as far as the caller may read them." }),
    }),
    answers: { 200: { description: "A page.", types: { "application/json": DbList } } },
    handle: (call) => {
      const { limit, cursor, own } = call.query as { limit: number; cursor?: string; own?: string };
      const { engine } = call.services;
      const dbs: { db: string; created: string }[] = [];
      let after = cursor === undefined ? "" : nameOfCursor("dbs", cursor);
      // One more than is shown tells whether there is a next page, and nothing of what may not be seen.
      for (let more = true; dbs.length <= limit && more;) {
        const page = engine.list(after, PAGE);
        more = page.length === PAGE;
        after = page.at(-1)?.dbId ?? after;
        for (const { dbId, created } of page) {
          if (dbId === AUDIT_DB && own !== "true") continue;
          if (maySee(call, dbId)) dbs.push({ db: dbId, created: iso(created) });
        }
      }
      const next = dbs.length > limit ? nameCursor("dbs", dbs[limit - 1]?.db ?? "") : null;
      dbs.length = Math.min(dbs.length, limit);
      return json(200, { dbs, cursor: next }, nextLink("/api/v1/db", call.query, next));
    },
  },
  {
    method: "PUT",
    path: "/db/:db",
    summary: "Make a db",
    description: "Of people only administrators may; whoever makes one is its owner.",
    tag,
    access: "db.admin",
    query: z.strictObject({
      uid: z
        .string()
        .regex(/^[0-9a-f]{32}$/, "expected 32 hex digits")
        .optional()
        .meta({ description: "Makes it a copy of the db with this uid, to be filled by a clone." }),
    }),
    answers: {
      200: { description: "It was there.", types: { "application/json": DbInfo } },
      201: { description: "Made.", types: { "application/json": DbInfo } },
    },
    handle: async (call) => {
      const dbId = call.params["db"] as string;
      const { uid } = call.query as { uid?: string };
      const made =
        mayMakeDb(call) &&
        (await call.services.engine.create(dbId, uid === undefined ? undefined : fromHex(uid)));
      if (made) await madeDb(call, "db.create");
      return call.db((db) => {
        const own = toHex(db.log.identity.uid);
        if (uid !== undefined && uid !== own) throw otherDb(dbId, own, uid);
        return json(made ? 201 : 200, info(db), pointHeaders(db, db.log.head().seq));
      });
    },
  },
  {
    method: "GET",
    path: "/db/:db",
    summary: "What a db holds",
    description: "At a point: its seq, commit and the numbers of documents are of then, its bytes of now.",
    tag,
    access: "doc.read",
    partial: true,
    query: z.strictObject(pointQuery),
    answers: { 200: { description: "Its numbers.", types: { "application/json": DbInfo } } },
    handle: (call) =>
      call.db(async (db) => {
        const branch = branchIn(call);
        const at = call.query["at"] as string | undefined;
        if (at === undefined && branch === undefined)
          return json(200, info(db), pointHeaders(db, db.log.head().seq));
        await db.locate(at);
        const seq = resolvePoint(db.log, at, branch);
        const counts = await countsAt(db.log, seq, branch);
        const commit = pointHeaders(db, seq)["skald-commit"] ?? null;
        return json(
          200,
          { ...info(db), ...counts, seq, commit, cursor: cursorAt(db, seq) },
          pointHeaders(db, seq),
        );
      }),
  },
  {
    method: "DELETE",
    path: "/db/:db",
    summary: "Delete a db and all of its history",
    tag,
    access: "db.admin",
    query: z.strictObject({ confirm: z.string().optional().meta({ description: "The db's id again." }) }),
    answers: { 204: { description: "Gone." } },
    handle: async (call) => {
      const dbId = call.params["db"] as string;
      if (!call.services.engine.has(dbId)) throw new SkaldError("DB_NOT_FOUND", `There is no db ${dbId}.`);
      if (call.query["confirm"] !== dbId) throw new SkaldError("DB_CONFIRM", `Deleting ${dbId} is for ever.`);
      await call.services.engine.delete(dbId);
      await noted(call, "db.delete");
      return { status: 204 };
    },
  },
  {
    method: "POST",
    path: "/db/:db/rebuild",
    summary: "Make everything derived anew from the log",
    job: true,
    keepsLog: true,
    tag,
    access: "db.admin",
    answers: {
      200: { description: "Lines of progress, then the result.", types: { "application/x-ndjson": "raw" } },
    },
    handle: (call) => {
      const { engine } = call.services;
      const dbId = call.params["db"] as string;
      // A stream that has begun can refuse nothing any more.
      engine.folderOf(dbId);
      return {
        status: 200,
        headers: { "content-type": "application/x-ndjson" },
        body: progressLines((onProgress) => engine.rebuild(dbId, onProgress)),
      };
    },
  },
  {
    method: "POST",
    path: "/db/:db/compact",
    summary: "Put the log's commits into bundles",
    job: true,
    keepsLog: true,
    description: "Takes a hundredth of the space. Every address stays resolvable; old ones take longer.",
    tag,
    access: "db.admin",
    answers: {
      200: { description: "Lines of progress, then the result.", types: { "application/x-ndjson": "raw" } },
    },
    handle: (call) => ({
      status: 200,
      headers: { "content-type": "application/x-ndjson" },
      body: progressLines((onProgress) => call.db((db) => db.compact({ onProgress, signal: call.signal }))),
    }),
  },
];

/**
 * Whether the caller may make a db of the path's name. A role in a db is in that one only: it must not outlast it, also
 * not when the db is deleted while its owner asks for it.
 */
export function mayMakeDb({ principal }: Call): boolean {
  return !isPersonId(principal.id) || allows(principal, "db.admin", undefined);
}

/** Notes that a db was made. A person who has made one is its owner, also when no administrator any more. */
export async function madeDb(call: Call, action: string, detail?: string): Promise<void> {
  const { services, principal, params } = call;
  if (isPersonId(principal.id))
    services.people.set(params["db"] as string, principal.id, "owner", principal.id);
  await noted(call, action, detail === undefined ? {} : { detail });
}

function maySee(call: Call, dbId: string): boolean {
  return prefixesFor(call.principal, "doc.read", dbId) !== "none" || allows(call.principal, "db.admin", dbId);
}

function info(db: Db): z.infer<typeof DbInfo> {
  const { identity } = db.log;
  const { seq, cid } = db.log.head();
  return {
    db: identity.dbId,
    uid: toHex(identity.uid),
    created: iso(identity.created),
    seq,
    commit: cid ? cidToString(cid) : null,
    branches: db.log.branches().map(({ name }) => name),
    ...db.log.counts(),
    bytes: db.log.bytes(),
    cursor: cursorAt(db, seq),
  };
}

/** Turns a long task into lines: `{done, of}` as it goes, `{ok: true}` at its end. */
export async function* progressLines(
  task: (onProgress: (done: number, of: number) => void) => Promise<unknown>,
): AsyncGenerator<string> {
  let latest: { done: number; of: number } | undefined;
  let wake = (): void => {};
  let finished = false;
  const running = task((done, of) => {
    latest = { done, of };
    wake();
  }).finally(() => {
    finished = true;
    wake();
  });
  running.catch(() => {});
  while (!finished) {
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (finished || latest) resolve();
    });
    if (latest) {
      yield `${JSON.stringify(latest)}\n`;
      latest = undefined;
    }
  }
  const result = await running;
  yield `${JSON.stringify({ ok: true, ...(typeof result === "object" ? result : {}) })}\n`;
}
