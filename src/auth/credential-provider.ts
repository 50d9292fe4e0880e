import { SkaldError } from "../errors.ts";
import type { Identity } from "./identity.ts";
import type { Tokens } from "./tokens.ts";

/** What a request shows in its `Authorization` header. */
export interface Presented {
  /** What stands behind `Bearer`: one token68, its length bounded. */
  readonly bearer: string;
  /** Another header of the request, by its name in lower case; several of one name are joined by a comma. */
  readonly header: (name: string) => string | undefined;
}

/**
 * A kind of credential. Providers are asked in the order of their list, each for every request: whoever can tell at
 * a glance that a text is none of its kind says so at once, and whoever has work to do with it remembers what came
 * of it.
 *
 * What it must hold to: `alive` of an identity is false from the moment on in which the credential is revoked or has
 * run out, never throws for long and costs next to nothing; a principal's `id` is the same for the same somebody
 * and that of nobody else's provider (begin it with a word of one's own and a colon).
 */
export interface CredentialProvider {
  /** For messages and lists. */
  readonly name: string;
  /**
   * Who shows this; undefined when it is none of this provider's kind, and the next one is asked. Throws
   * UNAUTHENTICATED, or another error of status 401, for one that is and does not hold: nobody else is asked then.
   */
  identify(shown: Presented): Identity | undefined | Promise<Identity | undefined>;
}

/** Asks each in turn. Throws UNAUTHENTICATED when it is of nobody's kind. */
export function identityOf(
  providers: readonly CredentialProvider[],
  shown: Presented,
  from = 0,
): Identity | Promise<Identity> {
  for (let i = from; i < providers.length; i += 1) {
    const found = (providers[i] as CredentialProvider).identify(shown);
    if (found instanceof Promise)
      return found.then((identity) => identity ?? identityOf(providers, shown, i + 1));
    if (found) return found;
  }
  throw notValid();
}

/** The tokens of this server. */
export function tokenProvider(tokens: Tokens): CredentialProvider {
  return {
    name: "token",
    identify: ({ bearer }) => {
      const principal = tokens.verify(bearer);
      return principal && { principal, by: "token", alive: () => tokens.verify(bearer) !== undefined };
    },
  };
}

/** The same for every text that gives nobody access, whatever is wrong with it. */
export function notValid(): SkaldError {
  return new SkaldError("UNAUTHENTICATED", "The token is not valid: unknown, expired or revoked.");
}
