import * as z from "zod";
import { archiveOf } from "../archive/archive-file.ts";
import { importArchive } from "../archive/archive-import.ts";
import { ArchiveReader } from "../archive/archive-reader.ts";
import type { ArchiveKind, Opening } from "../archive/opening.ts";
import { requirePoint, type HistoryPoint } from "../archive/history-export.ts";
import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { resolvePoint, resolveSeq } from "../db/point.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import {
  ArchiveImported,
  ArchiveKindText,
  SnapshotInfo,
  SnapshotList,
  SnapshotRequest,
  SnapshotRestoreRequest,
  SnapshotVerifyLine,
} from "../protocol/wire.ts";
import { CAR, archiveAnswer } from "./archive-answer.ts";
import { madeDb, mayMakeDb } from "./db-routes.ts";
import { iso, nameCursor, nameOfCursor, nextLink, pageQuery, pointText } from "./point.ts";
import { restoreTo } from "./restore-routes.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";
import { dryRunQuery } from "./tx-routes.ts";

const NDJSON = "application/x-ndjson";
const tag = "snapshots";

export const snapshotRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/snapshots",
    summary: "Give a point of a db a name",
    description: "Nothing is copied: the archive of it is made from the log when it is asked for.",
    tag,
    access: "snapshot.write",
    body: { types: { "application/json": SnapshotRequest } },
    answers: { 201: { description: "Named.", types: { "application/json": SnapshotInfo } } },
    handle: createSnapshot,
  },
  {
    method: "GET",
    path: "/db/:db/snapshots",
    summary: "List named snapshots",
    tag,
    access: "snapshot.read",
    query: z.strictObject(pageQuery),
    answers: { 200: { description: "By name.", types: { "application/json": SnapshotList } } },
    handle: listSnapshots,
  },
  {
    method: "GET",
    path: "/db/:db/snapshots/:name",
    summary: "A named snapshot, or the archive of it",
    description:
      "`Accept: application/vnd.ipld.car` gives the archive, whole or one range of it; see specs/19-archives.md. It needs `doc.read` on the whole db as well.",
    job: true,
    tag,
    access: "snapshot.read",
    answers: archiveAnswers(SnapshotInfo),
    handle: (call) => {
      const row = find(call);
      if (!(call.header("accept") ?? "").toLowerCase().includes(CAR))
        return json(200, infoOf(row), { vary: "accept" });
      mayRead(call);
      return archiveAnswer(call, row.kind, pointOf(row));
    },
  },
  {
    method: "DELETE",
    path: "/db/:db/snapshots/:name",
    summary: "Forget a name",
    description: "Of the db nothing is taken away.",
    noted: "snapshot.delete",
    tag,
    access: "snapshot.write",
    answers: { 204: { description: "Gone." } },
    handle: (call) => {
      const { name } = find(call);
      call.services.engine.snapshots(call.params["db"] as string).remove(name);
      return { status: 204 };
    },
  },
  {
    method: "POST",
    path: "/db/:db/snapshots/:name/verify",
    summary: "Make the archive of a snapshot and read it like a stranger's",
    job: true,
    tag,
    access: "snapshot.read",
    answers: { 200: { description: "One JSON object a line.", types: { [NDJSON]: SnapshotVerifyLine } } },
    handle: (call) => {
      mayRead(call);
      const row = find(call);
      return {
        status: 200,
        headers: { "content-type": NDJSON },
        body: verifyLines(call, row.kind, pointOf(row)),
      };
    },
  },
  {
    method: "POST",
    path: "/db/:db/snapshots/:name/restore",
    summary: "Bring documents back to how they were at a snapshot",
    description: "As `POST …/restore` does for any point.",
    job: true,
    noted: "snapshot.restore",
    tag,
    access: "doc.write",
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": SnapshotRestoreRequest } },
    answers: {
      200: { description: "Lines of progress, then the result.", types: { [NDJSON]: "raw" } },
    },
    handle: async (call) => {
      const { db } = call.params;
      if (!allows(call.principal, "snapshot.read", db as string))
        throw new SkaldError("FORBIDDEN", `The token does not allow snapshot.read on the db ${db}.`, {
          details: { action: "snapshot.read", db },
        });
      const row = find(call);
      if (row.branch !== null && row.branch !== "main")
        throw new SkaldError(
          "BAD_REQUEST",
          `The snapshot is of the branch ${row.branch}: merge that, or branch from it.`,
        );
      await call.db((held) => requirePoint(held, pointOf(row)));
      return restoreTo(call, String(row.seq), call.body.value as z.infer<typeof SnapshotRestoreRequest>);
    },
  },
  {
    method: "GET",
    path: "/db/:db/archive",
    summary: "The archive of any point",
    description: "A CAR file, whole or one range of it. It needs `doc.read` on the whole db as well.",
    job: true,
    tag,
    access: "snapshot.read",
    query: z.strictObject({
      kind: ArchiveKindText.default("history"),
      at: pointText
        .optional()
        .meta({ description: "A seq, a commit's address, or an RFC 3339 time; the head when left out." }),
      branch: pointText.optional().meta({ description: "Of a state: whose documents." }),
    }),
    answers: archiveAnswers(),
    handle: async (call) => {
      mayRead(call);
      const { kind, at, branch } = call.query as { kind: ArchiveKind; at?: string; branch?: string };
      return archiveAnswer(call, kind, await call.db((db) => pointAt(db, kind, at, branch)));
    },
  },
  {
    method: "POST",
    path: "/db/:db/import",
    summary: "Make a db from an archive",
    description:
      "The body is a CAR file that Skald wrote, of any size. The db must not be there, and is when all of the archive was checked and is durable; otherwise the answer names the block that is wrong, and nothing was kept.",
    job: true,
    tag,
    access: "db.admin",
    body: { types: { [CAR]: "raw" }, streamed: true },
    answers: { 201: { description: "Made, durably.", types: { "application/json": ArchiveImported } } },
    handle: importDb,
  },
];

