import { blake3, toHex } from "../ids/hash.ts";
import { checkCollection, parseDocName } from "../ids/names.ts";
import { CliError, usageError } from "./failure.ts";

/** How records become documents. */
export interface Naming {
  /** Collection of records that do not name one. Undefined: only those that do are taken. */
  readonly collection: string | undefined;
  /** Whether the collection was asked for, and so also holds for records that name one. */
  readonly forced: boolean;
  /** Field or JSON pointer of the key. */
  readonly key: string | undefined;
}

export interface NamedRecord {
  readonly doc: string;
  /** The document's JSON as it stood in the file: its numbers are never read and written again. */
  readonly json: string;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const KEY_FIELDS = ["id", "_id", "key"];

/** Throws BAD_JSON, IMPORT_INVALID, NAME_INVALID: then only this record is wrong. */
export function nameRecord(bytes: Uint8Array, naming: Naming): NamedRecord {
  let json: string;
  let value: unknown;
  try {
    json = utf8.decode(bytes);
    value = JSON.parse(json);
  } catch (cause) {
    throw new CliError("BAD_JSON", `It is not JSON: ${(cause as Error).message}.`, { cause });
  }
  if (!isObject(value)) throw new CliError("IMPORT_INVALID", "It is no JSON object, and a document is one.");
  const { collection, forced, key } = naming;
  if (key === undefined && isExported(value)) {
    const name = parseDocName(value.doc);
    return {
      doc: `${forced && collection !== undefined ? collection : name.collection}/${name.key}`,
      json: memberText(json, "value"),
    };
  }
  if (collection === undefined) {
    throw usageError("The records do not name their collection: give it with --collection.");
  }
  const doc = `${checkCollection(collection)}/${key === undefined ? ownKey(value) : keyAt(value, key)}`;
  parseDocName(doc);
  return { doc, json };
}

/** A line as `skald export` writes it, and nothing else: exactly these two fields. */
function isExported(value: Record<string, unknown>): value is { doc: string; value: object } {
  return (
    Object.keys(value).length === 2 &&
    typeof value["doc"] === "string" &&
    value["doc"].includes("/") &&
    isObject(value["value"])
  );
}

function keyAt(value: Record<string, unknown>, where: string): string {
  const path = where.startsWith("/")
    ? where
        .slice(1)
        .split("/")
        .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    : [where];
  let found: unknown = value;
  for (const name of path) {
    const holder: unknown = found;
    found =
      typeof holder === "object" && holder !== null && Object.hasOwn(holder, name)
        ? (holder as Record<string, unknown>)[name]
        : undefined;
  }
  const key = keyText(found);
  if (key === undefined) {
    throw new CliError("IMPORT_INVALID", `It has no string or integer at ${where} to be its key.`);
  }
  return key;
}

/** Its own id when it has one; else a name for its content, so that the same record gets the same key. */
function ownKey(value: Record<string, unknown>): string {
  for (const field of KEY_FIELDS) {
    const key = Object.hasOwn(value, field) ? keyText(value[field]) : undefined;
    if (key !== undefined) return key;
  }
  return toHex(blake3(Buffer.from(canonicalJson(value)))).slice(0, 32);
}

/** Integers beyond 2^53 are read rounded, so two of them might share a key. */
function keyText(value: unknown): string | undefined {
  if (typeof value === "string" && value !== "") return value;
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

/** More than any document may have; without a bound deep nesting would overflow the stack. */
const MAX_LEVELS = 256;

/** JSON with sorted keys and no spaces. Throws IMPORT_INVALID for more than MAX_LEVELS. */
export function canonicalJson(value: unknown, levels = MAX_LEVELS): string {
  if (levels < 0) throw new CliError("IMPORT_INVALID", `It has more than ${MAX_LEVELS} levels.`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, levels - 1)).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value)
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name], levels - 1)}`);
  return `{${members.join(",")}}`;
}

/**
 * The text of a member's value in the text of an object, which is known to be JSON: of a repeated
 * member the last, as JSON.parse reads it.
 */
export function memberText(json: string, wanted: string): string {
  let found: string | undefined;
  let depth = 0;
  let name: string | undefined;
  let from = -1;
  for (let i = 0; i < json.length; i += 1) {
    const char = json[i];
    if (char === '"') {
      const end = endOfString(json, i);
      if (depth === 1 && from < 0 && name === undefined) name = JSON.parse(json.slice(i, end)) as string;
      i = end - 1;
    } else if (char === ":" && depth === 1 && from < 0) {
      from = i + 1;
    } else if (char === "{" || char === "[") {
      depth += 1;
    } else if (char === "}" || char === "]" || (char === "," && depth === 1)) {
      if (depth === 1) {
        if (name === wanted) found = json.slice(from, i).trim();
        name = undefined;
        from = -1;
      }
      if (char !== ",") depth -= 1;
    }
  }
  if (found !== undefined) return found;
  throw new CliError("IMPORT_INVALID", `It has no member ${JSON.stringify(wanted)}.`);
}

function endOfString(json: string, start: number): number {
  for (let i = start + 1; ; i += 1) {
    if (json[i] === "\\") i += 1;
    else if (json[i] === '"') return i + 1;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
