import * as z from "zod";
import type { Db } from "../db/db.ts";
import { encodeCheckpoint, type Checkpoint } from "../ids/checkpoint.ts";
import { cidToString } from "../ids/cid.ts";
import { sha256Hex, toHex } from "../ids/hash.ts";
import { HeadJson } from "../protocol/wire.ts";
import { notModified } from "./etag.ts";
import { branchIn, cursorAt, iso, pointHeaders, pointQuery } from "./point.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";

const tag = "log";
const TEXT = "text/plain; charset=utf-8";

export const headRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/head",
    summary: "Where the db stands, signed by this server when it has a key",
    description:
      "A checkpoint: a signed note of the branch, its seq, commit and time. Whoever keeps it can tell later whether a history goes on from it: `skald verify --against`.",
    tag,
    access: "doc.read",
    query: z.strictObject({ branch: pointQuery.branch }),
    answers: {
      200: { description: "The checkpoint.", types: { "text/plain": "raw", "application/json": HeadJson } },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) => {
      const branch = branchIn(call);
      return call.db((db) => headAnswer(call, db, db.checkpoint(branch)));
    },
  },
];

/** The checkpoint in the form that the caller names: text unless it asks for JSON. */
export function headAnswer(call: Call, db: Db, checkpoint: Checkpoint): Answer {
  const text = encodeCheckpoint(checkpoint);
  const asJson = (call.header("accept") ?? "").toLowerCase().includes("application/json");
  const etag = `"${sha256Hex(Buffer.from(text)).slice(0, 32)}${asJson ? ";json" : ""}"`;
  const headers = { ...pointHeaders(db, checkpoint.seq), etag, vary: "accept" };
  if (notModified(call.header("if-none-match"), etag)) return { status: 304, headers };
  if (asJson) return json(200, headJson(db, checkpoint, text), headers);
  return { status: 200, headers: { ...headers, "content-type": TEXT }, body: text };
}

function headJson(db: Db, checkpoint: Checkpoint, text: string): z.infer<typeof HeadJson> {
  const { uid, branch, seq, commit, time, signed } = checkpoint;
  return {
    db: db.id,
    uid: toHex(uid),
    branch,
    seq,
    commit: commit ? cidToString(commit) : null,
    time: time === undefined ? null : iso(time),
    signed: signed
      ? { signer: signed.signer, signature: Buffer.from(signed.signature).toString("base64") }
      : null,
    checkpoint: text,
    cursor: cursorAt(db, seq),
  };
}
