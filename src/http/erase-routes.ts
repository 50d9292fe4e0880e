import * as z from "zod";
import type { Db } from "../db/db.ts";
import { applyErasures, listErasures } from "../db/erasure.ts";
import { applyRetention, setRetention } from "../db/retention.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { checkTxId, parseDocName } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import type { Receipt } from "../log/log.ts";
import {
  EraseAnswer,
  EraseRequest,
  ErasureList,
  ErasureRequest,
  ErasuresApplied,
  RetentionApplied,
  RetentionList,
  RetentionRequest,
  RetentionSet,
} from "../protocol/wire.ts";
import { DOC_PATH, docOf } from "./doc-routes.ts";
import { noted } from "./noted.ts";
import { cursorAt, iso, nameCursor, nameOfCursor, nextLink, pageQuery, pointHeaders } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";
import { idempotencyKey } from "./tx-routes.ts";

const tag = "erasure";
const STAYS =
  "Commits are never rewritten: the document's name, who wrote it when and under which message, and the counts and hashes of its changes stay.";

export const eraseRoutes: readonly Route[] = [
  {
    method: "POST",
    path: `${DOC_PATH}/erase`,
    summary: "Erase a document: its bytes are removed everywhere on this server",
    description: `Its name stays taken: every read and write of it is \`ERASED\` from then on. ${STAYS} Copies of the db on other servers erase it when they pull, or when this is pushed to them.`,
    tag,
    access: "db.admin",
    resource: docOf,
    job: true,
    body: { types: { "application/json": EraseRequest } },
    answers: {
      200: {
        description: "Erased, durably; `removed` says whether nothing is left.",
        types: { "application/json": EraseAnswer },
      },
    },
    handle: (call) => {
      const doc = docOf(call.params);
      const { reason, client_tx_id: given } = call.body.value as z.infer<typeof EraseRequest>;
      const clientTxId = given === undefined ? idempotencyKey(call) : checkTxId(given);
      return call.db(async (db) => {
        const { receipt, removed, blocks, bytes } = await db.erase({
          author: call.principal.subject,
          docs: [doc],
          ...(reason === undefined ? {} : { reason }),
          ...(clientTxId === undefined ? {} : { clientTxId }),
        });
        await noted(call, "doc.erase", { detail: doc });
        const answer: z.infer<typeof EraseAnswer> = {
          doc,
          ...placed(db, receipt),
          duplicate: receipt.duplicate,
          removed,
          blocks,
          bytes,
          stays: STAYS,
        };
        return json(200, answer);
      });
    },
  },
  {
    method: "GET",
    path: "/db/:db/erasures",
    summary: "Documents that were erased",
    tag,
    access: "doc.read",
    query: z.strictObject({
      ...pageQuery,
      doc: z
        .union([z.string(), z.array(z.string()).max(LIMITS.query.paths.value)])
        .optional()
        .meta({ description: "Only of these." }),
    }),
    answers: { 200: { description: "A page.", types: { "application/json": ErasureList } } },
    handle: (call) =>
      call.db((db) => {
        const { limit, cursor, doc } = call.query as {
          limit: number;
          cursor?: string;
          doc?: string | string[];
        };
        const only = doc === undefined ? undefined : [doc].flat();
        for (const name of only ?? []) parseDocName(name);
        const after = cursor === undefined ? "" : nameOfCursor("erasures", cursor);
        const { erasures, more } = listErasures(db, after, limit, only);
        const next = more ? nameCursor("erasures", erasures.at(-1)?.doc ?? "") : null;
        const answer: z.infer<typeof ErasureList> = {
          erasures: erasures.map(({ doc: name, seq, commit, time }) => ({
            doc: name,
            seq,
            commit: cidToString(commit),
            time: iso(time),
          })),
          cursor: next,
        };
        const query = only === undefined ? { limit } : { limit, doc: only };
        return json(200, answer, {
          ...pointHeaders(db, db.log.head().seq),
          ...nextLink(`/api/v1/db/${call.params["db"]}/erasures`, query, next),
        });
      }),
  },
  {
    method: "POST",
    path: "/db/:db/erasures",
    summary: "Erase what was erased in another copy of the db",
    description:
      "Takes a page of `GET …/erasures` of that copy. Documents that are not here are erased as well: their names are taken from then on.",
    tag,
    access: "db.admin",
    job: true,
    body: { types: { "application/json": ErasureRequest } },
    answers: {
      200: { description: "How many were erased.", types: { "application/json": ErasuresApplied } },
    },
    handle: (call) => {
      const { erasures } = call.body.value as z.infer<typeof ErasureRequest>;
      for (const { doc } of erasures) parseDocName(doc);
      return call.db(async (db) => {
        const erased = await applyErasures(db, erasures, call.principal.subject);
        if (erased > 0) await noted(call, "doc.erase", { detail: `${erased} documents` });
        return json(200, { erased });
      });
    },
  },
  {
    method: "GET",
    path: "/db/:db/retention",
    summary: "The rules of retention",
    tag,
    access: "doc.read",
    answers: { 200: { description: "By collection.", types: { "application/json": RetentionList } } },
    handle: (call) =>
      call.db((db) => {
        const answer: z.infer<typeof RetentionList> = {
          rules: db.log.retention().map(({ collection, maxAge = 0, expire }) => ({
            collection,
            max_age: maxAge,
            expire,
          })),
        };
        return json(200, answer);
      }),
  },
  {
    method: "PUT",
    path: "/db/:db/retention/:collection",
    summary: "Set the rule of a collection",
    tag,
    access: "db.admin",
    body: { types: { "application/json": RetentionRequest } },
    answers: { 200: { description: "Set, durably.", types: { "application/json": RetentionSet } } },
    handle: (call) => {
      const { max_age: maxAge, expire = false } = call.body.value as z.infer<typeof RetentionRequest>;
      return setRule(call, { maxAge, expire });
    },
  },
  {
    method: "DELETE",
    path: "/db/:db/retention/:collection",
    summary: "Take the rule of a collection away",
    tag,
    access: "db.admin",
    answers: { 200: { description: "Gone, durably.", types: { "application/json": RetentionSet } } },
    handle: (call) => {
      const collection = call.params["collection"] ?? "";
      return call.db((db) => {
        if (!db.log.retention().some((rule) => rule.collection === collection))
          throw new SkaldError("NOT_FOUND", `The collection ${collection} has no rule of retention.`, {
            hint: "GET …/retention lists them.",
          });
        return setRule(call, { maxAge: undefined, expire: false });
      });
    },
  },
  {
    method: "POST",
    path: "/db/:db/retention/apply",
    summary: "Apply the rules of retention now",
    tag,
    access: "db.admin",
    job: true,
    answers: { 200: { description: "What was erased.", types: { "application/json": RetentionApplied } } },
    handle: (call) =>
      call.db(async (db) => {
        const applied = await applyRetention(db, call.principal.subject);
        if (applied.documents > 0)
          await noted(call, "retention.apply", { detail: `${applied.documents} documents` });
        return json(200, { ...applied, commits: [...applied.commits] });
      }),
  },
];

function setRule(call: Call, rule: { maxAge: number | undefined; expire: boolean }) {
  const collection = call.params["collection"] ?? "";
  return call.db(async (db) => {
    const clientTxId = idempotencyKey(call);
    const receipt = await setRetention(db, call.principal.subject, { collection, ...rule }, clientTxId);
    await noted(call, "retention.set", { detail: collection });
    return json(200, placed(db, receipt));
  });
}

function placed(db: Db, { commit, seq, time }: Receipt): z.infer<typeof RetentionSet> {
  return { commit, seq, time: iso(time), cursor: cursorAt(db, seq) };
}
