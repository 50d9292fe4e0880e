import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Include } from "./feed.ts";
import { feedFilter, type FeedFilter } from "./feed-filter.ts";
import type { Rules, Tuning } from "./subscription.ts";

/** What a subscription was made as. */
export interface Definition {
  readonly mode: "single" | "shared";
  readonly key?: "doc";
  readonly include: Include;
  readonly collection?: string;
  readonly prefix?: string;
  readonly docs?: readonly string[];
  /** Subject of whoever made it. */
  readonly creator: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly ackMs: number;
  readonly maxUnacked: number;
  readonly maxAttempts?: number;
}

/** What of it may be changed later. */
export const TUNABLE = ["ackMs", "maxUnacked", "maxAttempts"] as const;
/** What must be the same for a second PUT to mean the same subscription. */
const FIXED = ["mode", "key", "include", "collection", "prefix"] as const;

const { nameCharacters, open, ahead, parked } = LIMITS.subscription;
const NAME = new RegExp(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,${nameCharacters.value - 1}}$`);

/** Checks the name of a subscription or of a consumer. Throws NAME_INVALID. */
export function checkSubscriptionName(name: string, of = "subscription"): string {
  if (NAME.test(name)) return name;
  throw new SkaldError(
    "NAME_INVALID",
    `The name of a ${of} is 1 to ${nameCharacters.value} of A-Z a-z 0-9 . _ - and starts with a letter, a digit or _.`,
  );
}

export function filterOf({ collection, prefix, docs }: Definition): FeedFilter {
  return feedFilter({
    ...(collection === undefined ? {} : { collection }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(docs === undefined ? {} : { docs }),
  });
}

export function isSame(a: Definition, b: Definition): boolean {
  return (
    FIXED.every((name) => a[name] === b[name]) &&
    JSON.stringify(a.docs?.toSorted()) === JSON.stringify(b.docs?.toSorted())
  );
}

export function rulesOf({ mode, key }: Definition): Rules {
  return {
    mode,
    keyed: key === "doc",
    mostOpen: open.value,
    mostAhead: ahead.value,
    mostParked: parked.value,
  };
}

export function tuningOf({ ackMs, maxUnacked, maxAttempts }: Definition): Tuning {
  return { ackMs, maxUnacked, maxAttempts };
}