function archiveAnswers(info?: z.ZodType): Route["answers"] {
  return {
    200: {
      description: "The archive.",
      types: { ...(info ? { "application/json": info } : {}), [CAR]: "raw" },
    },
    206: { description: "A range of it.", types: { [CAR]: "raw" } },
    304: { description: "Still what If-None-Match names." },
  };
}

/** Whoever may list snapshots need not be allowed to read what is in them. */
function mayRead(call: Call): void {
  const db = call.params["db"] as string;
  if (allows(call.principal, "doc.read", db)) return;
  throw new SkaldError("FORBIDDEN", `The token does not allow doc.read on the whole db ${db}.`, {
    details: { action: "doc.read", db },
  });
}

type Row = ReturnType<ReturnType<Call["services"]["engine"]["snapshots"]>["page"]>[number];

/** Throws DB_NOT_FOUND, SNAPSHOT_NOT_FOUND. */
function find(call: Call): Row {
  const name = call.params["name"] as string;
  const row = NAME.test(name)
    ? call.services.engine.snapshots(call.params["db"] as string).get(name)
    : undefined;
  if (row) return row;
  throw new SkaldError("SNAPSHOT_NOT_FOUND", `There is no snapshot ${JSON.stringify(name.slice(0, 80))}.`);
}

const NAME = new RegExp(`^[A-Za-z0-9._-]{1,${LIMITS.snapshot.nameCharacters.value}}$`);

/** A point with the address of its commit. */
async function pointAt(
  db: Db,
  kind: ArchiveKind,
  at: string | undefined,
  branch: string | undefined,
): Promise<HistoryPoint> {
  if (kind === "history" && branch !== undefined)
    throw new SkaldError("BAD_REQUEST", "A history has all branches: `branch` is of a state.");
  await db.locate(at);
  const seq = kind === "history" ? resolveSeq(db.log, at) : resolvePoint(db.log, at, branch);
  return {
    seq,
    commit: seq > 0 ? db.log.commit(seq)?.cid : undefined,
    ...(branch === undefined ? {} : { branch }),
  };
}

function pointOf({ seq, commit, branch }: Row): HistoryPoint {
  return { seq, commit: commit ?? undefined, ...(branch === null ? {} : { branch }) };
}

