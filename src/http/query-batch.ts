import type * as z from "zod";
import type { SqlBatch } from "../protocol/query-wire.ts";
import type { Written } from "../query/writes.ts";
import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import { jsonText } from "./body.ts";
import { argsOf, valuesOf } from "./query-args.ts";
import {
  actionsOf,
  callerOf,
  classify,
  clientTxIdOf,
  counted,
  given,
  isDryRun,
  mustHave,
} from "./query-answer.ts";
import { cursorAt, pointHeaders } from "./point.ts";
import type { Answer, Call } from "./route.ts";

/** Every statement is looked at before the first one runs. */
export async function batchAnswer(call: Call): Promise<Answer> {
  const { statements, branch, message, ...rest } = call.body.value as z.infer<typeof SqlBatch>;
  const needed = new Set(statements.flatMap(({ sql }) => actionsOf(classify(call, sql))));
  for (const action of needed) mustHave(call, action);
  const texts = itemTexts(memberTexts(jsonText(call.body.bytes)).get("statements") ?? "[]");
  const read = statements.map(({ sql }, i) => {
    const members = memberTexts(texts[i] ?? "{}");
    const values = members.get("values");
    return values === undefined
      ? { sql, ...given({ args: argsOf(members.get("args")) }) }
      : { sql, values: valuesOf(values) };
  });
  const clientTxId = clientTxIdOf(call, rest.client_tx_id);
  return call.db(async (db) => {
    const batch = {
      statements: read,
      ...callerOf(call),
      ...given({ branch, message, clientTxId }),
      dryRun: isDryRun(call, rest.dry_run),
    };
    const written = await counted(call, "batch", () => call.services.batch(db, batch, call.signal));
    return {
      status: 200,
      headers: { "content-type": "application/json", ...pointHeaders(db, written.seq) },
      body: batchJson(written, cursorAt(db, written.seq)),
    };
  });
}

/** What each statement changed and gave. */
function batchJson({ seq, commit, duplicate, affected, answers }: Written, cursor: string): string {
  // Each answer in its own text, so that no number is read and written again.
  const texts = itemTexts(answers);
  const total = affected.reduce((sum, count) => sum + count, 0);
  const statements = affected.map((count, i) => {
    const text = texts[i] ?? "null";
    return `{"rows_affected":${count}${text === "null" ? "" : `,${text.slice(1, -1)}`}}`;
  });
  const point = JSON.stringify({ seq, commit, duplicate, cursor });
  return `{"rows_affected":${total},"statements":[${statements.join()}],${point.slice(1)}`;
}
