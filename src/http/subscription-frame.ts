import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** What a consumer says over its socket. */
export interface Frame {
  readonly ack: readonly number[] | undefined;
  readonly nack: readonly number[] | undefined;
  readonly delay: number;
}

const FIELDS: ReadonlySet<string> = new Set(["ack", "nack", "delay_ms"]);

/** Throws BAD_REQUEST. */
export function readFrame(data: Uint8Array): Frame {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString("utf8"));
  } catch {
    throw malformed("it is no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("it is no object");
  for (const name of Object.keys(value))
    if (!FIELDS.has(name)) throw malformed(`"${name.slice(0, 40)}" is no field`);
  const { ack, nack, delay_ms: delay = 0 } = value as Record<string, unknown>;
  if (ack === undefined && nack === undefined) throw malformed("it has neither `ack` nor `nack`");
  if (!isWhole(delay, LIMITS.subscription.delayMs.value)) throw malformed("`delay_ms` is no such number");
  return { ack: seqsOf(ack, "ack"), nack: seqsOf(nack, "nack"), delay };
}

function seqsOf(value: unknown, name: string): number[] | undefined {
  if (value === undefined) return undefined;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0 || list.length > LIMITS.subscription.ids.value)
    throw malformed(`\`${name}\` has ${list.length} seqs`);
  if (!list.every((seq): seq is number => isWhole(seq, Number.MAX_SAFE_INTEGER)))
    throw malformed(`\`${name}\` takes seqs`);
  return list;
}

function isWhole(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

function malformed(why: string): SkaldError {
  return new SkaldError("BAD_REQUEST", `The frame is malformed: ${why}.`);
}
