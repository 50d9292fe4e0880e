import { parsePointer, sortedKeys, stringifyJson, toPointer, type Json } from "../documents/json-value.ts";
import { LIMITS } from "../limits.ts";
import { checkOf, type Check } from "./checks.ts";
import { beyond, invalid, unsupported } from "./invalid.ts";
import { below, isMap, levelsOf } from "./json.ts";

/**
 * A JSON Schema as the walk uses it. Sub-schemas that say the same are one, whatever the order of their keywords, so
 * that a place is looked at once with each; a `$ref` leads to another by name, so schemas may go round in circles.
 */
export interface Schema {
  /** Small numbers: equal sub-schemas have the same. */
  readonly id: number;
  /** JSON pointer of a place where it stands. */
  readonly at: string;
  /** `true`, `false`, and what asserts nothing. */
  readonly always: boolean | undefined;
  /** What it looks at is the value whole: it compares it, or takes it as it is. */
  readonly whole: boolean;
  readonly checks: readonly Check[];
  /** All of these hold of the same place: `allOf`, `$ref`. */
  readonly all: readonly Schema[];
  readonly any: readonly Schema[] | undefined;
  readonly one: readonly Schema[] | undefined;
  readonly not: Schema | undefined;
  readonly properties: ReadonlyMap<string, Schema> | undefined;
  readonly additional: Schema | undefined;
  readonly prefix: readonly Schema[];
  readonly items: Schema | undefined;
}

/** A schema read, and its text: the same for schemas that say the same. */
export interface ReadSchema {
  readonly root: Schema;
  readonly text: string;
}

type Making = { -readonly [K in keyof Schema]: Schema[K] };

/** Where schemas stand in a schema. */
const ONE = new Set(["not", "items", "additionalProperties"]);
const LISTS = new Set(["allOf", "anyOf", "oneOf", "prefixItems"]);
const MAPS = new Set(["properties", "$defs", "definitions"]);
/** What says something about a schema and asserts nothing. */
const ANNOTATIONS = new Set([
  "$schema",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
  "format",
  "contentEncoding",
  "contentMediaType",
]);

const { schemas: mostSchemas, schemaLevels, schemaCharacters } = LIMITS.graph;

/**
 * Reads a schema. Throws JSON_SCHEMA_INVALID for one with a keyword that is not known or is used wrongly, QUERY_LIMIT
 * for one that is too large.
 */
export function readSchema(given: Json): ReadSchema {
  if (levelsOf(given) > schemaLevels.value)
    throw beyond("schemaLevels", schemaLevels.value, "levels of the schema");
  if (stringifyJson(given).length > schemaCharacters.value)
    throw beyond("schemaCharacters", schemaCharacters.value, "characters of the schema");
  const reader = new SchemaReader(given);
  return { root: reader.root, text: reader.text };
}

class SchemaReader {
  readonly root: Schema;
  readonly text: string;
  readonly #given: Json;
  readonly #texts = new Map<object, string>();
  readonly #made = new Map<string, Making>();
  readonly #todo: { readonly making: Making; readonly raw: Json }[] = [];
  #seen = 0;

  constructor(given: Json) {
    this.#given = given;
    this.root = this.#schema(given, "");
    for (let next = this.#todo.pop(); next; next = this.#todo.pop()) this.#fill(next.making, next.raw);
    this.text = this.#textOf(given, "");
  }

  /** The one schema for all that say this; what is in it is read later, so nothing here is as deep as it is. */
  #schema(raw: Json, at: string): Schema {
    const text = this.#textOf(raw, at);
    const known = this.#made.get(text);
    if (known) return known;
    const making: Making = {
      id: this.#made.size,
      at,
      always: undefined,
      whole: false,
      checks: [],
      all: [],
      any: undefined,
      one: undefined,
      not: undefined,
      properties: undefined,
      additional: undefined,
      prefix: [],
      items: undefined,
    };
    this.#made.set(text, making);
    this.#todo.push({ making, raw });
    return making;
  }

