import { createHash } from "node:crypto";
// @ts-expect-error -- it has no types; what is used of it is described below
import PassportOpenIdConnect from "passport-openidconnect";
import { SkaldError } from "../errors.ts";
import type { World } from "../world.ts";
import { isSub, verifyIdToken, type Claims } from "./id-token.ts";
import type { LoginTransaction } from "./login-transaction.ts";
import type { Discovery, ProviderMetadata } from "./oidc-discovery.ts";
import { askProvider, failed } from "./provider-fetch.ts";

/**
 * passport-openidconnect with what it lacks: PKCE, a nonce that is always checked, signatures, the same subject
 * everywhere, limits on what a provider answers. What it does itself (the URL that a browser is sent to, state,
 * the order of the steps, its own checks of the claims) still happens.
 *
 * An instance is for one step of one login: passport writes its outcome onto it.
 */
export interface Client {
  readonly clientId: string;
  readonly clientSecret: string | undefined;
}

/** What passport takes for a request; no more of the real one is shown to it. */
export interface LoginRequest {
  readonly query: Readonly<Record<string, string | undefined>>;
}

/** Who the provider says it is. */
export interface Proven {
  readonly claims: Claims;
  readonly idToken: string;
}

type Told = (error: unknown, ...rest: unknown[]) => void;

interface StateStore {
  store(req: LoginRequest, ctx: object, state: unknown, meta: object, told: Told): void;
  verify(req: LoginRequest, state: string, told: Told): void;
}

interface BaseOptions {
  readonly issuer: string;
  readonly authorizationURL: string;
  readonly tokenURL: string;
  readonly clientID: string;
  readonly callbackURL: string;
  readonly scope: readonly string[];
  readonly skipUserProfile: true;
  readonly store: StateStore;
}

type Verified = (error: unknown, user?: object | false) => void;

/** What this file uses of the package's strategy. */
interface BaseStrategy {
  authenticate(req: LoginRequest, options: object): void;
  /** "Protected", as its source has it: for subclasses. */
  _oauth2: {
    getOAuthAccessToken(code: string, params: Readonly<Record<string, string>>, told: Told): void;
  };
  /** passport has set it by the time it is asked for. */
  error(error: unknown): void;
}

const Base = PassportOpenIdConnect as new (
  options: BaseOptions,
  verify: (issuer: string, profile: object, verified: Verified) => void,
) => BaseStrategy;

export class OidcStrategy extends Base {
  readonly #transaction: LoginTransaction;
  readonly #metadata: ProviderMetadata;
  #proven: Proven | undefined;

