import { createLocalJWKSet, type JSONWebKeySet } from "jose";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { World } from "../world.ts";
import { isLoopback } from "./loopback.ts";
import { askProvider, failed } from "./provider-fetch.ts";

/** What a provider says of itself (OpenID Connect Discovery 1.0, section 3), as far as it is used here. */
export interface ProviderMetadata {
  readonly issuer: string;
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly jwksUri: string;
  readonly userinfoEndpoint: string | undefined;
  readonly endSessionEndpoint: string | undefined;
  /** What may be used of what it offers; never empty. */
  readonly algorithms: readonly string[];
  readonly secretInHeader: boolean;
  /** Whether each answer to the browser names the issuer (RFC 9207). */
  readonly namesIssuer: boolean;
}

export type Keys = ReturnType<typeof createLocalJWKSet>;

/** Signatures of a key that only the provider has: never `none`, and no MAC whose key the client would have too. */
export const ALGORITHMS: readonly string[] = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];

const FRESH_MS = 600_000;
/** A provider that cannot be asked is left alone for so long, and so is one for a key that it does not have. */
const REST_MS = 5000;

/** Keeps one answer for a while. Whoever asks in the meantime gets the same one; a failure is kept as well. */
class Kept<T> {
  readonly #world: World;
  readonly #load: () => Promise<T>;
  #value: Promise<T> | undefined;
  #until = 0;
  #asked = 0;

  constructor(world: World, load: () => Promise<T>) {
    this.#world = world;
    this.#load = load;
  }

  get(): Promise<T> {
    if (this.#value && this.#world.monotonic() < this.#until) return this.#value;
    const now = this.#world.monotonic();
    this.#asked = now;
    this.#until = now + FRESH_MS;
    const value = this.#load();
    this.#value = value;
    value.catch(() => {
      if (this.#value === value) this.#until = this.#world.monotonic() + REST_MS;
    });
    return value;
  }

  /** Asks again, unless that was done a moment ago. */
  again(): Promise<T> {
    if (this.#world.monotonic() - this.#asked >= REST_MS) this.#until = 0;
    return this.get();
  }
}

/** The provider that an issuer names: what it offers, and the keys it signs with. */
export class Discovery {
  readonly #metadata: Kept<ProviderMetadata>;
  readonly #keys: Kept<Keys>;

  /** Throws BAD_REQUEST for an issuer that is no https URL; http is taken on loopback only. */
  constructor(issuer: string, world: World) {
    checkIssuer(issuer);
    const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    this.#metadata = new Kept(world, async () => {
      const { status, json } = await askProvider(world, WHAT, url);
      if (status !== 200) throw failed(WHAT, `it has the status ${status}`);
      return readMetadata(json, issuer);
    });
    this.#keys = new Kept(world, async () => {
      const { jwksUri } = await this.#metadata.get();
      const { status, json } = await askProvider(world, "keys", jwksUri);
      if (status !== 200) throw failed("keys", `the answer has the status ${status}`);
      return readKeys(json);
    });
  }

  /** Throws PROVIDER_FAILED. */
  metadata(): Promise<ProviderMetadata> {
    return this.#metadata.get();
  }

  /** `again`: those known lack the one that is wanted. Throws PROVIDER_FAILED. */
  keys(again: boolean): Promise<Keys> {
    return again ? this.#keys.again() : this.#keys.get();
  }
}

const WHAT = "configuration";

export function checkIssuer(issuer: string): void {
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  if (!url || !isSafe(url, true) || url.search !== "" || url.hash !== "") {
    throw new SkaldError(
      "BAD_REQUEST",
      "The issuer is an https URL without query and fragment; http will do on loopback only.",
    );
  }
}

function isSafe(url: URL, loopback: boolean): boolean {
  if (url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || (loopback && url.protocol === "http:" && isLoopback(url.hostname));
}

function readMetadata(json: Readonly<Record<string, unknown>>, issuer: string): ProviderMetadata {
  if (json["issuer"] !== issuer) throw failed(WHAT, "it is that of another issuer");
  // Only a provider on this machine may name plain addresses of this machine.
  const loopback = issuer.startsWith("http:");
  const optional = (name: string): string | undefined => {
    const value = json[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string" || !URL.canParse(value) || !isSafe(new URL(value), loopback)) {
      throw failed(WHAT, `its ${name} is no https URL`);
    }
    return value;
  };
  const needed = (name: string): string => {
    const value = optional(name);
    if (value === undefined) throw failed(WHAT, `it has no ${name}`);
    return value;
  };
  const texts = (name: string): string[] | undefined => {
    const value = json[name];
    return Array.isArray(value) ? value.filter((one) => typeof one === "string") : undefined;
  };
  const offered = texts("id_token_signing_alg_values_supported") ?? ["RS256"];
  const algorithms = ALGORITHMS.filter((one) => offered.includes(one));
  if (algorithms.length === 0) throw failed(WHAT, "it signs with nothing that is taken here");
  const methods = texts("token_endpoint_auth_methods_supported");
  return {
    issuer,
    authorizationEndpoint: needed("authorization_endpoint"),
    tokenEndpoint: needed("token_endpoint"),
    jwksUri: needed("jwks_uri"),
    userinfoEndpoint: optional("userinfo_endpoint"),
    endSessionEndpoint: optional("end_session_endpoint"),
    algorithms,
    secretInHeader: methods === undefined || methods.includes("client_secret_basic"),
    namesIssuer: json["authorization_response_iss_parameter_supported"] === true,
  };
}

function readKeys(json: Readonly<Record<string, unknown>>): Keys {
  const { keys } = json;
  if (!Array.isArray(keys) || keys.length > LIMITS.signin.keys.value) {
    throw failed("keys", "they are no list, or one that is too long");
  }
  try {
    return createLocalJWKSet({ keys } as JSONWebKeySet);
  } catch (error) {
    throw failed("keys", "they are malformed", error);
  }
}
