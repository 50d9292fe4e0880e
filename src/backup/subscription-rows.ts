import { CborReader, CborWriter } from "../ids/cbor.ts";
import type { StoredSubscription } from "../store/contract.ts";
import { backupDamaged } from "./manifest.ts";

/** The durable subscriptions of a db as bytes: a list of name, definition and state, by name. */
export function encodeSubscriptions(rows: Iterable<StoredSubscription>): Uint8Array {
  const sorted = [...rows].sort((a, b) => (a.name < b.name ? -1 : 1));
  const w = new CborWriter();
  w.array(sorted.length);
  for (const { name, definition, state } of sorted) {
    w.text(name);
    w.text(definition);
    w.bytes(state);
  }
  return w.take();
}

/** Throws BACKUP_DAMAGED. */
export function decodeSubscriptions(bytes: Uint8Array, file: string): StoredSubscription[] {
  try {
    const r = new CborReader(bytes);
    const rows: StoredSubscription[] = [];
    for (let left = r.array(); left > 0; left -= 1)
      rows.push({ name: r.text(), definition: r.text(), state: r.bytes().slice() });
    r.end();
    return rows;
  } catch (error) {
    throw backupDamaged(file, (error as Error).message);
  }
}
