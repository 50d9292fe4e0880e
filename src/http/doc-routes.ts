import * as z from "zod";
import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { checkCount } from "../db/write.ts";
import type { Edit } from "../documents/documents.ts";
import type { Conflict } from "../documents/jobs.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { checkCollection, parseDocName } from "../ids/names.ts";
import { readChanges } from "../log/change.ts";
import { LIMITS } from "../limits.ts";
import { headsOf } from "../log/doc-state.ts";
import { automergeUrl, parseAutomergeId } from "../log/automerge-ids.ts";
import { DiffAnswer, DocList, DocNamed, HistoryList, Receipt } from "../protocol/wire.ts";
import { jsonText } from "./body.ts";
import { etagOf, expectedHeads, notModified } from "./etag.ts";
import { listDocs } from "./doc-list.ts";
import {
  branchIn,
  cursorAt,
  iso,
  nextLink,
  onBranch,
  pageQuery,
  pointHeaders,
  pointQuery,
  pointText,
  seqOfCursor,
} from "./point.ts";
import { resolvePoint } from "../db/point.ts";
import { json, type Answer, type Call, type Params, type Route } from "./route.ts";
import { dryRunQuery, idempotencyKey, isOwner, receiptJson } from "./tx-routes.ts";

const AUTOMERGE = "application/automerge";
/** Path of one document. */
export const DOC_PATH = "/db/:db/docs/:collection/:key";
const path = DOC_PATH;
const resource = (params: Params): string => docOf(params);
const tag = "documents";
const writeAnswers = {
  200: { description: "Durable, or nothing to change.", types: { "application/json": Receipt } },
  201: { description: "Created.", types: { "application/json": Receipt } },
};

export const docRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/docs",
    summary: "List documents by name",
    tag,
    access: "doc.read",
    partial: true,
    query: z.strictObject({
      ...pageQuery,
      ...pointQuery,
      collection: z.string().optional(),
      prefix: z
        .string()
        .max(LIMITS.query.prefixCharacters.value)
        .optional()
        .meta({ description: "Start of the key; needs `collection`." }),
      values: z.enum(["true", "false"]).optional().meta({ description: "Include each document's JSON." }),
    }),
    answers: { 200: { description: "A page.", types: { "application/json": DocList } } },
    handle: (call) => call.db((db) => listDocs(call, db)),
  },
  {
    method: "GET",
    path,
    summary: "Read a document",
    description:
      "`Accept: application/automerge` gives the document's bytes with its history up to the point. `path` (a JSON pointer, repeatable) gives an object of pointers and values.",
    tag,
    access: "doc.read",
    resource,
    query: z.strictObject({
      ...pointQuery,
      path: z.union([z.string(), z.array(z.string()).max(LIMITS.query.paths.value)]).optional(),
      conflicts: z.enum(["0", "1"]).optional().meta({ description: "Also give the concurrent values." }),
    }),
    answers: {
      200: {
        description: "The document.",
        types: { "application/json": z.looseObject({}), [AUTOMERGE]: "raw" },
      },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) => call.db((db) => readDoc(call, db)),
  },
  {
    method: "PUT",
    path,
    summary: "Replace a document, or make it",
    tag,
    access: "doc.write",
    resource,
    query: z.strictObject({ ...dryRunQuery, branch: pointQuery.branch }),
    body: { types: { "application/json": "raw" } },
    answers: writeAnswers,
    handle: (call) => writeDoc(call, { edit: { kind: "put", value: jsonText(call.body.bytes) } }),
  },
  {
    method: "PATCH",
    path,
    summary: "Change a document",
    description:
      "A merge patch (RFC 7396), a JSON patch (RFC 6902), or Automerge change bytes. Each becomes the smallest change that does it.",
    tag,
    access: "doc.write",
    resource,
    query: z.strictObject({ ...dryRunQuery, branch: pointQuery.branch }),
    body: {
      types: {
        "application/merge-patch+json": "raw",
        "application/json-patch+json": "raw",
        [AUTOMERGE]: "raw",
      },
    },
    answers: writeAnswers,
    handle: (call) => {
      const { type, bytes } = call.body;
      if (type === AUTOMERGE) {
        const changes = readChanges(bytes).map((change) => change.bytes);
        checkCount("changes of a write", changes.length, LIMITS.tx.changes.value);
        return writeDoc(call, { changes });
      }
      const patch = jsonText(bytes);
      return writeDoc(call, {
        edit: { kind: type === "application/json-patch+json" ? "json-patch" : "merge-patch", patch },
      });
    },
  },
  {
    method: "DELETE",
    path,
    summary: "Delete a document",
    description: "Leaves a tombstone: its history stays, and PUT brings it back.",
    tag,
    access: "doc.write",
    resource,
    query: z.strictObject({ ...dryRunQuery, branch: pointQuery.branch }),
    answers: { 200: writeAnswers[200] },
    handle: (call) => writeDoc(call, { delete: true }),
  },
  {
    method: "GET",
    path: "/db/:db/automerge/:document_id",
    summary: "Name of a document by its Automerge id",
    description: "The id is what follows `automerge:` in its URL. Deleted documents keep theirs.",
    tag,
    access: "doc.read",
    partial: true,
    answers: { 200: { description: "Its name.", types: { "application/json": DocNamed } } },
    handle: (call) => call.db((db) => nameOf(call, db)),
  },
  {
    method: "GET",
    path: `${path}/history`,
    summary: "Commits that touched a document, newest first",
    tag,
    access: "doc.read",
    resource,
    query: z.strictObject({ ...pageQuery, ...pointQuery }),
    answers: { 200: { description: "A page.", types: { "application/json": HistoryList } } },
    handle: (call) => call.db((db) => history(call, db)),
  },
  {
    method: "GET",
    path: `${path}/diff`,
    summary: "JSON patch between two points",
    tag,
    access: "doc.read",
    resource,
    query: z.strictObject({
      from: pointText.optional(),
      to: pointText.optional(),
      branch: pointQuery.branch,
    }),
    answers: { 200: { description: "An RFC 6902 patch.", types: { "application/json": DiffAnswer } } },
    handle: (call) =>
      call.db(async (db) => {
        const { from, to } = call.query as { from?: string; to?: string };
        const diff = await db.diff(docOf(call.params), from ?? "0", to, branchIn(call));
        return {
          status: 200,
          headers: { "content-type": "application/json", ...pointHeaders(db, diff.to) },
          body: `{"from":${diff.from},"to":${diff.to},"patch":${diff.patch}}`,
        };
      }),
  },
];

