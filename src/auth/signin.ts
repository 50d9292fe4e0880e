import { SkaldError, isSkaldError } from "../errors.ts";
import { realWorld, type World } from "../world.ts";
import type { Claims } from "./id-token.ts";
import { LoginTransactions } from "./login-transaction.ts";
import type { OidcLogin } from "./oidc-login.ts";

/** Somebody whom a development server knows, and what its login page should say of them. */
export interface DevPerson {
  readonly name: string;
  readonly hint: string;
}

export interface SigninOptions {
  /** Undefined: nobody logs in with a provider. */
  readonly login: OidcLogin | undefined;
  readonly dev?: readonly DevPerson[] | undefined;
  /** The key under which logins are signed while the browser carries them. */
  readonly key: () => Uint8Array;
  readonly world?: World;
}

/** Whom a login proved; `seen` of people takes it. */
export interface LoggedIn {
  readonly issuer: string;
  readonly sub: string;
  readonly claims: Claims;
  /** Only when a claim is configured. */
  readonly admin?: boolean;
  readonly idToken: string;
  /** Path to go on to. */
  readonly next: string;
}

const ID_TOKENS_MAX = 2000;
const ID_TOKEN_CHARS = 8192;

/**
 * Signing people in with a provider of OpenID Connect. Invariants: somebody is who the provider says only when its
 * signature, its issuer, this client, this login's nonce and the time all hold; a login ends once, in the browser
 * that began it; whatever a provider answers, a login fails at most.
 */
export class Signin {
  readonly #login: OidcLogin | undefined;
  readonly #logins: LoginTransactions;
  readonly #idTokens = new Map<string, string>();
  readonly dev: readonly DevPerson[] | undefined;

  constructor({ login, dev, key, world = realWorld }: SigninOptions) {
    this.#logins = new LoginTransactions(key, world);
    this.#login = login;
    this.dev = dev;
  }

  /** What to call the provider; undefined when there is none. */
  get name(): string | undefined {
    return this.#login && new URL(this.#login.settings.issuer).host;
  }

  /**
   * Starts a login: where to send the browser, and what it has to bring back in a cookie. `base` is the server's own
   * origin as the browser has it. Throws LOGIN_UNAVAILABLE, PROVIDER_FAILED.
   */
  async begin(base: string, next: string): Promise<{ location: string; login: string }> {
    const login = this.#needed();
    const transaction = this.#logins.make({ issuer: login.settings.issuer, base, next });
    const location = await login.start(transaction);
    return { location, login: this.#logins.seal(transaction) };
  }

  /**
   * Ends a login with what the provider had the browser ask for, and the cookie of its start. Throws LOGIN_EXPIRED,
   * LOGIN_REFUSED, LOGIN_UNAVAILABLE, PROVIDER_FAILED.
   */
  async finish(
    query: Readonly<Record<string, string | undefined>>,
    login: string | undefined,
  ): Promise<LoggedIn> {
    const provider = this.#needed();
    const { settings } = provider;
    const transaction = login === undefined ? undefined : this.#logins.open(login);
    if (!transaction || transaction.issuer !== settings.issuer) {
      throw new SkaldError("LOGIN_EXPIRED", "This browser began no login, or too long ago.");
    }
    if (query["code"] === undefined && query["error"] === undefined) {
      throw new SkaldError("BAD_REQUEST", "The answer of an identity provider has a code or an error.");
    }
    // While the provider cannot be asked nothing ends.
    await provider.metadata();
    // Only by the right answer: a wrong one, which any page can have a browser ask for, takes nothing from it.
    if (query["state"] === transaction.state && !this.#logins.use(transaction)) {
      throw new SkaldError("LOGIN_EXPIRED", "This login has ended already.");
    }
    const { claims, idToken } = await provider.end(transaction, query);
    const { adminClaim } = settings;
    return {
      issuer: settings.issuer,
      sub: claims.sub,
      claims,
      ...(adminClaim ? { admin: hasClaim(claims, adminClaim.claim, adminClaim.value) } : {}),
      idToken,
      next: transaction.next,
    };
  }

  /**
   * Keeps the ID token of a session, which the provider wants to see again when the session ends. In memory alone:
   * it names a person, and without it the provider only asks once more.
   */
  remember(session: string, idToken: string): void {
    if (idToken.length > ID_TOKEN_CHARS) return;
    for (const oldest of this.#idTokens.keys()) {
      if (this.#idTokens.size < ID_TOKENS_MAX) break;
      this.#idTokens.delete(oldest);
    }
    this.#idTokens.set(session, idToken);
  }

  /** The ID token of a session, which is not kept from then on. */
  forget(session: string): string | undefined {
    const idToken = this.#idTokens.get(session);
    this.#idTokens.delete(session);
    return idToken;
  }

  /**
   * Where a browser ends its session at the provider too (RP-Initiated Logout 1.0); undefined when the provider has
   * no such place or cannot be asked: that is no reason to stay signed in here.
   */
  async endSession(back: string | undefined, idToken: string | undefined): Promise<string | undefined> {
    if (!this.#login) return undefined;
    const { settings } = this.#login;
    const metadata = await this.#login.metadata().catch((error: unknown) => {
      if (isSkaldError(error)) return undefined;
      throw error;
    });
    if (metadata?.endSessionEndpoint === undefined) return undefined;
    const url = new URL(metadata.endSessionEndpoint);
    url.searchParams.set("client_id", settings.clientId);
    if (back !== undefined) url.searchParams.set("post_logout_redirect_uri", back);
    if (idToken !== undefined) url.searchParams.set("id_token_hint", idToken);
    return url.href;
  }

  #needed(): OidcLogin {
    if (this.#login) return this.#login;
    throw new SkaldError("LOGIN_UNAVAILABLE", "This server has no identity provider.");
  }
}

/** A claim by its name, or by a path with dots into what it holds; a list has each of its texts. */
export function hasClaim(claims: Readonly<Record<string, unknown>>, claim: string, value: string): boolean {
  let found: unknown = Object.hasOwn(claims, claim) ? claims[claim] : claims;
  if (found === claims) {
    for (const part of claim.split(".")) {
      const inside: unknown = found;
      if (typeof inside !== "object" || inside === null || !Object.hasOwn(inside, part)) return false;
      found = (inside as Record<string, unknown>)[part];
    }
  }
  if (Array.isArray(found)) return found.includes(value);
  return found === value || (typeof found === "boolean" && String(found) === value);
}
