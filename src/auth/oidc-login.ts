import passport from "passport";
import { SkaldError, isSkaldError } from "../errors.ts";
import type { World } from "../world.ts";
import type { LoginTransaction } from "./login-transaction.ts";
import { Discovery, type ProviderMetadata } from "./oidc-discovery.ts";
import { OidcStrategy, type LoginRequest, type Proven } from "./oidc-strategy.ts";

/**
 * The steps of a login that passport takes with a provider. Nobody loads this file, nor the packages behind it, on a
 * server without a provider.
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

export class OidcLogin {
  readonly settings: OidcSettings;
  readonly #discovery: Discovery;
  readonly #world: World;

  /** Throws BAD_REQUEST as `Discovery` does. The provider is asked nothing before somebody logs in. */
  constructor(settings: OidcSettings, world: World) {
    this.settings = settings;
    this.#world = world;
    this.#discovery = new Discovery(settings.issuer, world);
  }

  /** Throws PROVIDER_FAILED. */
  metadata(): Promise<ProviderMetadata> {
    return this.#discovery.metadata();
  }

  /** Where to send the browser. Throws PROVIDER_FAILED. */
  async start(transaction: LoginTransaction): Promise<string> {
    const { location } = await run(await this.#strategy(transaction), { query: {} });
    if (location === undefined) throw new SkaldError("INTERNAL", "The login led nowhere.");
    return location;
  }

  /** Who the provider says it is. Throws LOGIN_REFUSED, LOGIN_EXPIRED, PROVIDER_FAILED. */
  async end(transaction: LoginTransaction, query: LoginRequest["query"]): Promise<Proven> {
    const { user } = await run(await this.#strategy(transaction), { query });
    if (!user) throw new SkaldError("LOGIN_REFUSED", "The identity provider did not say who this is.");
    return user;
  }

  async #strategy(transaction: LoginTransaction): Promise<OidcStrategy> {
    const metadata = await this.#discovery.metadata();
    return new OidcStrategy(this.settings, transaction, metadata, this.#discovery, this.#world);
  }
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
