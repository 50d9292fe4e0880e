import { SkaldError } from "../errors.ts";

/** A schema statement that no schema can have. */
export function schemaInvalid(message: string, hint?: string): SkaldError {
  return new SkaldError("SCHEMA_INVALID", message, hint === undefined ? {} : { hint });
}
