import { Answers } from "../../src/graph/answer.ts";
import { exactJson } from "../../src/graph/exact-json.ts";
import { readLink } from "../../src/graph/link.ts";
import { readGraphQuery } from "../../src/graph/query.ts";
import { Walk } from "../../src/graph/walk.ts";
import type { Json } from "../../src/documents/json-value.ts";
import { GraphRequest } from "../../src/protocol/graph-wire.ts";
import { realWorld } from "../../src/world.ts";
import { link, sourceOf } from "../graph/world.ts";
import type { Random, Target } from "./harness.ts";
import { spoiltText } from "./mutate.ts";

/** What asks for a walk, and what a walk comes to. */

const QUERIES = [
  '{"doc":"d/0","schema":{"type":["object","null"],"properties":{"a":{"const":1},"b":{"$ref":"#/$defs/x"}},"$defs":{"x":{"enum":[1,"a",null]}}}}',
  '{"doc":"d/0","path":["list",0],"schema":{"allOf":[{"minimum":0},{"anyOf":[{"type":"integer"},true]}]},"max_link_depth":3}',
  '{"doc":"d/1","path":"/a","schema":{"$ref":"#","oneOf":[{"not":{}},{"items":{"$ref":"#"}}],"required":["a"]},"branch":"b"}',
  '{"doc":"d/0","schema":{"additionalProperties":{"$ref":"#/$defs/a~1b"},"$defs":{"a/b":{"maxLength":3,"multipleOf":0.5,"minItems":1}}}}',
  '{"doc":"d/0","schema":{"const":12345678901234567890,"prefixItems":[{"title":"t"}],"items":false,"maxProperties":9}}',
];
const LINKS = [
  '{"/":{"link@1":{"id":"d/1","path":["a",0]}}}',
  '{"/":{"link@1":{"id":"automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ","path":"/a/0"}}}',
  '{"a":[{"/":{"link@1":{"id":"d/0"}}},{"/":{"bytes":"AA"}}],"b":18446744073709551615}',
];

const from =
  (good: readonly string[]) =>
  (random: Random): string =>
    random.chance(0.1) ? random.pick(good) : spoiltText(random.pick(good), random, good);

function parsed(text: string): Json | undefined {
  try {
    return exactJson(text);
  } catch (error) {
    if ((error as Error).name === "SyntaxError") return undefined;
    throw error;
  }
}

async function walked(doc: string, schema: Json, documents: readonly Json[]): Promise<string> {
  const docs = new Map(documents.map((value, i) => [`d/${i}`, value as never]));
  const query = readGraphQuery({ doc, schema });
  const walk = new Walk(query, realWorld);
  const source = sourceOf(docs);
  await walk.begin({
    nameOf: (id) => (id.includes("/") ? id : undefined),
    load: (name) => source.load(name),
  });
  return (await new Answers(walk).answer()).text;
}

const SOME: readonly Json[] = [
  { a: 1, b: link("d/1"), list: [1, link("d/0", "list")] } as Json,
  { a: [link("d/0"), link("d/1")] } as Json,
];

const isAnswer = (_input: never, text: never): string | undefined =>
  text === undefined || typeof JSON.parse(`{${text as string}}`) === "object" ? undefined : "no answer";

export const graphTargets: readonly Target[] = [
  {
    name: "graph query",
    covers: [
      "graph/query.ts readGraphQuery",
      "graph/schema.ts readSchema",
      "graph/checks.ts checkOf",
      "protocol/graph-wire.ts GraphRequest",
    ],
    runs: 2000,
    codes: ["JSON_SCHEMA_INVALID", "QUERY_LIMIT", "NAME_INVALID", "PATH_INVALID"],
    make: from(QUERIES),
    run: (text) => {
      const request = GraphRequest.safeParse(parsed(text as string));
      if (!request.success || request.data.schema === undefined) return undefined;
      readGraphQuery({ ...request.data, schema: request.data.schema as Json });
      return walked(request.data.doc, request.data.schema as Json, SOME);
    },
    holds: isAnswer,
  },
  {
    name: "link in a document",
    covers: ["graph/link.ts readLink"],
    runs: 2000,
    codes: ["QUERY_LIMIT"],
    make: from(LINKS),
    run: (text) => {
      const value = parsed(text as string);
      if (value === undefined) return undefined;
      readLink(value);
      return walked("d/0", { additionalProperties: { $ref: "#" }, items: { $ref: "#" } }, [value, ...SOME]);
    },
    holds: isAnswer,
    kept: [
      '{"/":{"link@1":{"id":"d/0"}}}',
      `{"/":{"link@1":{"id":"d/0","path":[${'"a",'.repeat(300)}"a"]}}}`,
      "[".repeat(400) + "]".repeat(400),
    ],
  },
];
