import { isSkaldError } from "../../src/errors.ts";
import { exactJson } from "../../src/graph/exact-json.ts";
import { readSchema } from "../../src/graph/schema.ts";
import { Walk } from "../../src/graph/walk.ts";
import { realWorld } from "../../src/world.ts";
import type { RawSchema, Value } from "./oracle.ts";
import { ask, link, walkOf, sourceOf } from "./world.ts";

const verdictOf = async (schema: RawSchema, value: Value, more: [string, Value][] = []): Promise<string> =>
  (await ask(new Map([["d/0", value], ...more]), schema)).verdict;

describe("a schema that is not taken", () => {
  test.each<[unknown, string, string]>([
    [{ pattern: "(a+)+$" }, "pattern", "#/pattern"],
    [{ properties: { a: { items: { if: true } } } }, "if", "#/properties/a/items/if"],
    [{ $defs: { unused: { propertes: {} } } }, "propertes", "#/$defs/unused/propertes"],
    [{ type: "text" }, "type", "#/type"],
    [{ type: [] }, "type", "#/type"],
    [{ minLength: -1 }, "minLength", "#/minLength"],
    [{ maxItems: 1.5 }, "maxItems", "#/maxItems"],
    [{ multipleOf: 0 }, "multipleOf", "#/multipleOf"],
    [{ minimum: "1" }, "minimum", "#/minimum"],
    [{ required: [1] }, "required", "#/required"],
    [{ enum: 1 }, "enum", "#/enum"],
    [{ anyOf: [] }, "anyOf", "#/anyOf"],
    [{ allOf: {} }, "allOf", "#/allOf"],
    [{ items: [true] }, "items", "#/items"],
    [{ properties: [] }, "properties", "#/properties"],
    [{ properties: { a: 1 } }, "a", "#/properties/a"],
    [{ not: { $id: "a" } }, "$id", "#/not/$id"],
    [{ $ref: "#a" }, "$ref", "#/$ref"],
    [{ $ref: "#/$defs/a", $defs: { b: true } }, "$ref", "#/$ref"],
    [{ $ref: "other.json#/a" }, "$ref", "#/$ref"],
    [{ uniqueItems: true }, "uniqueItems", "#/uniqueItems"],
    [JSON.parse('{"__proto__": {"type": "null"}}'), "__proto__", "#/__proto__"],
    [{ constructor: 1 }, "constructor", "#/constructor"],
    [[], "schema", "#/schema"],
    [null, "schema", "#/schema"],
  ])("%j names what is wrong with it", (schema, keyword, pointer) => {
    let error: unknown;
    try {
      readSchema(schema as never);
    } catch (thrown) {
      error = thrown;
    }
    expect(isSkaldError(error) && [error.code, error.details]).toEqual([
      "JSON_SCHEMA_INVALID",
      { keyword, pointer },
    ]);
  });
});

describe("what a schema says", () => {
  test("is not changed by annotations and by the order of its keywords", () => {
    const text = (schema: RawSchema): string => readSchema(schema).text;
    expect(text({ title: "x", minimum: 1, type: "number", "x-a": 1, $id: "urn:a", format: "date" })).toBe(
      text({ type: "number", minimum: 1 }),
    );
    expect(text({ properties: { b: true, a: {} } })).toBe(
      text({ properties: { a: { $comment: "" }, b: true } }),
    );
    expect(text({ enum: [1, 2] })).not.toBe(text({ enum: [2, 1] }));
  });

  test("of numbers is exact", async () => {
    const big = exactJson(
      '{"n": 9007199254740993, "m": [-123456789012345678901, 1e300, 2, "12345678901234567"]}',
    );
    expect(big).toEqual({
      n: 9007199254740993n,
      m: [-123456789012345678901n, 1e300, 2, "12345678901234567"],
    });
    const says = (schema: string): Promise<string> => verdictOf(exactJson(schema) as RawSchema, big as Value);
    for (const [schema, verdict] of [
      ['{"properties":{"n":{"const":9007199254740993}}}', "yes"],
      ['{"properties":{"n":{"const":9007199254740992}}}', "no"],
      ['{"properties":{"n":{"enum":[9007199254740992]}}}', "no"],
      ['{"properties":{"n":{"type":"integer","exclusiveMinimum":9007199254740992}}}', "yes"],
      ['{"properties":{"n":{"multipleOf":3}}}', "yes"],
      ['{"properties":{"n":{"multipleOf":2}}}', "no"],
      ['{"properties":{"m":{"items":{"type":["number","string"]}}}}', "yes"],
    ] as const)
      expect([schema, await says(schema)]).toEqual([schema, verdict]);
    expect(await verdictOf({ const: 1 }, 1)).toBe("yes");
    expect(await verdictOf({ type: "integer" }, 1.0)).toBe("yes");
    expect(await verdictOf({ const: { a: [0, { b: 1 }] } }, { a: [-0, { b: 1 }] })).toBe("yes");
  });

  test("of keys is of own ones alone, whatever they are called", async () => {
    const value = JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}') as Value;
    const schema = JSON.parse(
      '{"required":["__proto__","constructor"],"properties":{"__proto__":{"required":["a"]},"constructor":{"const":2},"toString":false}}',
    ) as RawSchema;
    expect(await verdictOf(schema, value)).toBe("yes");
    expect(await verdictOf({ required: ["toString"] }, value)).toBe("no");
    const [doc] = (await ask(new Map([["d/0", value]]), schema)).docs;
    expect(JSON.stringify(doc?.value)).toBe('{"__proto__":{},"constructor":2}');
  });
});

