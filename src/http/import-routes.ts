import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { readChange, readTrustedHeader } from "../log/change.ts";
import { headsOf } from "../log/doc-state.ts";
import type { Receipt as LogReceipt } from "../log/log.ts";
import { LIMITS } from "../limits.ts";
import { guardSavedDocument } from "../log/saved-document.ts";
import { Receipt } from "../protocol/wire.ts";
import { docOf } from "./doc-routes.ts";
import { etagOf } from "./etag.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";
import { receiptJson } from "./tx-routes.ts";

const AUTOMERGE = "application/automerge";

export const importRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/docs/:collection/:key/import",
    summary: "Merge Automerge files into a document",
    description:
      "The body is one or more files of `Automerge.save` or `saveSince`, or single changes, one after the other, in any order; together they bring every change that one of them builds on. Changes that are here already are left out, so repeating it changes nothing.",
    tag: "documents",
    access: "db.admin",
    job: true,
    body: { types: { [AUTOMERGE]: "raw" }, maxBytes: LIMITS.http.importBytes.value },
    answers: {
      200: { description: "Durable, or nothing to change.", types: { "application/json": Receipt } },
      201: { description: "Created.", types: { "application/json": Receipt } },
    },
    handle: importFile,
  },
];

async function importFile(call: Call): Promise<Answer> {
  const doc = docOf(call.params);
  const { bytes } = call.body;
  guardSavedDocument(bytes);
  // Before the work, so that a db that is not there does not cost it.
  if (!call.services.engine.has(call.params["db"] as string)) {
    throw new SkaldError("DB_NOT_FOUND", `There is no db ${call.params["db"]}.`);
  }
  const { changes } = await call.services.engine.documents.split({
    bytes,
    deadlineMs: LIMITS.document.longJobMs.value,
  });
  return call.db(async (db) => {
    const before = db.log.state(doc);
    const existed = before !== undefined && !before.deleted;
    const fresh = notYetIn(db, doc, changes);
    if (fresh.length === 0) return json(200, receiptJson(db, unchanged(db, doc)));
    const receipt = await db.tx({
      author: call.principal.subject,
      writes: [{ doc, changes: fresh }],
      anyActor: true,
    });
    return json(existed ? 200 : 201, receiptJson(db, receipt), {
      etag: etagOf(receipt.heads[doc] ?? [], "json"),
    });
  });
}

/**
 * Without the changes that the document has. One pass over its history here, where the log would look
 * each one up by itself; and a file saved from this very document holds the server's own changes and
 * its virtual first one, which nobody can send.
 */
function notYetIn(db: Db, doc: string, changes: readonly Uint8Array[]): Uint8Array[] {
  const known = new Set([db.genesis(doc).hash]);
  for (const bytes of db.log.changes(doc, 0, db.log.head().seq)) known.add(readTrustedHeader(bytes).hash);
  return changes.filter((bytes) => !known.has(readChange(bytes).hash));
}

/** The receipt of the commit that has the document as it is. */
function unchanged(db: Db, doc: string): LogReceipt {
  const state = db.log.state(doc);
  const stored = state && db.log.commit(state.last);
  if (!state || !stored) {
    throw new SkaldError("IMPORT_INVALID", "The file holds no changes.", {
      hint: "An Automerge document has its first change once something was put into it.",
    });
  }
  return {
    cid: stored.cid,
    commit: cidToString(stored.cid),
    seq: state.last,
    time: stored.commit.time,
    heads: { [doc]: headsOf(state) },
    duplicate: true,
  };
}
