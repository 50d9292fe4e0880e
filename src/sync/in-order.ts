import type { ChangeHeader } from "../log/change.ts";
import type { History } from "./history.ts";

/**
 * Changes that are not in the history yet, split into those that can be taken now, each after what it builds on,
 * and those that lack something. Keeps the order given where it can.
 */
export async function inOrder(
  headers: readonly ChangeHeader[],
  history: History,
): Promise<{ ready: readonly ChangeHeader[]; waiting: readonly ChangeHeader[] }> {
  const [only] = headers;
  if (only && headers.length === 1 && history.next(only)) return { ready: headers, waiting: [] };
  const pace = history.pace();
  const fresh = new Map<string, ChangeHeader>();
  for (const header of headers) {
    if (fresh.has(header.hash) || history.refused(header.hash)) continue;
    if (history.fresh(header.actor, header.seq) || (await history.seqOf(header.hash)) === undefined)
      fresh.set(header.hash, header);
    if (pace.due()) await pace.turn();
  }
  const ready: ChangeHeader[] = [];
  /** How many of the fresh ones each still lacks, and who waits for whom. */
  const lacks = new Map<string, number>();
  const dependents = new Map<string, ChangeHeader[]>();
  const there = new Map<string, boolean>();
  for (const header of fresh.values()) {
    let missing = 0;
    for (const dep of header.deps) {
      if (fresh.has(dep)) {
        if (lacks.get(dep) === 0) continue;
        missing += 1;
        const others = dependents.get(dep);
        if (others) others.push(header);
        else dependents.set(dep, [header]);
        continue;
      }
      let known = there.get(dep);
      if (known === undefined) {
        known = history.implied(dep) || (await history.seqOf(dep)) !== undefined;
        there.set(dep, known);
      }
      if (!known) missing = Number.POSITIVE_INFINITY;
    }
    lacks.set(header.hash, missing);
    if (missing === 0) release(header);
    if (pace.due()) await pace.turn();
  }
  return { ready, waiting: [...fresh.values()].filter(({ hash }) => lacks.get(hash) !== 0) };

  function release(first: ChangeHeader): void {
    const stack = [first];
    for (let header = stack.pop(); header; header = stack.pop()) {
      ready.push(header);
      const others = dependents.get(header.hash) ?? [];
      dependents.delete(header.hash);
      for (let i = others.length - 1; i >= 0; i -= 1) {
        const other = others[i] as ChangeHeader;
        const left = (lacks.get(other.hash) as number) - 1;
        lacks.set(other.hash, left);
        if (left === 0) stack.push(other);
      }
    }
  }
}
