import { createHash } from "node:crypto";
import { jwtVerify, type CryptoKey, type JWTPayload } from "jose";
import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Keys } from "./oidc-discovery.ts";

/** What an ID token has to say to be taken (OpenID Connect Core 1.0, section 3.1.3.7). */
export interface Expected {
  readonly issuer: string;
  readonly clientId: string;
  readonly nonce: string;
  readonly algorithms: readonly string[];
  /** The token that came with it; `at_hash` must be of it. */
  readonly accessToken: string | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export type Claims = Readonly<Record<string, unknown>> & { readonly sub: string };

const SKEW_SECONDS = 60;

/**
 * The claims of an ID token whose signature and claims hold. `keys` gives the provider's keys, asked anew when
 * the one that signed is not among them. Throws LOGIN_REFUSED, PROVIDER_FAILED.
 */
export async function verifyIdToken(
  token: string,
  keys: (again: boolean) => Promise<Keys>,
  expected: Expected,
): Promise<Claims> {
  const { issuer, clientId, nonce, algorithms, now } = expected;
  const verify = async (again: boolean): Promise<{ payload: JWTPayload; alg: string }> => {
    const options = {
      issuer,
      audience: clientId,
      algorithms: [...algorithms],
      clockTolerance: SKEW_SECONDS,
      maxTokenAge: LIMITS.signin.loginMs.value / 1000,
      requiredClaims: ["sub", "exp", "iat", "nonce"],
      currentDate: new Date(now),
    };
    const known = await keys(again);
    try {
      const { payload, protectedHeader } = await jwtVerify(token, known, options);
      return { payload, alg: protectedHeader.alg };
    } catch (error) {
      // Several keys fit, since the token names none: the one that signed it is among them or it is not.
      if ((error as { code?: unknown }).code !== "ERR_JWKS_MULTIPLE_MATCHING_KEYS") throw error;
      let last: unknown = error;
      for await (const key of error as AsyncIterable<CryptoKey>) {
        try {
          const { payload, protectedHeader } = await jwtVerify(token, key, options);
          return { payload, alg: protectedHeader.alg };
        } catch (other) {
          last = other;
          if ((other as { code?: unknown }).code !== "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") break;
        }
      }
      throw last;
    }
  };
  const { payload, alg } = await verify(false)
    .catch((error: unknown) => {
      // Also a signature that fails: a key may have been replaced under the name of the one before.
      const { code } = error as { code?: unknown };
      if (code === "ERR_JWKS_NO_MATCHING_KEY" || code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")
        return verify(true);
      throw error;
    })
    .catch((error: unknown) => {
      if (isSkaldError(error)) throw error;
      throw refused(reasonOf(error), error);
    });
  if (payload["nonce"] !== nonce) throw refused("it is for another login");
  const { aud, azp, sub } = payload as { aud?: unknown; azp?: unknown; sub?: unknown };
  if (Array.isArray(aud) && aud.length > 1 && azp === undefined) {
    throw refused("it is for several clients and says not which of them asked");
  }
  if (azp !== undefined && azp !== clientId) throw refused("another client asked for it");
  if (!isSub(sub)) throw refused("its subject is no text that can be kept");
  const hash = payload["at_hash"];
  if (
    hash !== undefined &&
    (expected.accessToken === undefined || hash !== leftHalf(alg, expected.accessToken))
  ) {
    throw refused("it came with another access token than its own");
  }
  return payload as Claims;
}

/** Whether this can be a person's name at a provider: text, not empty, without what hides in it. */
export function isSub(sub: unknown): sub is string {
  return (
    typeof sub === "string" &&
    sub.length > 0 &&
    sub.length <= LIMITS.person.providerCharacters.value &&
    sub.isWellFormed() &&
    !/\p{Cc}/u.test(sub)
  );
}

function leftHalf(alg: string, accessToken: string): string {
  const bits = alg.startsWith("Ed") ? "512" : alg.slice(-3);
  const digest = createHash(`sha${bits}`).update(accessToken).digest();
  return digest.subarray(0, digest.length / 2).toString("base64url");
}

/** jose's own words name the claim and repeat nothing of the token. */
function reasonOf(error: unknown): string {
  const { code, claim } = error as { code?: unknown; claim?: unknown };
  if (typeof claim === "string") return `its "${claim}" does not hold`;
  if (code === "ERR_JWKS_NO_MATCHING_KEY") return "no key of the provider's signed it";
  if (code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") return "its signature is wrong";
  if (code === "ERR_JOSE_ALG_NOT_ALLOWED") return "it is signed in a way that is not taken";
  return "it is malformed";
}

function refused(why: string, cause?: unknown): SkaldError {
  return new SkaldError("LOGIN_REFUSED", `The ID token is not taken: ${why}.`, { cause });
}
