import * as A from "@automerge/automerge/slim";

/**
 * Makes the map `draft` of an Automerge change hold what `value` holds, with as little change as it takes: what
 * is equal is not touched, texts are changed where they differ, lists between their equal beginning and end.
 */
export function writeValue(draft: object, value: object): void {
  writeMap(draft as Fields, value as Fields, draft, []);
}

type Fields = Record<string, unknown>;
type Path = readonly (string | number)[];

function writeMap(target: Fields, value: Fields, root: object, path: Path): void {
  for (const key of Object.keys(target)) if (!Object.hasOwn(value, key)) delete target[key];
  for (const key of Object.keys(value)) {
    const after = value[key];
    if (after === undefined) {
      if (Object.hasOwn(target, key)) delete target[key];
    } else if (!Object.hasOwn(target, key) || !writeInto(target[key], after, root, [...path, key])) {
      target[key] = copyOf(after);
    }
  }
}

function writeList(target: unknown[], value: readonly unknown[], root: object, path: Path): void {
  let start = 0;
  while (start < target.length && start < value.length && equal(target[start], value[start])) start += 1;
  let end = 0;
  while (
    end < target.length - start &&
    end < value.length - start &&
    equal(target[target.length - 1 - end], value[value.length - 1 - end])
  ) {
    end += 1;
  }
  const removed = target.length - start - end;
  const added = value.length - start - end;
  // Items that stand for each other are changed inside, so that what others write into them meanwhile stays.
  const kept = Math.min(removed, added);
  for (let i = start; i < start + kept; i += 1) {
    if (!writeInto(target[i], value[i], root, [...path, i])) target[i] = copyOf(value[i]);
  }
  if (removed > kept) target.splice(start + kept, removed - kept);
  if (added > kept) target.splice(start + kept, 0, ...value.slice(start + kept, start + added).map(copyOf));
}

/** Whether `before` could be made `after` without being replaced. */
function writeInto(before: unknown, after: unknown, root: object, path: Path): boolean {
  if (equal(before, after)) return true;
  if (typeof before === "string" && typeof after === "string") {
    A.updateText(root, [...path], after);
    return true;
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    writeList(before, after, root, path);
    return true;
  }
  if (isMap(before) && isMap(after)) {
    writeMap(before, after, root, path);
    return true;
  }
  return false;
}

function isMap(value: unknown): value is Fields {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    !(value instanceof Date)
  );
}

function equal(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Date || b instanceof Date) {
    return a instanceof Date && b instanceof Date && a.getTime() === b.getTime();
  }
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return (
      a instanceof Uint8Array &&
      b instanceof Uint8Array &&
      a.length === b.length &&
      a.every((byte, i) => byte === b[i])
    );
  }
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal((a as Fields)[key], (b as Fields)[key]))
  );
}

/** The same as plain values: what hangs on another document cannot be written into this one. */
export function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (!isMap(value) || isScalarObject(value)) return value;
  const copy: Fields = {};
  for (const [key, part] of Object.entries(value)) {
    // Set plainly, a key `__proto__` would replace the prototype.
    Object.defineProperty(copy, key, {
      value: copyOf(part),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}

/** Automerge's own kinds of values: counters, immutable strings. */
function isScalarObject(value: object): boolean {
  return A.isCounter(value) || A.isImmutableString(value);
}
