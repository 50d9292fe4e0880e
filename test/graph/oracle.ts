/**
 * What a graph query means, worked out in the plainest way: recursion for one value, and for documents with links every
 * pair of a place and a sub-schema by breadth first, then all of them over and over until nothing changes.
 */
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };
export type RawSchema = boolean | { [keyword: string]: Value };
export type Docs = ReadonlyMap<string, Value>;

const isMap = (value: Value | undefined): value is { [key: string]: Value } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === "object" && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, item]) => [key, sorted(item)]),
        )
      : Object.is(value, -0)
        ? 0
        : value;
export const canonical = (value: unknown): string => JSON.stringify(sorted(value));

function typed(value: Value | undefined, type: string): boolean {
  if (value === undefined) return false;
  if (type === "integer") return typeof value === "number" && value % 1 === 0;
  if (value === null) return type === "null";
  if (Array.isArray(value)) return type === "array";
  return type === typeof value;
}

/** Assertions of one value alone. */
function asserts(schema: { [keyword: string]: Value }, value: Value | undefined): boolean {
  const points = typeof value === "string" ? Array.from(value).length : 0;
  return Object.entries(schema).every(([keyword, given]) => {
    const n = given as number;
    switch (keyword) {
      case "type":
        return [given].flat().some((type) => typed(value, type as string));
      case "const":
        return value !== undefined && canonical(value) === canonical(given);
      case "enum":
        return value !== undefined && (given as Value[]).some((item) => canonical(item) === canonical(value));
      case "required":
        return !isMap(value) || (given as string[]).every((name) => Object.keys(value).includes(name));
      case "minimum":
        return typeof value !== "number" || value >= n;
      case "maximum":
        return typeof value !== "number" || value <= n;
      case "exclusiveMinimum":
        return typeof value !== "number" || value > n;
      case "exclusiveMaximum":
        return typeof value !== "number" || value < n;
      case "multipleOf":
        return typeof value !== "number" || Math.round(value / n) * n === value;
      case "minLength":
        return typeof value !== "string" || points >= n;
      case "maxLength":
        return typeof value !== "string" || points <= n;
      case "minItems":
        return !Array.isArray(value) || value.length >= n;
      case "maxItems":
        return !Array.isArray(value) || value.length <= n;
      case "minProperties":
        return !isMap(value) || Object.keys(value).length >= n;
      case "maxProperties":
        return !isMap(value) || Object.keys(value).length <= n;
      default:
        return true;
    }
  });
}

const PLAIN = new Set(["allOf", "anyOf", "oneOf", "not", "$ref"]);

function referred(root: RawSchema, ref: string): RawSchema {
  let at: unknown = root;
  for (const step of ref.slice(1).split("/").filter(Boolean)) at = (at as Record<string, unknown>)[step];
  return at as RawSchema;
}

/** Sub-schemas of a value's parts, by step. */
function parts(schema: { [keyword: string]: Value }, value: Value | undefined): [string, RawSchema][] {
  const found: [string, RawSchema][] = [];
  if (Array.isArray(value)) {
    const prefix = (schema["prefixItems"] ?? []) as RawSchema[];
    value.forEach((_, i) => {
      const own = i < prefix.length ? prefix[i] : (schema["items"] as RawSchema | undefined);
      if (own !== undefined) found.push([String(i), own]);
    });
  } else if (isMap(value)) {
    const properties = (schema["properties"] ?? {}) as Record<string, RawSchema>;
    for (const name of Object.keys(value)) {
      const own = Object.hasOwn(properties, name)
        ? properties[name]
        : (schema["additionalProperties"] as RawSchema | undefined);
      if (own !== undefined) found.push([name, own]);
    }
  }
  return found;
}

const step = (value: Value | undefined, key: string): Value | undefined =>
  Array.isArray(value)
    ? value[Number(key)]
    : isMap(value) && Object.hasOwn(value, key)
      ? value[key]
      : undefined;

/** Whether a value without links matches: what any JSON Schema validator says. */
export function matches(root: RawSchema, schema: RawSchema, value: Value): boolean {
  if (typeof schema === "boolean") return schema;
  const list = (name: string): RawSchema[] => schema[name] as RawSchema[];
  return (
    asserts(schema, value) &&
    parts(schema, value).every(([key, own]) => matches(root, own, step(value, key) as Value)) &&
    (!("allOf" in schema) || list("allOf").every((own) => matches(root, own, value))) &&
    (!("anyOf" in schema) || list("anyOf").some((own) => matches(root, own, value))) &&
    (!("oneOf" in schema) || list("oneOf").filter((own) => matches(root, own, value)).length === 1) &&
    (!("not" in schema) || !matches(root, schema["not"] as RawSchema, value)) &&
    (!("$ref" in schema) || matches(root, referred(root, schema["$ref"] as string), value))
  );
}

