import { cidToString } from "../ids/cid.ts";
import { FINDINGS, verifyLog } from "../log/verify.ts";
import { openSqliteLog } from "../store/sqlite-log.ts";
import { nextTurn } from "../world.ts";
import type { Engine } from "./engine.ts";

/**
 * Checks a db's log as it is on disk, through a reader of its own, in slices that leave room for
 * others. Yields lines of JSON: progress, then the verdict. Writers go on meanwhile: what is checked
 * is the log up to where it was at the start.
 */
export async function* verifyLines(
  engine: Engine,
  dbId: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const storage = openSqliteLog(engine.folderOf(dbId), dbId, { readonly: true });
  try {
    const walk = verifyLog(storage);
    let shown = -Infinity;
    for (;;) {
      if (signal.aborted) return;
      const step = walk.next();
      if (step.done) {
        const { checked, of, findings, head } = step.value;
        yield `${JSON.stringify({
          checked,
          of,
          verdict: findings.length === 0 ? "sound" : "damaged",
          seq: of,
          commit: head ? cidToString(head) : null,
          problems: findings.map(({ what, where }) => ({ what, where, means: FINDINGS[what] })),
        })}\n`;
        return;
      }
      const now = engine.world.monotonic();
      if (now - shown > 200) {
        shown = now;
        yield `${JSON.stringify(step.value)}\n`;
      }
      await nextTurn(engine.world);
    }
  } finally {
    storage.close();
  }
}
