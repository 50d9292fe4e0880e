import * as z from "zod";
import type { HeldReceipt } from "../db/check-evidence.ts";
import { SkaldError } from "../errors.ts";
import { looksLikeCid } from "../ids/cid.ts";
import { HeldReceiptLine, VerifyLine } from "../protocol/wire.ts";
import { jsonText } from "./body.ts";
import type { Answer, Call, Route } from "./route.ts";

const NDJSON = "application/x-ndjson";
const tag = "log";
const query = z.strictObject({
  only: z
    .literal("log")
    .optional()
    .meta({ description: "The log alone, and nothing that is derived of it." }),
});
const answers = {
  200: { description: "One JSON object a line.", types: { [NDJSON]: VerifyLine } },
};

export const verifyRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/verify",
    summary: "Check every byte of the log, and what is derived of it",
    description:
      "Lines of progress; the last one has the verdict and names what is wrong. A problem with `heals` is of derived data alone: that is how it is put right.",
    job: true,
    tag,
    access: "doc.read",
    query,
    answers,
    handle: (call) => verify(call, []),
  },
  {
    method: "POST",
    path: "/db/:db/verify",
    summary: "The same, and whether receipts that the caller holds are still true",
    description:
      "The body is lines of receipts as writes were answered; `seq` and `commit` of each are compared with the log. A line with a `db` counts only for that one. Nothing is written.",
    job: true,
    tag,
    access: "doc.read",
    query,
    body: { types: { [NDJSON]: "raw" } },
    answers,
    handle: (call) => verify(call, receiptsIn(call.body.bytes, call.params["db"] as string)),
  },
];

function verify(call: Call, receipts: readonly HeldReceipt[]): Answer {
  const db = call.params["db"] as string;
  // HEAD does not begin the stream, so it would not notice.
  call.services.engine.folderOf(db);
  const only = call.query["only"] === "log" ? ({ only: "log" } as const) : {};
  return {
    status: 200,
    headers: { "content-type": NDJSON },
    body: call.services.verify(db, call.signal, { ...only, receipts }),
  };
}

/** The receipts of a body, one a line; other fields are left alone. Throws BAD_JSON, BAD_REQUEST. */
function receiptsIn(bytes: Uint8Array, db: string): HeldReceipt[] {
  const receipts: HeldReceipt[] = [];
  jsonText(bytes)
    .split("\n")
    .forEach((line, i) => {
      if (line.trim() === "") return;
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch (cause) {
        throw new SkaldError("BAD_JSON", `Line ${i + 1} is not JSON: ${(cause as Error).message}.`, {
          cause,
        });
      }
      const { success, data } = HeldReceiptLine.safeParse(value);
      // What was answered before a db had any commit names none.
      if (success && data.seq === 0 && data.commit === "") return;
      if (!success || !looksLikeCid(data.commit))
        throw new SkaldError("BAD_REQUEST", `Line ${i + 1} is no receipt: it needs "seq" and "commit".`);
      if (data.db === undefined || data.db === db) receipts.push({ seq: data.seq, commit: data.commit });
    });
  return receipts;
}
