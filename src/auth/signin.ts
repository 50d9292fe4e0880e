import passport from "passport";
import { SkaldError, isSkaldError } from "../errors.ts";
import { realWorld, type World } from "../world.ts";
import type { Claims } from "./id-token.ts";
import { LoginTransactions } from "./login-transaction.ts";
import { Discovery } from "./oidc-discovery.ts";
import { OidcStrategy, type LoginRequest, type Proven } from "./oidc-strategy.ts";

/**
 * Signing people in with a provider of OpenID Connect. Invariants: somebody is who the provider says only when its
 * signature, its issuer, this client, this login's nonce and the time all hold; a login ends once, in the browser
 * that began it; whatever a provider answers, a login fails at most.
 */
export interface OidcSettings {
  /** As the provider writes it itself. */
  readonly issuer: string;
  readonly clientId: string;
  /** Undefined: a public client, which proves itself by PKCE alone. */
  readonly clientSecret: string | undefined;
  /** Who has this claim is an admin; undefined: the provider has no say in it. */
  readonly adminClaim: { readonly claim: string; readonly value: string } | undefined;
}

/** Somebody whom a development server knows, and what its login page should say of them. */
export interface DevPerson {
  readonly name: string;
  readonly hint: string;
}

export interface SigninOptions {
  readonly oidc: OidcSettings | undefined;
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

interface Provider {
  readonly settings: OidcSettings;
  readonly discovery: Discovery;
}

const ID_TOKENS_MAX = 2000;
const ID_TOKEN_CHARS = 8192;

export class Signin {
  readonly #provider: Provider | undefined;
  readonly #logins: LoginTransactions;
  readonly #world: World;
  readonly #idTokens = new Map<string, string>();
  readonly dev: readonly DevPerson[] | undefined;

  /** Throws BAD_REQUEST as `Discovery` does. The provider is asked nothing before somebody logs in. */
  constructor({ oidc, dev, key, world = realWorld }: SigninOptions) {
    this.#world = world;
    this.#logins = new LoginTransactions(key, world);
    this.#provider = oidc && { settings: oidc, discovery: new Discovery(oidc.issuer, world) };
    this.dev = dev;
  }

  /** What to call the provider; undefined when there is none. */
  get name(): string | undefined {
    return this.#provider && new URL(this.#provider.settings.issuer).host;
  }

  /**
   * Starts a login: where to send the browser, and what it has to bring back in a cookie. `base` is the server's own
   * origin as the browser has it. Throws LOGIN_UNAVAILABLE, PROVIDER_FAILED.
   */
  async begin(base: string, next: string): Promise<{ location: string; login: string }> {
    const { settings, discovery } = this.#needed();
    const transaction = this.#logins.make({ issuer: settings.issuer, base, next });
    const strategy = new OidcStrategy(
      settings,
      transaction,
      await discovery.metadata(),
      discovery,
      this.#world,
    );
    const { location } = await run(strategy, { query: {} });
    if (location === undefined) throw new SkaldError("INTERNAL", "The login led nowhere.");
    return { location, login: this.#logins.seal(transaction) };
  }

  /**
   * Ends a login with what the provider had the browser ask for, and the cookie of its start. Throws LOGIN_EXPIRED,
   * LOGIN_REFUSED, LOGIN_UNAVAILABLE, PROVIDER_FAILED.
   */
  async finish(query: LoginRequest["query"], login: string | undefined): Promise<LoggedIn> {
    const { settings, discovery } = this.#needed();
    const transaction = login === undefined ? undefined : this.#logins.open(login);
    if (!transaction || transaction.issuer !== settings.issuer) {
      throw new SkaldError("LOGIN_EXPIRED", "This browser began no login, or too long ago.");
    }
    if (query["code"] === undefined && query["error"] === undefined) {
      throw new SkaldError("BAD_REQUEST", "The answer of an identity provider has a code or an error.");
    }
    const metadata = await discovery.metadata();
    const strategy = new OidcStrategy(settings, transaction, metadata, discovery, this.#world);
    // Only by the right answer: a wrong one, which any page can have a browser ask for, takes nothing from it.
    if (query["state"] === transaction.state && !this.#logins.use(transaction)) {
      throw new SkaldError("LOGIN_EXPIRED", "This login has ended already.");
    }
    const { user } = await run(strategy, { query });
    if (!user) throw new SkaldError("LOGIN_REFUSED", "The identity provider did not say who this is.");
    const { claims, idToken } = user;
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
  async endSession(back: () => string, idToken: string | undefined): Promise<string | undefined> {
    if (!this.#provider) return undefined;
    const { settings, discovery } = this.#provider;
    const metadata = await discovery.metadata().catch((error: unknown) => {
      if (isSkaldError(error)) return undefined;
      throw error;
    });
    if (metadata?.endSessionEndpoint === undefined) return undefined;
    const url = new URL(metadata.endSessionEndpoint);
    url.searchParams.set("client_id", settings.clientId);
    url.searchParams.set("post_logout_redirect_uri", back());
    if (idToken !== undefined) url.searchParams.set("id_token_hint", idToken);
    return url.href;
  }

  #needed(): Provider {
    if (this.#provider) return this.#provider;
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

interface Outcome {
  readonly location?: string | undefined;
  readonly user?: Proven;
}

const authenticator = new passport.Passport();

/** Has passport take one step of a login. Throws LOGIN_REFUSED, LOGIN_EXPIRED, PROVIDER_FAILED. */
function run(strategy: OidcStrategy, req: LoginRequest): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let location: string | undefined;
    const res = {
      setHeader: (name: string, value: string) => {
        if (name === "Location") location = value;
      },
      end: () => resolve({ location }),
    };
    const fail = (error: unknown): void => reject(problemOf(error));
    const done = (error: unknown, user?: Proven | false): void => {
      if (error) fail(error);
      else if (user) resolve({ user });
      else
        reject(
          new SkaldError("LOGIN_REFUSED", "The identity provider refused the login, or it does not hold."),
        );
    };
    // Its types are Express's; a strategy sees the query, and passport the two functions above.
    const step = authenticator.authenticate(
      strategy as unknown as passport.Strategy,
      { session: false },
      done,
    ) as (req: object, res: object, next: (error: unknown) => void) => void;
    step({ ...req }, res, fail);
  });
}

function problemOf(error: unknown): SkaldError {
  if (isSkaldError(error)) return error as SkaldError;
  // The package's own: an error that the provider gave the browser to bring.
  const { name, code } = error as { name?: unknown; code?: unknown };
  if (name === "AuthorizationError") {
    const said = /^[a-z_]{1,40}$/.exec(String(code))?.[0];
    return new SkaldError(
      "LOGIN_REFUSED",
      `The identity provider refused the login${said === undefined ? "" : ` (${said})`}.`,
    );
  }
  return new SkaldError("PROVIDER_FAILED", "What the identity provider answered makes no sense.", {
    cause: error,
  });
}
