import { isStub, entriesIn } from "../log/erased.ts";
import { Records } from "../log/records.ts";
import type { WalkedDoc } from "../log/walk.ts";
import type { DocumentRow } from "../store/sqlite-views.ts";
import { guarded } from "./check-catalog.ts";
import type { Checking } from "./checking.ts";

/**
 * That nothing is left of an erased document: no change in the log, no value, no saved form. While it is being removed
 * there may be.
 */
export function checkRemoved(
  { db, storage, report }: Checking,
  { doc, row }: { readonly doc: WalkedDoc; readonly row: DocumentRow | undefined },
): void {
  const { name } = doc.state;
  if (db.log.erasing().some((fact) => fact.name === name)) return;
  const left = (what: string, heals?: "rebuild"): void => report("removed", `${name}: ${what}`, heals);
  // Nothing that was expanded before.
  const records = new Records(storage);
  for (const seq of doc.touches) {
    const stored = records.commit(seq);
    if (!stored) continue;
    for (const { entry, from, to } of entriesIn(stored.commit)) {
      if (entry.doc === name && !stored.blocks.slice(from, to).every(isStub))
        return left(`commit ${seq} has changes of it`);
    }
  }
  if (row && (row.json !== undefined || row.problem !== undefined || !row.deleted))
    left("the projection has a value of it", "rebuild");
  const where = (text: string): void => report("saved", text, "rebuild");
  if (guarded(where, name, () => db.views.saved(name))) left("it has a saved form", "rebuild");
}
