import {
  depthOf,
  isObject,
  type Json,
  type JsonObject,
  LEVELS,
  refuseProblems,
  toPointer,
  type ValueProblem,
} from "./json-value.ts";

type Path = readonly (string | number)[];

/** Throws VALUE_INVALID for a value that is no document. */
export function asDocument(value: Json): JsonObject {
  if (!isObject(value)) refuseProblems([{ pointer: "", detail: "a document is an object" }]);
  return value as JsonObject;
}

/** How the Automerge number that stores a JSON number is typed. */
export function isStoredAsInt(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

/**
 * Adds what keeps a value from being stored under `path` to `problems`; true when nothing does. For values and not
 * for the text they came in: what is not written need not be storable.
 */
export function isStorable(value: Json, path: Path, problems: ValueProblem[]): boolean {
  const before = problems.length;
  if (path.length + depthOf(value) > LEVELS) {
    problems.push({ pointer: toPointer(path), detail: `more than ${LEVELS} levels` });
  } else {
    findBigIntegers(value, path, problems);
  }
  return problems.length === before;
}

function findBigIntegers(value: Json, path: Path, problems: ValueProblem[]): void {
  if (typeof value === "bigint") {
    problems.push({
      pointer: toPointer(path),
      detail: "an integer outside ±9007199254740991; send it as a string",
    });
  } else if (Array.isArray(value)) {
    value.forEach((item, i) => findBigIntegers(item, [...path, i], problems));
  } else if (isObject(value)) {
    for (const key of Object.keys(value)) findBigIntegers(value[key] as Json, [...path, key], problems);
  }
}

/**
 * Whether a value holds a whole number beyond 2^53: Automerge's batch insertion takes every whole number for an
 * integer and cuts 1e21 off at 2^63 - 1, so what holds one is written step by step.
 */
export function hasHugeFloat(value: Json): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  if (typeof value !== "object" || value === null) return false;
  return (Array.isArray(value) ? value : Object.values(value)).some(hasHugeFloat);
}
