import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { Cid, CursorText, DocRef, Heads } from "./wire.ts";

const { linkDepth, reasons, touched } = LIMITS.graph;

/** What a graph query asks. */
export const GraphRequest = z
  .strictObject({
    doc: DocRef,
    path: z
      .union([z.string(), z.array(z.union([z.string(), z.int().min(0)]))])
      .optional()
      .meta({ description: "Where in it to begin: a JSON pointer, or keys and indices." }),
    schema: z.unknown().meta({
      description: "A JSON Schema (2020-12, the keywords that specs/26-graph.md lists), `true` or `false`.",
    }),
    max_link_depth: z.int().min(0).max(linkDepth.value).optional().meta({
      description: "Links followed one after the other; 16 when left out.",
    }),
    branch: z.string().max(LIMITS.query.pointCharacters.value).optional(),
    at: z
      .string()
      .max(LIMITS.query.pointCharacters.value)
      .optional()
      .meta({ description: "Not of a watch." }),
  })
  .meta({ id: "GraphRequest" });

const Place = { doc: z.string(), path: z.string() };

export const GraphAnswer = z
  .object({
    seq: z.int(),
    commit: Cid.nullable(),
    cursor: CursorText,
    branch: z.string(),
    verdict: z.enum(["yes", "no", "maybe exceeded depth"]),
    result_hash: z.string().meta({ description: "The same for the same verdict, selection and places." }),
    docs: z.array(z.object({ ...Place, seq: z.int(), heads: Heads, value: z.unknown() })).meta({
      description: "For each way into a document, what the schema looked at from there on.",
    }),
    touched: z.array(z.object(Place)).meta({ maxItems: touched.value }),
    touched_total: z.int(),
    missing: z
      .array(
        z.object({
          ...Place,
          reason: z.enum(["missing", "deleted", "erased", "unreadable", "path", "link"]),
        }),
      )
      .meta({ maxItems: touched.value }),
    missing_total: z.int(),
    links: z.object({ followed: z.int(), exceeded: z.int() }),
    reasons: z
      .array(z.object({ ...Place, schema_path: z.string(), message: z.string() }))
      .meta({ maxItems: reasons.value, description: "Why the verdict is not `yes`." }),
  })
  .meta({ id: "GraphAnswer" });
