import type { Log } from "../log/log.ts";
import { nextTurn } from "../world.ts";

const PAGE = 256;

/** How many documents there were after commit `seq`, and how many that had been deleted by then. Lets others go on in between. */
export async function countsAt(
  log: Log,
  seq: number,
  branch?: string,
): Promise<{ documents: number; deleted: number }> {
  const counts = { documents: 0, deleted: 0 };
  if (seq === 0) return counts;
  for (let after = ""; ;) {
    const page = log.list("", after, PAGE, true, branch);
    for (const state of page) {
      after = state.name;
      const point = state.first <= seq ? log.stateAt(state.name, seq, branch) : undefined;
      if (point) counts[point.deleted ? "deleted" : "documents"] += 1;
    }
    if (page.length < PAGE) return counts;
    await nextTurn(log.world);
  }
}
