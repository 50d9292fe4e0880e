import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { WireArgs, WireValue } from "./binding.ts";

/** A value for a parameter, as requests have it: JSON, with exact integers, and bytes in the form of documents. */
export type Arg = null | boolean | number | bigint | string | Uint8Array | readonly unknown[] | object;
export type Args = readonly Arg[] | Readonly<Record<string, Arg>>;

/** The values as they cross to a process. Throws TOO_LARGE, SQL_ERROR. */
export function wireArgs(args: Args = []): WireArgs {
  const { value: max } = LIMITS.sql.args;
  const count = Array.isArray(args) ? args.length : Object.keys(args).length;
  if (count > max)
    throw new SkaldError("TOO_LARGE", `There are more than ${max} args.`, { details: { max } });
  if (Array.isArray(args)) return (args as readonly Arg[]).map(wireValue);
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, wireValue(value as Arg)]));
}

/** true and false are 1 and 0, as in tables of collections; a list or an object is its JSON text. */
function wireValue(value: Arg): WireValue {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "number") {
    if (Number.isFinite(value)) return value;
    throw new SkaldError("SQL_ERROR", "A number in args is not finite.");
  }
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "bigint") return { i: String(value) };
  if (value instanceof Uint8Array) return { b: Buffer.from(value).toString("base64") };
  const bytes = bytesIn(value);
  if (bytes !== undefined) return { b: bytes };
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== "bigint") return inner;
    throw new SkaldError(
      "SQL_ERROR",
      "An integer beyond 2^53 within a list or an object of args: send the text.",
    );
  });
}

/** Base64 of `{"/": {"bytes": …}}`. */
function bytesIn(value: object): string | undefined {
  const inner = (value as { "/"?: unknown })["/"];
  if (Object.keys(value).length !== 1 || typeof inner !== "object" || inner === null) return undefined;
  const { bytes } = inner as { bytes?: unknown };
  if (Object.keys(inner).length !== 1 || typeof bytes !== "string") return undefined;
  return /^[A-Za-z0-9+/]*={0,2}$/.test(bytes) ? bytes : undefined;
}
