import * as z from "zod";
import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { drawnName } from "../log/automerge-ids.ts";
import { SyncStatus } from "../protocol/sync-wire.ts";
import { cursorAt } from "../subscriptions/cursor.ts";
import { iso, pageQuery, pointHeaders } from "./point.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";

export const syncStatusRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/sync/status",
    summary: "Who syncs the db now, and which documents they have open",
    description:
      "Peers in the order they came. Of documents those that the caller may read are listed; `document_count` is of all.",
    tag: "replication",
    access: "sync",
    or: ["db.admin"],
    query: z.strictObject({ limit: pageQuery.limit }),
    answers: { 200: { description: "As it is now.", types: { "application/json": SyncStatus } } },
    handle: (call) => call.db((db) => statusOf(call, db)),
  },
];

function statusOf({ services, principal, params, query }: Call, db: Db): Answer {
  const limit = query["limit"] as number;
  const id = params["db"] as string;
  const hub = services.sync.of(db);
  const all = { peers: hub.peers(), documents: hub.documents() };
  const readable = all.documents.filter((document) =>
    allows(principal, "doc.read", id, document.name ?? drawnName(document.id)),
  );
  const { seq } = db.log.head();
  const status: z.infer<typeof SyncStatus> = {
    path: `/api/v1/db/${encodeURIComponent(id)}/sync`,
    root: services.syncRoot === id,
    storage_id: hub.storageId,
    peer_count: all.peers.length,
    document_count: all.documents.length,
    bytes: hub.histories.bytes,
    peers: all.peers.slice(0, limit).map((peer) => ({
      peer_id: peer.peerId,
      storage_id: peer.storageId ?? null,
      principal: peer.rights.principal,
      author: peer.rights.author,
      since: iso(peer.joinedAt),
      documents: peer.documentCount,
    })),
    documents: readable.slice(0, limit).map((document) => ({
      doc: document.name ?? null,
      automerge_url: `automerge:${document.id}`,
      peers: document.holders.size,
    })),
    more: all.peers.length > limit || readable.length > limit,
    seq,
    cursor: cursorAt(db, seq),
  };
  return json(200, status, pointHeaders(db, seq));
}