  #fill(making: Making, raw: Json): void {
    if (typeof raw === "boolean") {
      making.always = raw;
      making.whole = raw;
      return;
    }
    if (!isMap(raw)) throw notASchema(making.at);
    const checks: Check[] = [];
    const all: Schema[] = [];
    let asserts = 0;
    for (const keyword of sortedKeys(raw)) {
      const given = raw[keyword] as Json;
      const at = `${making.at}/${keyword}`;
      const check = checkOf(keyword, given, making.at);
      asserts += 1;
      if (check) checks.push(check);
      else if (keyword === "$ref") all.push(this.#referred(given, making.at));
      else if (ONE.has(keyword)) {
        const schema = this.#schema(given, at);
        if (keyword === "not") making.not = schema;
        else if (keyword === "items") making.items = schema;
        else making.additional = schema;
      } else if (LISTS.has(keyword)) {
        const list = this.#list(given, making.at, keyword);
        if (keyword === "allOf") all.push(...list);
        else if (keyword === "anyOf") making.any = list;
        else if (keyword === "oneOf") making.one = list;
        else making.prefix = list;
      } else if (MAPS.has(keyword)) {
        if (!isMap(given)) throw invalid(making.at, keyword, "a map of schemas");
        const schemas = sortedKeys(given).map((name): [string, Schema] => [
          name,
          this.#schema(given[name] as Json, at + toPointer([name])),
        ]);
        if (keyword === "properties") making.properties = new Map(schemas);
        else asserts -= 1;
      } else asserts -= 1;
    }
    making.checks = checks;
    making.all = all;
    if (asserts === 0) making.always = true;
    making.whole = asserts === 0 || checks.some(({ keyword }) => keyword === "const" || keyword === "enum");
  }

  #list(given: Json, at: string, keyword: string): Schema[] {
    if (!Array.isArray(given) || given.length === 0)
      throw invalid(at, keyword, "a list of at least one schema");
    return given.map((raw, i) => this.#schema(raw, `${at}/${keyword}/${i}`));
  }

  #referred(given: Json, at: string): Schema {
    const pointer = typeof given === "string" ? pointerOf(given) : undefined;
    const steps = pointer === undefined ? undefined : parsePointer(pointer);
    if (pointer === undefined || !steps)
      throw invalid(at, "$ref", "a place in this schema, such as #/$defs/name");
    let raw: Json | undefined = this.#given;
    for (const step of steps) raw = below(raw, step);
    if (raw === undefined) throw invalid(at, "$ref", "a place that is there; there is none of that name");
    return this.#schema(raw, pointer);
  }

  /** A text that two schemas share when they say the same. Also what finds unknown keywords. */
  #textOf(raw: Json, at: string): string {
    if (typeof raw === "boolean") return String(raw);
    if (!isMap(raw)) throw notASchema(at);
    const known = this.#texts.get(raw);
    if (known !== undefined) return known;
    this.#seen += 1;
    if (this.#seen > mostSchemas.value) throw beyond("schemas", mostSchemas.value, "sub-schemas");
    const parts: string[] = [];
    for (const keyword of sortedKeys(raw)) {
      const text = this.#keywordText(keyword, raw[keyword] as Json, at);
      if (text !== undefined) parts.push(`${JSON.stringify(keyword)}:${text}`);
    }
    const text = `{${parts.join()}}`;
    this.#texts.set(raw, text);
    return text;
  }

  #keywordText(keyword: string, given: Json, at: string): string | undefined {
    const here = `${at}/${keyword}`;
    if (ONE.has(keyword)) return this.#textOf(given, here);
    if (LISTS.has(keyword) && Array.isArray(given))
      return `[${given.map((raw, i) => this.#textOf(raw, `${here}/${i}`)).join()}]`;
    if (MAPS.has(keyword) && isMap(given)) {
      const texts = sortedKeys(given).map(
        (name) => `${JSON.stringify(name)}:${this.#textOf(given[name] as Json, here + toPointer([name]))}`,
      );
      return `{${texts.join()}}`;
    }
    if (ANNOTATIONS.has(keyword) || keyword.startsWith("x-")) return undefined;
    // Further in it would be what `$ref`s start from.
    if (keyword === "$id" && at === "") return undefined;
    if (checkOf(keyword, given, at) || keyword === "$ref" || LISTS.has(keyword) || MAPS.has(keyword))
      return stringifyJson(given);
    throw unsupported(at, keyword);
  }
}

/** The pointer of a `$ref` within the schema; undefined for one that leads elsewhere. */
function pointerOf(ref: string): string | undefined {
  if (!ref.startsWith("#")) return undefined;
  try {
    return decodeURIComponent(ref.slice(1));
  } catch {
    return undefined;
  }
}

function notASchema(at: string): Error {
  const keyword = at === "" ? "schema" : at.slice(at.lastIndexOf("/") + 1);
  return invalid(at.slice(0, Math.max(0, at.lastIndexOf("/"))), keyword, "a map or a boolean");
}