/** Answers as one that is not there for a document that the caller may not read. */
function nameOf(call: Call, db: Db): Answer {
  const text = call.params["document_id"] ?? "";
  const doc = db.log.named(parseAutomergeId(text));
  if (doc === undefined || !allows(call.principal, "doc.read", db.id, doc)) {
    throw new SkaldError("DOC_NOT_FOUND", `There is no document ${text}.`, {
      hint: "GET …/docs lists them.",
    });
  }
  return json(200, {
    doc,
    ...parseDocName(doc),
    automerge_url: automergeUrl(db.log.identity.uid, doc),
  });
}

export function docOf(params: Params): string {
  // By itself: with an escaped slash in it, it would be another collection and the key's start.
  const doc = `${checkCollection(params["collection"] ?? "")}/${params["key"]}`;
  parseDocName(doc);
  return doc;
}

async function readDoc(call: Call, db: Db): Promise<Answer> {
  const branch = branchIn(call);
  const doc = docOf(call.params);
  const {
    at,
    path: given,
    conflicts,
  } = call.query as { at?: string; path?: string | string[]; conflicts?: string };
  const options = { ...(at === undefined ? {} : { at }), ...onBranch(branch) };
  await db.locate(at);
  const seq = resolvePoint(db.log, at, branch);
  const point = db.point(doc, at, branch);
  const automerge = wantsAutomerge(call.header("accept"));
  const headers = {
    ...pointHeaders(db, seq),
    etag: etagOf(point.heads, automerge ? "automerge" : "json"),
    vary: "accept",
    "automerge-url": automergeUrl(db.log.identity.uid, doc),
  };
  if (notModified(call.header("if-none-match"), headers.etag)) return { status: 304, headers };
  if (automerge) {
    const { bytes, heads } = await db.save(doc, options);
    // Not always those of before: reading can find changes that have to be set aside.
    const etag = etagOf(heads, "automerge");
    return { status: 200, headers: { ...headers, etag, "content-type": AUTOMERGE }, body: bytes };
  }
  const paths = given === undefined ? undefined : [given].flat();
  const read = await db.read(doc, {
    at: String(seq),
    ...onBranch(branch),
    ...(paths === undefined ? {} : { paths }),
    ...(conflicts === "1" ? { conflicts: true } : {}),
  });
  const authorOf = authors(db, doc);
  const body = read.conflicts
    ? `{"value":${read.json},"conflicts":[${read.conflicts.map((one) => conflictJson(one, authorOf)).join()}]}`
    : read.json;
  const etag = etagOf(read.heads, "json");
  return { status: 200, headers: { ...headers, etag, "content-type": "application/json" }, body };
}

/** Who wrote a change; each is looked up once. */
function authors(db: Db, doc: string): (change: string) => string {
  const known = new Map<string, string>();
  return (change) => {
    const author = known.get(change) ?? db.log.authorOfChange(doc, change);
    known.set(change, author);
    return author;
  };
}