describe("circles", () => {
  const ring = (of: number): [string, Value][] =>
    Array.from({ length: of }, (_, i): [string, Value] => [`d/${i}`, { next: link(`d/${(i + 1) % of}`) }]);

  test("of a schema alone hold", async () => {
    expect(await verdictOf({ $ref: "#" }, 1)).toBe("yes");
    expect(
      await verdictOf({ allOf: [{ $ref: "#/$defs/a" }], $defs: { a: { anyOf: [{ $ref: "#" }] } } }, 1),
    ).toBe("yes");
    expect(await verdictOf({ not: { $ref: "#" } }, 1)).toBe("maybe exceeded depth");
  });

  test("through `oneOf` hold where that bears itself out, and through `not` have no verdict", async () => {
    const list: RawSchema = {
      oneOf: [{ type: "null" }, { type: "object", properties: { next: { $ref: "#" } } }],
    };
    expect((await ask(new Map(ring(3)), list)).verdict).toBe("yes");
    const odd: RawSchema = { properties: { next: { not: { $ref: "#" } } } };
    expect((await ask(new Map(ring(3)), odd)).verdict).toBe("maybe exceeded depth");
    // Something further on settles it.
    const docs = new Map([...ring(3), ["d/2", { next: 1 }] as [string, Value]]);
    const settled: RawSchema = { required: ["next"], properties: { next: { not: { $ref: "#" } } } };
    expect((await ask(docs, settled)).verdict).toBe("no");
  });
});

describe("what nests deep", () => {
  const levels = 2000;
  const deep = (inner: string): Value =>
    JSON.parse(`${'{"a":'.repeat(levels)}${inner}${"}".repeat(levels)}`) as Value;

  test("in a document is walked like anything", async () => {
    const schema: RawSchema = { properties: { a: { $ref: "#" } }, type: ["object", "null"] };
    expect(await verdictOf(schema, deep("null"))).toBe("yes");
    const no = await ask(new Map([["d/0", deep("1")]]), schema);
    expect([no.verdict, no.reasons[0]?.path]).toEqual(["no", "/a".repeat(levels)]);
    expect(await verdictOf({ const: deep("1") as never }, 1).catch((error: unknown) => error)).toMatchObject({
      code: "QUERY_LIMIT",
      details: { limit: "schemaLevels" },
    });
    // Compared and given whole.
    const whole = await ask(new Map([["d/0", [deep("1"), deep("2")]]]), { enum: [1, [{ a: 1 }, {}]] });
    expect(whole.verdict).toBe("no");
  });

  test("in links is bounded by their number", async () => {
    const many = 30_000;
    const docs = new Map<string, Value>(
      Array.from({ length: 100 }, (_, i) => [`d/${i}`, { next: link(`d/${i + 1}`) }]),
    );
    const schema: RawSchema = { type: "object", properties: { next: { $ref: "#" } } };
    const walk = walkOf(schema, "d/0", 64);
    await walk.begin(sourceOf(docs));
    expect([walk.docs.size, walk.verdict]).toEqual([65, 1]);
    const wide = walkOf({ items: { type: "object" } }, "d/0", 64, { places: many });
    const links = Array.from({ length: many }, () => link("d/1"));
    await expect(wide.begin(sourceOf(new Map([["d/0", links]])))).rejects.toMatchObject({
      code: "QUERY_LIMIT",
      details: { limit: "places", max: many },
    });
  });
});

test("a walk whose caller is gone ends", async () => {
  const gone = new AbortController();
  const start = { schema: readSchema({ type: "object" }).root, doc: "d/0", steps: [], maxDepth: 1 };
  const walk = new Walk(start, realWorld, gone.signal);
  gone.abort();
  await expect(walk.begin(sourceOf(new Map([["d/0", {}]])))).rejects.toMatchObject({ code: "UNAVAILABLE" });
});
