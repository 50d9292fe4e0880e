import { SkaldError } from "../errors.ts";
import { decodeEvent, encodeEvent } from "./event.ts";

/** What a commit does to the schema of its branch: a statement, or what a merge brings of another branch. */
export type SchemaStep =
  | {
      readonly seq: number;
      readonly branch: number;
      readonly statement: SchemaStatement;
      readonly id: string;
    }
  | {
      readonly seq: number;
      readonly branch: number;
      /** The branch that was merged, up to its commit `upTo`. */
      readonly from: number;
      readonly upTo: number;
    };

/** A statement that makes the schema. */
export interface SchemaStatement {
  /** The commit that has it: of one that came with a merge of branches the one on the branch it was written on. */
  readonly seq: number;
  /** Its place among the statements of that commit. */
  readonly index: number;
  readonly sql: string;
}

/** A step as the catalog keeps it. */
export function encodeSchemaStep(step: SchemaStep): Uint8Array {
  const { seq, branch } = step;
  if ("from" in step)
    return encodeEvent({ type: "branch.merge", seq, branch, from: step.from, to: step.upTo });
  const { sql, index } = step.statement;
  return encodeEvent({ type: "schema.change", seq, branch, id: step.id, index, sql });
}

/** Throws DERIVED_DAMAGED. */
export function decodeSchemaStep(bytes: Uint8Array): SchemaStep {
  const { type, seq, branch, from, to, id, index, sql } = decodeEvent(bytes);
  if (typeof seq === "number" && typeof branch === "number") {
    if (type === "branch.merge" && typeof from === "number" && typeof to === "number")
      return { seq, branch, from, upTo: to };
    if (typeof id === "string" && typeof index === "number" && typeof sql === "string")
      return { seq, branch, statement: { seq, index, sql }, id };
  }
  throw new SkaldError("DERIVED_DAMAGED", "The catalog has a step of the schema that is none.");
}