export interface Found {
  readonly verdict: "yes" | "no" | "maybe exceeded depth";
  /** `document pointer` of every place looked at that is there. */
  readonly touched: string[];
  readonly missing: string[];
}

interface Node {
  readonly local: number;
  readonly groups: { operator: string; of: string[] }[];
}

function linkIn(value: Value | undefined): { id: string; path: string[] } | undefined {
  const inner = isMap(value) && Object.keys(value).length === 1 ? value["/"] : undefined;
  const link = isMap(inner) && Object.keys(inner).length === 1 ? inner["link@1"] : undefined;
  if (!isMap(link) || typeof link["id"] !== "string") return undefined;
  const path = link["path"] ?? [];
  return {
    id: link["id"],
    path: typeof path === "string" ? path.split("/").slice(1) : (path as unknown[]).map(String),
  };
}

/** The meaning of a query over documents that link to each other. */
export function search(docs: Docs, root: RawSchema, doc: string, maxDepth: number): Found {
  const nodes = new Map<string, Node>();
  const touched = new Set<string>();
  const missing = new Set<string>();
  const at = (name: string, path: readonly string[]): Value | undefined =>
    path.reduce<Value | undefined>(step, docs.get(name));
  const keyOf = (name: string, path: readonly string[], schema: RawSchema): string =>
    JSON.stringify([name, path, canonical(schema)]);
  type Item = [string, string[], RawSchema];
  let level: Item[] = [[doc, [], root]];
  for (let depth = 0; depth <= maxDepth && level.length > 0; depth += 1) {
    const next: Item[] = [];
    for (const [name, path, schema] of level) {
      const key = keyOf(name, path, schema);
      if (nodes.has(key)) continue;
      const value = at(name, path);
      (value === undefined ? missing : touched).add(`${name} ${path.map((part) => `/${part}`).join("")}`);
      const groups: Node["groups"] = [];
      let local = 2;
      const isEmpty =
        typeof schema === "object" && Object.keys(schema).every((keyword) => keyword === "$defs");
      const link = linkIn(value);
      if (schema === false) local = 0;
      else if (link) {
        if (depth === maxDepth) local = schema === true || isEmpty ? 2 : 1;
        else {
          next.push([link.id, link.path, schema]);
          groups.push({ operator: "allOf", of: [keyOf(link.id, link.path, schema)] });
        }
      } else if (schema !== true) {
        local = asserts(schema, value) ? 2 : 0;
        const own = parts(schema, value).map(([key1, sub]): Item => [name, [...path, key1], sub]);
        level.push(...own);
        groups.push({ operator: "allOf", of: own.map((item) => keyOf(...item)) });
        for (const [operator, given] of Object.entries(schema)) {
          if (!PLAIN.has(operator)) continue;
          const list =
            operator === "$ref" ? [referred(root, given as string)] : ([given].flat() as RawSchema[]);
          const items = list.map((sub): Item => [name, path, sub]);
          level.push(...items);
          groups.push({ operator, of: items.map((item) => keyOf(...item)) });
        }
      }
      nodes.set(key, { local, groups });
    }
    level = next;
  }
  const truths = new Map([...nodes.keys()].map((key) => [key, 2]));
  for (let changed = true; changed;) {
    changed = false;
    for (const [key, { local, groups }] of nodes) {
      const all = groups.map(({ operator, of }) => {
        const own = of.map((other) => truths.get(other) as number);
        const yes = own.filter((truth) => truth === 2).length;
        const maybe = own.includes(1);
        if (operator === "anyOf") return Math.max(0, ...own);
        if (operator === "not") return 2 - (own[0] as number);
        if (operator === "oneOf") return yes > 1 ? 0 : maybe ? 1 : yes === 1 ? 2 : 0;
        return Math.min(2, ...own);
      });
      const truth = Math.min(local, ...all);
      if (truth !== truths.get(key)) changed = true;
      truths.set(key, truth);
    }
  }
  const verdict = (["no", "maybe exceeded depth", "yes"] as const)[
    truths.get(keyOf(doc, [], root)) as number
  ];
  return { verdict: verdict as Found["verdict"], touched: [...touched].sort(), missing: [...missing].sort() };
}