async function createSnapshot(call: Call): Promise<Answer> {
  const { name: given, at, kind, branch, message } = call.body.value as z.infer<typeof SnapshotRequest>;
  if (given !== undefined && (!NAME.test(given) || /^\.\.?$/.test(given)))
    throw new SkaldError("NAME_INVALID", `"${given.slice(0, 80)}" is no name of a snapshot.`, {
      hint: `1 to ${LIMITS.snapshot.nameCharacters.value} letters, digits, ".", "_" and "-".`,
    });
  const { engine } = call.services;
  const dbId = call.params["db"] as string;
  const { seq, commit } = await call.db((db) => pointAt(db, kind, at, branch));
  const table = engine.snapshots(dbId);
  const name = given ?? `${kind}-${seq}-${toHex(engine.world.random(4))}`;
  const there = table.get(name);
  if (there)
    throw new SkaldError("SNAPSHOT_EXISTS", `There is a snapshot ${name} already, of commit ${there.seq}.`);
  const most = LIMITS.snapshot.perDb.value;
  if (table.count() >= most)
    throw new SkaldError("SNAPSHOT_LIMIT", `A db has at most ${most} named snapshots.`, {
      details: { limit: most },
    });
  const row = {
    name,
    kind,
    branch: branch ?? null,
    seq,
    commit: commit ?? null,
    created: engine.world.now(),
    message: message ?? null,
  };
  table.add(row);
  return json(201, infoOf(row));
}

function infoOf({ commit, created, branch, kind, ...row }: Row): z.infer<typeof SnapshotInfo> {
  return {
    ...row,
    kind,
    branch: kind === "state" ? (branch ?? "main") : null,
    commit: commit && cidToString(commit),
    created: iso(created),
  };
}

function listSnapshots(call: Call): Answer {
  const { limit, cursor } = call.query as { limit: number; cursor?: string };
  const dbId = call.params["db"] as string;
  const after = cursor === undefined ? "" : nameOfCursor("snapshots", cursor);
  const rows = call.services.engine.snapshots(dbId).page(after, limit + 1);
  const shown = rows.slice(0, limit);
  const next = rows.length > limit ? nameCursor("snapshots", shown.at(-1)?.name ?? "") : null;
  const answer: z.infer<typeof SnapshotList> = { snapshots: shown.map(infoOf), cursor: next };
  return json(200, answer, nextLink(`/api/v1/db/${dbId}/snapshots`, call.query, next));
}

type Line = z.infer<typeof SnapshotVerifyLine>;

/** Lines of progress as the archive is made and read, then the verdict. */
async function* verifyLines(call: Call, kind: ArchiveKind, point: HistoryPoint): AsyncGenerator<string> {
  const { engine } = call.services;
  const file = await archiveOf((work) => call.db(work), kind, point, {
    dir: engine.dir,
    world: engine.world,
    signal: call.signal,
  });
  const reader = new ArchiveReader();
  const line = (more: Omit<Line, "bytes" | "blocks"> = {}): string =>
    `${JSON.stringify({ bytes: reader.bytes, blocks: reader.blocks, ...more })}\n`;
  try {
    for await (const part of file.read()) {
      for (const _ of reader.push(part));
      yield line();
    }
    reader.end();
    const root = cidToString(reader.root as Uint8Array);
    const { seq, commit, documents } = reader.opening as Opening;
    yield line({
      verdict: "sound",
      root,
      seq,
      commit: commit ? cidToString(commit) : null,
      ...(kind === "state" ? { documents } : {}),
    });
  } catch (error) {
    if (!isSkaldError(error) || (error.code !== "ARCHIVE_INVALID" && error.code !== "DB_DAMAGED"))
      throw error;
    yield line({ verdict: "damaged", problem: { code: error.code, detail: error.message } });
  } finally {
    await file.close();
  }
}

async function importDb(call: Call): Promise<Answer> {
  const dbId = call.params["db"] as string;
  const { engine } = call.services;
  if (!mayMakeDb(call))
    throw new SkaldError("FORBIDDEN", "Only an administrator makes a db.", {
      details: { action: "db.admin" },
    });
  const { kind, root, uid, bytes } = await importArchive(
    engine,
    call.body.stream as AsyncIterable<Uint8Array>,
    {
      author: call.principal.subject,
      db: dbId,
    },
  );
  await madeDb(call, "db.import", cidToString(root));
  return call.db((db) => {
    const { seq, cid } = db.log.head();
    const answer: z.infer<typeof ArchiveImported> = {
      db: dbId,
      uid: toHex(uid),
      kind,
      root: cidToString(root),
      bytes,
      seq,
      commit: cid ? cidToString(cid) : null,
      documents: db.log.counts().documents,
    };
    return json(201, answer);
  });
}
