import * as z from "zod";
import { CursorText, DocRef, Time } from "./wire.ts";

export const SyncStatus = z
  .object({
    path: z.string().meta({ description: "Of the socket, below this server's URL." }),
    root: z.boolean().meta({ description: "Whether the db is synced at `/` too, without a credential." }),
    storage_id: z.string().meta({
      description: "Under which clients know this copy of the db: `handle.getSyncInfo(storageId)`.",
    }),
    peer_count: z.int(),
    document_count: z.int().meta({ description: "Documents that peers have open or ask for." }),
    bytes: z.int().meta({ description: "What their histories take in memory, roughly." }),
    peers: z.array(
      z.object({
        peer_id: z.string().meta({ description: "As it calls itself; proves nothing." }),
        storage_id: z.string().nullable(),
        principal: z.string().meta({ description: "Id of who it came in as." }),
        author: z.string().meta({ description: "Of the commits with what it sends." }),
        since: Time,
        documents: z.int(),
      }),
    ),
    documents: z.array(
      z.object({
        doc: DocRef.nullable().meta({ description: "null while there is none with this id." }),
        automerge_url: z.string(),
        peers: z.int().meta({ description: "Peers that have it open or ask for it." }),
      }),
    ),
    more: z.boolean().meta({ description: "Peers or documents beyond `limit` are left out." }),
    seq: z.int(),
    cursor: CursorText,
  })
  .meta({ id: "SyncStatus" });
