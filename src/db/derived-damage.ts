import path from "node:path";
import { isSkaldError, type SkaldError } from "../errors.ts";

/** Whether an error says that a derived file, and not the log, is broken. */
export function isDerivedDamage(error: unknown): error is SkaldError {
  if (!isSkaldError(error)) return false;
  if (error.code === "DERIVED_DAMAGED") return true;
  const { file } = error.details;
  if (typeof file !== "string" || !DERIVED_FILES.has(path.basename(file))) return false;
  return error.code === "DB_DAMAGED" || error.code === "DB_FOREIGN" || error.code === "DB_NEWER";
}

const VIEWS = "views.sqlite";
const DERIVED_FILES: ReadonlySet<string> = new Set(["catalog.sqlite", VIEWS]);

/** The invariant that damage of a derived file breaks. */
export function brokenBy({ details: { file } }: SkaldError): "projection" | "catalog" {
  return typeof file === "string" && path.basename(file) === VIEWS ? "projection" : "catalog";
}