  constructor(
    client: Client,
    transaction: LoginTransaction,
    metadata: ProviderMetadata,
    discovery: Discovery,
    world: World,
  ) {
    super(
      {
        issuer: metadata.issuer,
        authorizationURL: metadata.authorizationEndpoint,
        tokenURL: metadata.tokenEndpoint,
        clientID: client.clientId,
        callbackURL: callbackOf(transaction.base),
        scope: ["profile", "email"],
        // Its own way there lets a subject that differs win, and ends the process on what does not parse.
        skipUserProfile: true,
        store: {
          store: (_req, _ctx, _state, _meta, told) => told(null, transaction.state),
          verify: (_req, state, told) =>
            state === transaction.state
              ? told(null, { nonce: transaction.nonce })
              : told(null, false, { message: "state" }),
        },
      },
      (_issuer, _profile, verified) => verified(null, this.#proven ?? false),
    );
    this.#transaction = transaction;
    this.#metadata = metadata;
    this._oauth2.getOAuthAccessToken = (code, params, told) => {
      exchange(client, transaction, metadata, discovery, world, code, params)
        .then(({ accessToken, ...proven }) => {
          this.#proven = proven;
          told(null, accessToken, undefined, { id_token: proven.idToken });
        })
        // Also what the package throws on the way: there it would be an unhandled rejection.
        .catch((error: unknown) => this.error(error));
    };
  }

  override authenticate(req: LoginRequest, options: object): void {
    const { state, iss, code, error } = req.query;
    const ends = code !== undefined || error !== undefined;
    if (ends) {
      // Before anything that the answer says: an answer to nobody's question is not even an error of the provider's.
      if (state !== this.#transaction.state) {
        this.error(
          new SkaldError("LOGIN_EXPIRED", "The answer is not to the login that this browser began."),
        );
        return;
      }
      if (iss === undefined ? this.#metadata.namesIssuer : iss !== this.#metadata.issuer) {
        this.error(new SkaldError("LOGIN_REFUSED", "The answer came from another identity provider."));
        return;
      }
    }
    super.authenticate(req, options);
  }

  /** The package's hook for what it does not know of. */
  authorizationParams(): Readonly<Record<string, string>> {
    const { nonce, verifier } = this.#transaction;
    return {
      nonce,
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
    };
  }
}

export const callbackOf = (base: string): string => `${base}/auth/oidc/callback`;

/** A code for who it stands for. Throws LOGIN_REFUSED, PROVIDER_FAILED. */
async function exchange(
  client: Client,
  transaction: LoginTransaction,
  metadata: ProviderMetadata,
  discovery: Discovery,
  world: World,
  code: string,
  params: Readonly<Record<string, string>>,
): Promise<Proven & { accessToken: string }> {
  const { status, json } = await askProvider(world, "answer to the code", metadata.tokenEndpoint, {
    method: "POST",
    ...asClient(client, metadata, { ...params, code, code_verifier: transaction.verifier }),
  });
  if (status !== 200) {
    const error = /^[a-z_]{1,40}$/.exec(String(json["error"]))?.[0];
    throw new SkaldError(
      "LOGIN_REFUSED",
      `The identity provider does not take the code${error === undefined ? "" : ` (${error})`}.`,
    );
  }
  const { id_token: idToken, access_token: accessToken, token_type: type } = json;
  if (typeof idToken !== "string") throw failed("answer to the code", "it has no ID token");
  if (typeof accessToken !== "string" || typeof type !== "string" || type.toLowerCase() !== "bearer") {
    throw failed("answer to the code", "it has no access token of the type Bearer");
  }
  const claims = await verifyIdToken(idToken, (again) => discovery.keys(again), {
    issuer: metadata.issuer,
    clientId: client.clientId,
    nonce: transaction.nonce,
    algorithms: metadata.algorithms,
    accessToken,
    now: world.now(),
  });
  const more = await userinfo(metadata, accessToken, claims.sub, world);
  // What is signed goes before what is not.
  return { claims: { ...more, ...claims }, idToken, accessToken };
}

function asClient(
  { clientId, clientSecret }: Client,
  metadata: ProviderMetadata,
  params: Readonly<Record<string, string>>,
): { headers: Record<string, string>; body: string } {
  const headers: Record<string, string> = { "content-type": "application/x-www-form-urlencoded" };
  const body = new URLSearchParams(params);
  if (clientSecret !== undefined && metadata.secretInHeader) {
    // Encoded as in a form before they are joined (RFC 6749, section 2.3.1).
    const encoded = (text: string): string => new URLSearchParams({ "": text }).toString().slice(1);
    const both = `${encoded(clientId)}:${encoded(clientSecret)}`;
    headers["authorization"] = `Basic ${Buffer.from(both).toString("base64")}`;
  } else {
    body.set("client_id", clientId);
    if (clientSecret !== undefined) body.set("client_secret", clientSecret);
  }
  return { headers, body: body.toString() };
}

async function userinfo(
  { userinfoEndpoint: url }: ProviderMetadata,
  accessToken: string,
  sub: string,
  world: World,
): Promise<Readonly<Record<string, unknown>>> {
  if (url === undefined) return {};
  // It is sent as it is: nothing in it may end the header.
  if (!/^[\x21-\x7e]+$/.test(accessToken))
    throw failed("answer to the code", "its access token is malformed");
  const { status, json } = await askProvider(world, "user information", url, {
    headers: { authorization: `Bearer ${accessToken}` },
  });
  if (status !== 200) throw failed("user information", `it has the status ${status}`);
  if (!isSub(json["sub"]) || json["sub"] !== sub) {
    throw new SkaldError("LOGIN_REFUSED", "The identity provider's user information is of somebody else.");
  }
  return json;
}
