import type * as z from "zod";
import type { SqlBatch } from "../protocol/query-wire.ts";
import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import { jsonText } from "./body.ts";
import { argsOf, valuesOf } from "./query-args.ts";
import { actionsOf, callerOf, clientTxIdOf, counted, given, isDryRun, mustHave } from "./query-answer.ts";
import { cursorAt, pointHeaders } from "./point.ts";
import { json, type Answer, type Call } from "./route.ts";

/** Every statement is looked at before the first one runs. */
export async function batchAnswer(call: Call): Promise<Answer> {
  const { statements, branch, message, ...rest } = call.body.value as z.infer<typeof SqlBatch>;
  const { queries } = call.services;
  const needed = new Set(statements.flatMap(({ sql }) => actionsOf(queries.classify(sql))));
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
    const written = await counted(call, "batch", () =>
      (queries as unknown as { batch(...given: unknown[]): Promise<{ seq: number }> }).batch(
        db,
        batch,
        call.signal,
      ),
    );
    return json(200, { ...written, cursor: cursorAt(db, written.seq) }, pointHeaders(db, written.seq));
  });
}
