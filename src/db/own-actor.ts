import { blake3, fromHex, toHex } from "../ids/hash.ts";
import type { DocState } from "../log/doc-state.ts";

const encoder = new TextEncoder();
const BRANCH_DOMAIN = encoder.encode("skald/branch-actor/1");
const DOMAIN = encoder.encode("skald/next-actor/1");

/**
 * The actors this server has written a document with and the one it writes with now, which is the last.
 * Nearly always that is one, the db's. But an actor with a change that was set aside has come to its end in
 * the document: its next number stays used, and Automerge would count it anew. So the next actor follows.
 */
export function ownActors(first: Uint8Array, state: DocState | undefined): readonly string[] {
  const actors = [toHex(first)];
  if (!state || state.refused.size === 0) return actors;
  const ended = new Set(state.refused.values());
  for (let last = actors[0] as string; ended.has(last); actors.push(last)) last = nextActor(last);
  return actors;
}

/**
 * The first actor of this server on a branch: `first` itself on `main`. What one branch does not have of another must
 * not be written under the same numbers, so each has an actor of its own, which follows from the branch's id.
 */
export function actorOn(first: Uint8Array, branch: number): Uint8Array {
  if (branch === 0) return first;
  const id = new Uint8Array(8);
  new DataView(id.buffer).setBigUint64(0, BigInt(branch));
  return blake3(new Uint8Array([...BRANCH_DOMAIN, ...first, ...id])).slice(0, 16);
}

function nextActor(actor: string): string {
  return toHex(blake3(new Uint8Array([...DOMAIN, ...fromHex(actor)])).slice(0, 16));
}
