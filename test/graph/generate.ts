import fc from "fast-check";
import type { RawSchema, Value } from "./oracle.ts";

/** Schemas and documents that have something to do with each other: few names, few values. */
const NAMES = ["a", "b", "c", "next"];
const name = fc.constantFrom(...NAMES);
const scalar: fc.Arbitrary<Value> = fc.constantFrom<Value>(
  null,
  true,
  false,
  0,
  1,
  2,
  -1,
  1.5,
  10,
  "",
  "x",
  "xy",
  "🎉🎉",
);

export const plain: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(name, tie("value"), { maxKeys: 4 }),
  ),
})).value;

const small = fc.nat({ max: 3 });
const type = fc.constantFrom("null", "boolean", "object", "array", "number", "string", "integer");

const assertion: fc.Arbitrary<Record<string, Value>> = fc.oneof(
  type.map((given) => ({ type: given })),
  fc.uniqueArray(type, { minLength: 1, maxLength: 4 }).map((given) => ({ type: given })),
  plain.map((given) => ({ const: given })),
  fc.array(plain, { maxLength: 3 }).map((given) => ({ enum: given })),
  fc.uniqueArray(name, { maxLength: 2 }).map((given) => ({ required: given })),
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map((keyword) =>
    fc.integer({ min: -2, max: 3 }).map((given) => ({ [keyword]: given })),
  ),
  fc.constantFrom(1, 2, 0.5).map((given) => ({ multipleOf: given })),
  ...["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"].map((keyword) =>
    small.map((given) => ({ [keyword]: given })),
  ),
);

/** `denies`: with `not` and `oneOf`. `refs`: with `$ref`s to #/$defs/a … c. */
export function schemas(options: { denies: boolean; refs: boolean }): fc.Arbitrary<RawSchema> {
  const { schema } = fc.letrec<{ schema: RawSchema }>((tie) => {
    const own = tie("schema");
    const list = fc.array(own, { minLength: 1, maxLength: 3 });
    const map = fc.dictionary(name, own, { maxKeys: 3 });
    const part: fc.Arbitrary<Record<string, unknown>> = fc.oneof(
      { weight: 3, arbitrary: assertion },
      { weight: 4, arbitrary: map.map((given) => ({ properties: given })) },
      { weight: 1, arbitrary: own.map((given) => ({ additionalProperties: given })) },
      { weight: 2, arbitrary: own.map((given) => ({ items: given })) },
      { weight: 1, arbitrary: list.map((given) => ({ prefixItems: given })) },
      { weight: 1, arbitrary: list.map((given) => ({ allOf: given })) },
      { weight: 2, arbitrary: list.map((given) => ({ anyOf: given })) },
      ...(options.denies
        ? [
            { weight: 1, arbitrary: list.map((given) => ({ oneOf: given })) },
            { weight: 1, arbitrary: own.map((given) => ({ not: given })) },
          ]
        : []),
      ...(options.refs
        ? [{ weight: 3, arbitrary: fc.constantFrom("a", "b", "c").map((to) => ({ $ref: `#/$defs/${to}` })) }]
        : []),
    );
    return {
      schema: fc.oneof(
        { depthSize: "small" },
        fc.boolean(),
        assertion as fc.Arbitrary<RawSchema>,
        fc.array(part, { minLength: 1, maxLength: 3 }).map((all) => Object.assign({}, ...all) as RawSchema),
      ),
    };
  });
  if (!options.refs) return schema;
  return fc
    .tuple(
      schema.filter((given) => typeof given === "object"),
      fc.tuple(schema, schema, schema),
    )
    .map(([root, [a, b, c]]) => ({ ...(root as object), $defs: { a, b, c } }) as unknown as RawSchema);
}

export const DOCS = ["d/0", "d/1", "d/2", "d/3"];

/** Values with links among documents of these names; to some that are not there as well. */
export function linked(targets: readonly string[]): fc.Arbitrary<Value> {
  const link: fc.Arbitrary<Value> =
    targets.length === 0
      ? scalar
      : fc
          .tuple(
            fc.constantFrom(...targets),
            fc.array(fc.oneof(name, fc.constantFrom(0, 1)), { maxLength: 2 }),
            fc.boolean(),
          )
          .map(([id, path, asPointer]) => ({
            "/": { "link@1": { id, path: asPointer ? path.map((step) => `/${step}`).join("") : path } },
          }));
  const { value } = fc.letrec<{ value: Value }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      scalar,
      link,
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(name, tie("value"), { maxKeys: 4 }),
    ),
  }));
  return fc.dictionary(name, fc.oneof(value, link), { maxKeys: 4 });
}

/** Documents that link to each other as they like, some of them not there. */
export const anyDocs = fc
  .tuple(...DOCS.map(() => fc.option(linked([...DOCS, "d/none"]), { freq: 8, nil: undefined })))
  .map((values) => new Map(DOCS.flatMap((doc, i) => (values[i] === undefined ? [] : [[doc, values[i]]]))));

/** Each links only to those after it. */
export const acyclic = fc
  .tuple(...DOCS.map((_, i) => linked(DOCS.slice(i + 1))))
  .map((values) => new Map(DOCS.map((doc, i) => [doc, values[i] as Value])));
