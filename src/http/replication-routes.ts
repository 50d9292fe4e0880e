import type * as z from "zod";
import type { Action } from "../auth/actions.ts";
import { isPersonId } from "../auth/person-record.ts";
import { allows } from "../auth/policy.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import {
  SyncCompare,
  SyncCompareRequest,
  SyncMerged,
  SyncPlace,
  SyncPullRequest,
  SyncPushed,
  SyncRemote,
} from "../protocol/wire.ts";
import { placeJson, placeOf } from "../replication/peer.ts";
import { compareLines, streamRecords, takePush, takeStaged } from "../replication/serve.ts";
import { noted } from "./noted.ts";
import { cursorAt } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";

const CBOR_SEQUENCE = "application/cbor-seq";
const tag = "replication";

export const replicationRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/sync/compare",
    summary: "Where a copy of a db stands, and up to where another one agrees",
    job: true,
    tag,
    access: "sync",
    body: { types: { "application/json": SyncCompareRequest } },
    answers: { 200: { description: "Places in its line.", types: { "application/json": SyncCompare } } },
    handle: (call) => {
      also(call, "doc.read");
      const { have, between } = call.body.value as z.infer<typeof SyncCompareRequest>;
      return call.db(async (db) => {
        const { head, common, places, staged } = await compareLines(db, have.map(placeOf), between);
        const answer: z.infer<typeof SyncCompare> = {
          db: db.id,
          uid: toHex(db.log.identity.uid),
          ...placeJson(head),
          epoch: db.log.epoch,
          common: placeJson(common),
          places: places.map(placeJson),
          staged: staged ? placeJson(staged) : null,
        };
        return json(200, answer);
      });
    },
  },
  {
    method: "POST",
    path: "/db/:db/sync/pull",
    summary: "Every record after a commit that both copies have",
    description:
      "A CBOR sequence: a map of `uid`, `after` and `commit`, the records as byte strings in order, and a map of `end` and `commit`. A stream without that end broke off; ask again after the last whole record.",
    job: true,
    tag,
    access: "sync",
    body: { types: { "application/json": SyncPullRequest } },
    answers: { 200: { description: "The records.", types: { [CBOR_SEQUENCE]: "raw" } } },
    handle: (call) => {
      also(call, "doc.read");
      const { after, up_to } = call.body.value as z.infer<typeof SyncPullRequest>;
      return {
        status: 200,
        headers: { "content-type": CBOR_SEQUENCE },
        body: streamRecords((work) => call.db(work), placeOf(after), up_to),
      };
    },
  },
  {
    method: "POST",
    path: "/db/:db/sync/push",
    summary: "Add records that follow the head",
    description:
      "A CBOR sequence as a pull gives it, without its last map: a page of records that follow commit `after`, which must be the head. Each is checked like a write, and all of them are kept or none. When the answer comes they are durable.",
    job: true,
    tag,
    access: "sync",
    body: { types: { [CBOR_SEQUENCE]: "raw" }, maxBytes: LIMITS.sync.pageBytes.value },
    answers: { 200: { description: "Durable.", types: { "application/json": SyncPushed } } },
    handle: (call) => {
      also(call, "doc.write");
      // Records come with their authors' names: an editor writes under his own.
      if (isPersonId(call.principal.id)) also(call, "db.admin");
      return call.db(async (db) => {
        const head = await takePush(db, call.body.bytes, {
          erase: allows(call.principal, "db.admin", db.id),
          define: allows(call.principal, "query.admin", db.id),
        });
        const answer: z.infer<typeof SyncPushed> = { ...placeJson(head), cursor: cursorAt(db, head.seq) };
        return json(200, answer);
      });
    },
  },
  {
    method: "POST",
    path: "/db/:db/sync/stage",
    summary: "Keep records of another copy's line beside this one, to be merged",
    description:
      "A page as a push has it, which follows the last staged record, or begins anew after a commit that both lines have. Nothing of it counts before a merge.",
    job: true,
    tag,
    access: "db.admin",
    body: { types: { [CBOR_SEQUENCE]: "raw" }, maxBytes: LIMITS.sync.pageBytes.value },
    answers: {
      200: { description: "Where that line is, durably.", types: { "application/json": SyncPlace } },
    },
    handle: (call) => call.db(async (db) => json(200, placeJson(await takeStaged(db, call.body.bytes)))),
  },
  {
    method: "POST",
    path: "/db/:db/sync/merge",
    summary: "Adopt the staged line, with this copy's own commits merged on top of it",
    description:
      "The body names the last staged commit. Afterwards this copy has the other's line and merges that hold its own commits since the last common one. The db starts a new life: places after that commit are others.",
    job: true,
    tag,
    access: "db.admin",
    body: { types: { "application/json": SyncPlace } },
    answers: { 200: { description: "Merged, durably.", types: { "application/json": SyncMerged } } },
    handle: async (call) => {
      const db = call.params["db"] as string;
      const staged = placeOf(call.body.value as z.infer<typeof SyncPlace>);
      const merged = await call.services.engine.merge(db, staged, call.principal.subject);
      await noted(call, "db.merge");
      const { head, common, here, there, line } = merged;
      const answer: z.infer<typeof SyncMerged> = {
        seq: head.seq,
        commit: cidToString(head.cid ?? new Uint8Array(0)),
        epoch: line.life.epoch,
        common,
        heads: [placeJson(here), placeJson(there)],
        cursor: await call.db((held) => cursorAt(held, head.seq)),
      };
      return json(200, answer);
    },
  },
  {
    method: "GET",
    path: "/db/:db/sync/remote",
    summary: "Where a copy was cloned from",
    tag,
    access: "db.admin",
    answers: { 200: { description: "The other server's db.", types: { "application/json": SyncRemote } } },
    handle: (call) => {
      const url = call.services.engine.remoteOf(call.params["db"] as string);
      if (url === undefined)
        throw new SkaldError("NOT_FOUND", "It is not remembered where this db came from.", {
          hint: "Name the other server's URL.",
        });
      return json(200, { url });
    },
  },
  {
    method: "PUT",
    path: "/db/:db/sync/remote",
    summary: "Remember where a copy was cloned from",
    noted: "db.remote",
    tag,
    access: "db.admin",
    body: { types: { "application/json": SyncRemote } },
    answers: { 200: { description: "Remembered.", types: { "application/json": SyncRemote } } },
    handle: (call) => {
      const { url } = call.body.value as z.infer<typeof SyncRemote>;
      checkRemote(url);
      call.services.engine.setRemote(call.params["db"] as string, url);
      return json(200, { url });
    },
  },
];

/** `sync` is needed for all of these, and what it does to documents on the whole db as well. */
function also(call: Call, action: Action): void {
  const db = call.params["db"] as string;
  if (allows(call.principal, action, db)) return;
  throw new SkaldError("FORBIDDEN", `The token does not allow ${action} on the whole db ${db}.`, {
    details: { action, db },
  });
}

/** Nobody asks this URL by himself, but it is shown: a password in it would be as well. Throws BAD_REQUEST. */
function checkRemote(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (
    url &&
    /^https?:$/.test(url.protocol) &&
    url.username === "" &&
    url.password === "" &&
    url.search === ""
  )
    return;
  throw new SkaldError("BAD_REQUEST", "A remote is the http or https URL of a db, without credentials.");
}