function conflictJson({ path: at, values }: Conflict, authorOf: (change: string) => string): string {
  const texts = values.map(
    ({ op, json: text, change }) =>
      `{"value":${text},"op":${JSON.stringify(op)},"author":${JSON.stringify(authorOf(change))}}`,
  );
  return `{"path":${JSON.stringify(at)},"values":[${texts.join()}]}`;
}

/** JSON unless the client prefers bytes; a client that takes neither hears so. */
function wantsAutomerge(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  let best = { json: 0, automerge: 0 };
  for (const part of accept.split(",")) {
    const [type = "", ...params] = part.split(";").map((piece) => piece.trim().toLowerCase());
    const q = Number(params.find((param) => param.startsWith("q="))?.slice(2) ?? 1);
    // What is named goes before what a wildcard covers.
    const named = q > 0 ? q + 0.001 : 0;
    if (type === AUTOMERGE) best = { ...best, automerge: Math.max(best.automerge, named) };
    else if (type === "application/json") best = { ...best, json: Math.max(best.json, named) };
    else if (type === "*/*" || type === "application/*") best = { ...best, json: Math.max(best.json, q) };
  }
  if (best.json === 0 && best.automerge === 0) {
    throw new SkaldError("NOT_ACCEPTABLE", `A document comes as application/json or ${AUTOMERGE}.`);
  }
  return best.automerge > best.json;
}

type WriteOf =
  { readonly edit: Edit } | { readonly changes: readonly Uint8Array[] } | { readonly delete: true };

function writeDoc(call: Call, write: WriteOf): Promise<Answer> {
  const doc = docOf(call.params);
  const branch = branchIn(call);
  return call.db(async (db) => {
    const clientTxId = idempotencyKey(call);
    const etag = (heads: readonly string[] = []): Record<string, string> =>
      "delete" in write ? {} : { etag: etagOf(heads, "json") };
    // Before the preconditions: they held when it was written, and need not hold any more.
    const earlier = db.earlier(call.principal.subject, clientTxId, doc, branch);
    if (earlier) return json(200, receiptJson(db, earlier), etag(earlier.heads[doc]));
    await db.log.ready(branch, [doc]);
    const before = db.log.state(doc, branch);
    const existed = before !== undefined && !before.deleted;
    const base = expectedHeads(call, before && existed ? headsOf(before) : undefined);
    const receipt = await db
      .tx({
        author: call.principal.subject,
        writes: [{ doc, ...write, ...(base === undefined ? {} : { base: before ? headsOf(before) : base }) }],
        dryRun: call.query["dry_run"] === "true",
        anyActor: isOwner(call, call.params["db"] as string),
        ...onBranch(branch),
        ...(clientTxId === undefined ? {} : { clientTxId }),
      })
      .catch((error: unknown) => {
        // The caller named no heads but an ETag, so it hears of an ETag.
        if (base !== undefined && (error as { code?: unknown }).code === "HEADS_CONFLICT") {
          const heads = (error as SkaldError).details["current_heads"];
          throw new SkaldError("PRECONDITION_FAILED", `The document ${doc} changed.`, {
            details: { current_heads: heads },
          });
        }
        throw error;
      });
    const status = existed || receipt.duplicate || "delete" in write ? 200 : 201;
    return json(status, receiptJson(db, receipt), {
      ...etag(receipt.heads[doc]),
      "automerge-url": automergeUrl(db.log.identity.uid, doc),
    });
  });
}

async function history(call: Call, db: Db): Promise<Answer> {
  const branch = branchIn(call);
  const doc = docOf(call.params);
  const { limit, cursor, at } = call.query as { limit: number; cursor?: string; at?: string };
  await db.locate(at);
  const upTo = resolvePoint(db.log, at, branch);
  const before = cursor === undefined ? upTo : Math.min(upTo, seqOfCursor(db, cursor));
  const entries = db.history(doc, before, limit + 1, branch, upTo);
  const more = entries.length > limit;
  const last = entries[limit];
  const next = more && last ? cursorAt(db, last.seq) : null;
  return json(
    200,
    {
      doc,
      history: entries.slice(0, limit).map((entry) => ({
        seq: entry.seq,
        commit: cidToString(entry.commit),
        time: iso(entry.time),
        author: entry.author,
        message: entry.message,
        heads: entry.heads,
        changes: entry.changes,
        deleted: entry.deleted,
        ...(entry.refused ? { refused: entry.refused } : {}),
      })),
      cursor: next,
    },
    { ...pointHeaders(db, upTo), ...nextLink(urlOf(call, "/history"), call.query, next) },
  );
}

function urlOf(call: Call, tail: string): string {
  const { db = "", collection = "", key = "" } = call.params;
  return `/api/v1/db/${db}/docs/${collection}/${encodeURIComponent(key)}${tail}`;
}
