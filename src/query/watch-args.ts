import type { WireArgs, WireValue } from "./binding.ts";
import type { Comparable } from "./comparison.ts";
import type { Args } from "./dependency.ts";

/** Arguments as their statement compares with them: whole numbers are integers, as they are bound. */
export function argsIn(args: WireArgs): Args {
  if (isList(args)) return args.map(valueOf);
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => [name.replace(/^[:@$]/, ""), valueOf(value)]),
  );
}

function isList(args: WireArgs): args is readonly WireValue[] {
  return Array.isArray(args);
}

function valueOf(value: WireValue): Comparable {
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (value === null || typeof value === "string") return value;
  return "i" in value ? BigInt(value.i) : new Uint8Array(Buffer.from(value.b, "base64"));
}
