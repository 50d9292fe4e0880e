import { SkaldError } from "../errors.ts";
import { networkOf } from "./address.ts";
import type { ServerLimits } from "./load.ts";
import { RateTable } from "./rate-table.ts";

/**
 * How often whoever asks may ask, by the minute: all together, each token or person, each address before it is known
 * who asks, and, with less patience, each address that comes with credentials that do not hold, or to sign in. The
 * operator on the local socket is not counted. See specs/12-limits.md.
 *
 * Answers carry `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) for the one rate that is
 * about who asked: his token's, or his address's while nobody knows him.
 */
export class Rates {
  readonly #total: RateTable | undefined;
  readonly #token: RateTable | undefined;
  readonly #address: RateTable | undefined;
  readonly #refused: RateTable | undefined;
  readonly #signIn: RateTable | undefined;

  constructor({ rateTotal, rateToken, rateAddress, rateRefused, rateSignIn }: RateLimits) {
    this.#total = tableOf(rateTotal);
    this.#token = tableOf(rateToken);
    this.#address = tableOf(rateAddress);
    this.#refused = tableOf(rateRefused);
    this.#signIn = tableOf(rateSignIn);
  }

  /** Before anything is known of a request but its address and path. Throws RATE_LIMITED. */
  enter(address: string, path: string, now: number): void {
    if (PROBES.has(path)) return;
    if (this.#address) check(this.#address.take(networkOf(address), now), "address");
    if (this.#total) check(this.#total.take("", now), "total");
    if (this.#signIn && isSigningIn(path)) check(this.#signIn.take(networkOf(address), now), "sign-in");
  }

  /** Once it is known who asks. Throws RATE_LIMITED. */
  know(principal: string, now: number): void {
    if (this.#token && principal !== "") check(this.#token.take(principal, now), "token");
  }

  /**
   * A credential did not hold. Throws RATE_LIMITED when the address has shown too many of those; one that does hold is
   * never asked this, so nobody locks out whoever shares his address.
   */
  refuse(address: string, now: number): void {
    if (this.#refused) check(this.#refused.take(networkOf(address), now), "refused");
  }

  /** Takes a message on a socket; false when there were too many. */
  message(principal: string, now: number): boolean {
    return !this.#token || this.#token.take(principal, now, MESSAGE) === 0;
  }

  /** Names and values in turn; none when no rate is about who asked. */
  headers(principal: string, address: string, path: string, now: number): readonly string[] {
    const [name, table, key] =
      principal === ""
        ? (["address", this.#address, networkOf(address)] as const)
        : (["token", this.#token, principal] as const);
    if (!table || PROBES.has(path)) return NONE;
    const { left, seconds } = table.left(key, now);
    return [
      "ratelimit-policy",
      `"${name}";q=${table.limit};w=60`,
      "ratelimit",
      `"${name}";r=${left};t=${seconds}`,
    ];
  }
}

type RateLimits = Pick<
  ServerLimits,
  "rateTotal" | "rateToken" | "rateAddress" | "rateRefused" | "rateSignIn"
>;

/** What watches over the server asks these, and must hear of it that it lives. */
const PROBES: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);
/** Pages ask these whenever they are opened; they take no credential that could be guessed. */
const ASKED_OFTEN: ReadonlySet<string> = new Set(["/auth/info", "/auth/me"]);
/** A message on a socket costs a tenth of a request. */
const MESSAGE = 0.1;
const NONE: readonly string[] = [];

export function isSigningIn(path: string): boolean {
  return path.startsWith("/auth/") && !ASKED_OFTEN.has(path);
}

function tableOf(limit: number): RateTable | undefined {
  return limit === 0 ? undefined : new RateTable(limit);
}

function check(wait: number, policy: string): void {
  if (wait === 0) return;
  const seconds = Math.ceil(wait / 1000);
  throw new SkaldError("RATE_LIMITED", `There were too many requests (${SAYS[policy] ?? policy}).`, {
    details: { policy, retry_after: seconds },
  });
}

const SAYS: Readonly<Record<string, string>> = {
  total: "to this server",
  token: "with this token",
  address: "from this address",
  refused: "from this address with credentials that do not hold",
  "sign-in": "from this address to sign in",
};
