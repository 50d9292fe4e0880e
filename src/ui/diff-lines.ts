import { applyStep, type Held, type PatchStep } from "./json-patch.ts";

export type { PatchStep } from "./json-patch.ts";

export interface DiffLine {
  readonly path: string;
  readonly removed?: string;
  readonly added?: string;
}

/**
 * What a patch changes, step by step, as text. With `before`, the value that it is for, also what was there: steps
 * build on each other, so they are done one by one on a copy. A patch that does not fit is shown without.
 */
export function diffLines(patch: readonly PatchStep[], before?: unknown): DiffLine[] {
  let held: Held | undefined = before === undefined ? undefined : { value: structuredClone(before) };
  const lines: DiffLine[] = [];
  for (const step of patch) {
    if (step.op === "test") continue;
    let old: unknown;
    try {
      if (held) old = applyStep(held, step);
    } catch {
      held = undefined;
    }
    const { op, path, from, value } = step;
    lines.push({
      path: from === undefined ? path || "/" : `${from} → ${path}`,
      ...(op === "remove" ? { removed: old === undefined ? "" : shown(old) } : {}),
      ...(op === "replace" && old !== undefined ? { removed: shown(old) } : {}),
      // An "add" to a key that is there replaces it.
      ...(op === "add" && old !== undefined ? { removed: shown(old) } : {}),
      ...(op === "add" || op === "replace" ? { added: shown(value) } : {}),
    });
  }
  return lines;
}

function shown(value: unknown): string {
  return JSON.stringify(value, null, 2) ?? "";
}
