import type * as z from "zod";
import { mayMint, parseScope } from "../auth/policy.ts";
import { streamDb, streamFiles } from "../backup/serve.ts";
import { SkaldError } from "../errors.ts";
import { BackupRequest } from "../protocol/wire.ts";
import { placeOf } from "../replication/peer.ts";
import { noted } from "./noted.ts";
import type { Route } from "./route.ts";

const tag = "backup";

export const backupRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/backup",
    summary: "Everything of a db that cannot be made anew, from a commit on that a backup has",
    description:
      "For `skald backup`: a CBOR sequence of byte strings, a note in JSON, the log's records and bundles as they are kept, a note. A stream without the last note broke off.",
    job: true,
    keepsLog: true,
    tag,
    access: "db.admin",
    body: { types: { "application/json": BackupRequest } },
    answers: { 200: { description: "The stream.", types: { "application/cbor-seq": "raw" } } },
    handle: (call) => {
      const { have, known, all } = call.body.value as z.infer<typeof BackupRequest>;
      return {
        status: 200,
        headers: { "content-type": "application/cbor-seq", "cache-control": "no-store" },
        body: streamDb(call.services.engine, call.params["db"] as string, {
          have: have.map(placeOf),
          ...(known ? { known: placeOf(known) } : {}),
          all,
        }),
      };
    },
  },
  {
    method: "GET",
    path: "/admin/backup",
    summary: "The server's own files, for a backup: tokens' hashes, secrets, signing keys, the audit log",
    description:
      "For an administrator, whose token has `*:*`: who has these files can sign in the server's name. A CBOR sequence of byte strings: for each file a note in JSON and its bytes, and a note at the end.",
    job: true,
    tag,
    access: "admin.token",
    answers: { 200: { description: "The stream.", types: { "application/cbor-seq": "raw" } } },
    handle: async (call) => {
      const { services, principal } = call;
      if (!mayMint(principal, [EVERYTHING]))
        throw new SkaldError("FORBIDDEN", "A backup of the server needs a token with `*:*`.", {
          details: { action: "*" },
        });
      await noted(call, "backup.take");
      return {
        status: 200,
        headers: { "content-type": "application/cbor-seq", "cache-control": "no-store" },
        body: streamFiles(services.engine.dir, services.world),
      };
    },
  },
];

const EVERYTHING = parseScope("*:*");
