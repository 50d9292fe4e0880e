import type { Handle } from "./handle.ts";

/** What one side of a merge wrote that the other did not know of. */
export interface Side {
  /** Its heads, for reading the document as this side has it. */
  readonly heads: string[];
  /** Map keys and list elements that it set or deleted, by place. What it inserted is not among them. */
  readonly places: Map<string, Place>;
  /** Its last change within an object, by the object's id, in the order of those changes. */
  readonly inside: Map<string, string>;
  /** Its last increment of the counter at a place. */
  readonly increments: Map<string, string>;
  /** Ids of its operations. */
  readonly ops: Set<string>;
  /** Heads from which on the other side does not know it. */
  readonly base: string[];
}

/** A map key or a list element, and one side's operations on it. */
export interface Place {
  readonly obj: string;
  /** The key of a map. */
  readonly key: string | undefined;
  /** Id of the operation that inserted the element of a list. */
  readonly elem: string | undefined;
  readonly ops: SideOp[];
}

export interface SideOp {
  /** Automerge's id: `<counter>@<actor>`. */
  readonly id: string;
  readonly deletes: boolean;
  /** Operations that it takes the place of. */
  readonly pred: readonly string[];
  /** Hash of the change that has it. */
  readonly change: string;
}

/** The form in which Automerge's module gives an operation; its own types leave some of it out. */
interface DecodedOp {
  readonly action: string;
  readonly obj: string;
  readonly key?: string;
  readonly elemId?: string;
  readonly insert?: boolean;
  readonly pred: readonly string[];
}

/**
 * The changes in the past of `heads` and not of `others`, taken apart. The handle must have the past of both and
 * nothing else, so that whatever is not in the one is in the other. Costs what those changes hold.
 */
export function sideOf(handle: Handle, heads: string[], others: string[]): Side {
  const side: Side = {
    heads,
    places: new Map(),
    inside: new Map(),
    increments: new Map(),
    ops: new Set(),
    base: [],
  };
  const changes = handle.getChangesMeta(others);
  const own = new Set(changes.map(({ hash }) => hash));
  const before = [...heads, ...changes.flatMap(({ deps }) => deps)].filter((hash) => !own.has(hash));
  side.base.push(...new Set(before));
  for (const { hash, actor, startOp } of changes) {
    const ops = (handle.getDecodedChangeByHash(hash)?.ops ?? []) as unknown as readonly DecodedOp[];
    ops.forEach((op, i) => take(side, op, `${startOp + i}@${actor}`, hash));
  }
  return side;
}

function take(side: Side, op: DecodedOp, id: string, change: string): void {
  side.ops.add(id);
  // Anew, so that the last change stands last.
  side.inside.delete(op.obj);
  side.inside.set(op.obj, change);
  if (op.insert === true) return;
  const step = op.key === undefined ? `#${op.elemId}` : `/${op.key}`;
  const name = `${op.obj}${step}`;
  if (op.action === "inc") side.increments.set(name, change);
  const deletes = op.action === "del";
  if (!deletes && op.action !== "set" && !op.action.startsWith("make")) return;
  let place = side.places.get(name);
  if (!place) {
    place = { obj: op.obj, key: op.key, elem: op.key === undefined ? op.elemId : undefined, ops: [] };
    side.places.set(name, place);
  }
  place.ops.push({ id, deletes, pred: op.pred, change });
}
