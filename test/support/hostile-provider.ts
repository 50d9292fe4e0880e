import { createHash, createHmac, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * An OpenID provider that does whatever a test tells it to. Left alone it is a strict and good one: it checks the
 * client's secret, PKCE, the redirect URI, and that a code is used once. It knows no login page: whoever is sent to
 * it comes back as `person`.
 */
export type Json = Record<string, unknown>;

/** How one sign-in goes; what is not given is right. Taken up when the browser arrives, so several can go at once. */
export interface Behaviour {
  readonly claims?: (sound: Json) => Json;
  /** The JSON text of the claims, for what `JSON.stringify` does not write. */
  readonly claimsText?: (sound: string) => string;
  readonly header?: (sound: Json) => Json;
  readonly signWith?: Signer;
  readonly idToken?: (sound: string) => unknown;
  readonly tokens?: (sound: Json) => Json;
  readonly userinfo?: (sound: Json) => unknown;
  /** In the place of a whole answer. */
  readonly token?: Raw;
  readonly userinfoRaw?: Raw;
  /** Takes a code as often as it comes. */
  readonly lax?: boolean;
  /** Changes the URL that the browser is sent back to. */
  readonly back?: (url: URL) => void;
}

/** Of all sign-ins. */
export interface Face {
  readonly metadata?: (sound: Json) => unknown;
  readonly discovery?: Raw;
  readonly jwks?: Raw;
  readonly keys?: (sound: Json[]) => unknown;
}

export type Raw = (res: ServerResponse, req: IncomingMessage) => void;
export type Signer = (text: string) => Buffer;

interface Flow {
  readonly behaviour: Behaviour;
  readonly person: Json;
  readonly nonce: string | null;
  readonly challenge: string | null;
  readonly redirect: string;
  used: boolean;
}

export const rs256 =
  (key: KeyObject): Signer =>
  (text) =>
    sign("sha256", Buffer.from(text), key);
export const hs256 =
  (secret: string | Buffer): Signer =>
  (text) =>
    createHmac("sha256", secret).update(text).digest();

export class HostileProvider {
  readonly clientId = "skald-under-test";
  /** A canary: tests look for it where it must not be. */
  readonly clientSecret = `client-secret-${randomBytes(16).toString("hex")}`;
  readonly pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  readonly kid = "the-key";
  behaviour: Behaviour = {};
  face: Face = {};
  person: Json = person("alice");
  /** Paths that were asked for, oldest first. */
  readonly asked: string[] = [];
  /** Everything secret that was given out. */
  readonly secrets: string[] = [this.clientSecret];
  /** Why token requests were refused. */
  readonly refusals: string[] = [];
  readonly #flows = new Map<string, Flow>();
  readonly #server = createServer((req, res) => {
    res.on("error", () => {});
    this.#answer(req, res).catch((error: unknown) => {
      res.destroy();
      this.refusals.push(`the provider itself: ${String(error)}`);
    });
  });
  #port = 0;

  /** Where it says that it is. */
  get issuer(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    // A test file whose server does not start must end all the same.
    this.#server.unref();
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  /** A code for a sign-in that no browser came for. */
  code(over: Partial<Flow> = {}): string {
    return this.#codeFor({
      behaviour: {},
      person: this.person,
      nonce: null,
      challenge: null,
      redirect: "",
      used: false,
      ...over,
    });
  }

  get jwk(): Json {
    return { ...this.pair.publicKey.export({ format: "jwk" }), kid: this.kid, alg: "RS256", use: "sig" };
  }

  #codeFor(flow: Flow): string {
    const code = `code-${randomBytes(16).toString("hex")}`;
    this.secrets.push(code);
    this.#flows.set(code, flow);
    return code;
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? "/", this.issuer);
    this.asked.push(url.pathname);
    const { face } = this;
    if (url.pathname === "/.well-known/openid-configuration") {
      if (face.discovery) return face.discovery(res, req);
      return sendJson(res, face.metadata ? face.metadata(this.#metadata()) : this.#metadata());
    }
    if (url.pathname === "/jwks") {
      if (face.jwks) return face.jwks(res, req);
      return sendJson(res, { keys: face.keys ? face.keys([this.jwk]) : [this.jwk] });
    }
    if (url.pathname === "/authorize") return this.#authorize(url, res);
    if (url.pathname === "/token") return this.#token(req, res);
    if (url.pathname === "/userinfo") return this.#userinfo(req, res);
    res.writeHead(404).end();
  }

  #metadata(): Json {
    return {
      issuer: this.issuer,
      authorization_endpoint: `${this.issuer}/authorize`,
      token_endpoint: `${this.issuer}/token`,
      userinfo_endpoint: `${this.issuer}/userinfo`,
      jwks_uri: `${this.issuer}/jwks`,
      end_session_endpoint: `${this.issuer}/logout`,
      response_types_supported: ["code"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: ["RS256"],
      token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
      code_challenge_methods_supported: ["S256"],
      authorization_response_iss_parameter_supported: true,
    };
  }

  #authorize(url: URL, res: ServerResponse): void {
    const given = url.searchParams;
    const redirect = given.get("redirect_uri") ?? "";
    const { behaviour } = this;
    const code = this.#codeFor({
      behaviour,
      person: this.person,
      nonce: given.get("nonce"),
      challenge: given.get("code_challenge_method") === "S256" ? given.get("code_challenge") : null,
      redirect,
      used: false,
    });
    const back = new URL(redirect);
    back.searchParams.set("code", code);
    back.searchParams.set("state", given.get("state") ?? "");
    back.searchParams.set("iss", this.issuer);
    behaviour.back?.(back);
    for (const name of ["state", "nonce"]) {
      const value = given.get(name);
      if (value) this.secrets.push(value);
    }
    res.writeHead(302, { location: back.href }).end();
  }

  async #token(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const form = new URLSearchParams(await textOf(req));
    const code = form.get("code") ?? "";
    const flow = this.#flows.get(code);
    const why = this.#refusal(req, form, flow);
    if (flow?.behaviour.token) return flow.behaviour.token(res, req);
    if (why !== undefined || !flow) {
      this.refusals.push(why ?? "");
      return sendJson(res, { error: "invalid_grant", error_description: why }, 400);
    }
    flow.used = true;
    const access = `access-${randomBytes(16).toString("hex")}`;
    this.#flows.set(access, flow);
    const idToken = this.#idToken(flow);
    this.secrets.push(access, form.get("code_verifier") ?? "");
    if (typeof idToken === "string" && idToken.length > 40) this.secrets.push(idToken);
    const sound: Json = { access_token: access, token_type: "Bearer", expires_in: 600, id_token: idToken };
    return sendJson(res, flow.behaviour.tokens ? flow.behaviour.tokens(sound) : sound);
  }

  #refusal(req: IncomingMessage, form: URLSearchParams, flow: Flow | undefined): string | undefined {
    const basic = Buffer.from((req.headers.authorization ?? "").replace(/^Basic /i, ""), "base64").toString();
    const [id, secret] = basic.includes(":")
      ? basic.split(":").map(decodeURIComponent)
      : [form.get("client_id"), form.get("client_secret")];
    if (id !== this.clientId || secret !== this.clientSecret) return "wrong client credentials";
    if (form.get("grant_type") !== "authorization_code") return "wrong grant type";
    if (!flow) return "no such code";
    if (flow.used && flow.behaviour.lax !== true) return "the code was used";
    if (form.get("redirect_uri") !== flow.redirect) return "another redirect_uri";
    const challenge = createHash("sha256")
      .update(form.get("code_verifier") ?? "")
      .digest("base64url");
    if (flow.challenge !== challenge) return "wrong code_verifier";
    return undefined;
  }

  #idToken({ behaviour, person, nonce }: Flow): unknown {
    const now = Math.floor(Date.now() / 1000);
    const claims: Json = {
      ...person,
      iss: this.issuer,
      aud: this.clientId,
      iat: now,
      exp: now + 300,
      ...(nonce === null ? {} : { nonce }),
    };
    const header: Json = { alg: "RS256", kid: this.kid, typ: "JWT" };
    const json = JSON.stringify(behaviour.claims ? behaviour.claims(claims) : claims);
    const parts = [
      JSON.stringify(behaviour.header ? behaviour.header(header) : header),
      behaviour.claimsText ? behaviour.claimsText(json) : json,
    ].map((text) => Buffer.from(text).toString("base64url"));
    const text = parts.join(".");
    const token = `${text}.${(behaviour.signWith ?? rs256(this.pair.privateKey))(text).toString("base64url")}`;
    return behaviour.idToken ? behaviour.idToken(token) : token;
  }

  async #userinfo(req: IncomingMessage, res: ServerResponse): Promise<void> {
    await textOf(req);
    const flow = this.#flows.get((req.headers.authorization ?? "").replace(/^Bearer /i, ""));
    if (!flow) return void res.writeHead(401).end();
    if (flow.behaviour.userinfoRaw) return flow.behaviour.userinfoRaw(res, req);
    const sound = { ...flow.person };
    const told = flow.behaviour.userinfo ? flow.behaviour.userinfo(sound) : sound;
    if (typeof told === "string") res.writeHead(200, { "content-type": "application/json" }).end(told);
    else sendJson(res, told);
  }
}

export function person(sub: string, more: Json = {}): Json {
  return {
    sub,
    name: `The ${sub}`,
    preferred_username: sub,
    email: `${sub}@example.org`,
    email_verified: true,
    ...more,
  };
}

export function sendJson(res: ServerResponse, value: unknown, status = 200): void {
  res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** Answers with these bytes. */
export const raw =
  (status: number, type: string, body: string, headers: Readonly<Record<string, string>> = {}): Raw =>
  (res) =>
    void res.writeHead(status, { "content-type": type, ...headers }).end(body);

/** Goes on sending JSON until the other side has enough. */
export const endless: Raw = (res) => {
  res.writeHead(200, { "content-type": "application/json" });
  res.write('{"a":"');
  const part = "x".repeat(64 * 1024);
  const more = (): void => {
    while (!res.destroyed && res.write(part));
    if (!res.destroyed) res.once("drain", more);
  };
  more();
};

/** Takes the request and never says anything. */
export const silent: Raw = () => {};

/** Says something now and then, and never comes to an end. */
export const dripping: Raw = (res) => {
  res.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => res.write(" "), 200);
  res.once("close", () => clearInterval(timer));
};

async function textOf(req: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of req as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}
