import { createHash, generateKeyPairSync, randomBytes, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT, exportJWK, type JWK, type JWTPayload } from "jose";

/**
 * An identity provider on loopback that does what a test says: everything it answers is made by a function that the
 * test may replace. As it comes it is a good one, which checks the client's secret and the PKCE verifier.
 */
export interface Key {
  readonly kid: string;
  readonly alg: string;
  readonly private: KeyObject;
  readonly public: JWK;
}

export interface Asked {
  readonly body: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
}

type Answer = (asked: Asked) => unknown;

export async function makeKey(kid: string, alg = "ES256"): Promise<Key> {
  const pair =
    alg === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : alg.startsWith("ES")
        ? generateKeyPairSync("ec", { namedCurve: "P-256" })
        : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    kid,
    alg,
    private: pair.privateKey,
    public: { ...(await exportJWK(pair.publicKey)), kid, alg, use: "sig" },
  };
}

export class IdentityProvider {
  readonly clientId = "skald";
  readonly clientSecret = "client:secret/with %25";
  issuer = "";
  keys: Key[] = [];
  /** Claims of the next ID token, over those that are right. */
  claims: Record<string, unknown> = {};
  person: Record<string, unknown> = { sub: "ada", name: "Ada Lovelace", preferred_username: "ada" };
  /** How often each path was asked for. */
  readonly asked: Record<string, number> = {};
  readonly answers: Record<string, Answer> = {};
  readonly #codes = new Map<string, URLSearchParams>();
  readonly #server = createServer((req, res) => void this.#answer(req, res));

  async start(): Promise<this> {
    this.keys = [await makeKey("first")];
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.issuer = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    this.reset();
    return this;
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  /** Good again. */
  reset(): void {
    this.claims = {};
    Object.assign(this.answers, {
      "/.well-known/openid-configuration": () => this.configuration(),
      "/keys": () => ({ keys: this.keys.map((key) => key.public) }),
      "/token": (asked: Asked) => this.token(asked),
      "/userinfo": () => this.person,
    } satisfies Record<string, Answer>);
  }

  configuration(): Record<string, unknown> {
    const at = (path: string): string => this.issuer + path;
    return {
      issuer: this.issuer,
      authorization_endpoint: at("/authorize?kept=yes"),
      token_endpoint: at("/token"),
      jwks_uri: at("/keys"),
      userinfo_endpoint: at("/userinfo"),
      end_session_endpoint: at("/end"),
      response_types_supported: ["code"],
      id_token_signing_alg_values_supported: ["ES256", "RS256", "EdDSA", "HS256", "none"],
      code_challenge_methods_supported: ["S256"],
    };
  }

  /** The person agrees: gives the query with which the browser comes back. */
  agree(location: string): Record<string, string> {
    const params = new URL(location).searchParams;
    const code = randomBytes(8).toString("hex");
    this.#codes.set(code, params);
    return { code, state: params.get("state") ?? "" };
  }

  async token({ body, headers }: Asked): Promise<unknown> {
    const params = this.#codes.get(body.get("code") ?? "");
    this.#codes.delete(body.get("code") ?? "");
    const wanted = new URLSearchParams({ "": this.clientId }).toString().slice(1);
    const secret = new URLSearchParams({ "": this.clientSecret }).toString().slice(1);
    const basic = `Basic ${Buffer.from(`${wanted}:${secret}`).toString("base64")}`;
    const challenge = createHash("sha256")
      .update(body.get("code_verifier") ?? "")
      .digest("base64url");
    if (
      !params ||
      params.get("redirect_uri") !== body.get("redirect_uri") ||
      params.get("code_challenge") !== challenge ||
      params.get("code_challenge_method") !== "S256" ||
      headers.authorization !== basic
    ) {
      return { error: "invalid_grant" };
    }
    const accessToken = randomBytes(16).toString("base64url");
    return {
      access_token: accessToken,
      token_type: "Bearer",
      expires_in: 60,
      id_token: await this.idToken({ nonce: params.get("nonce") }, accessToken),
    };
  }

  async idToken(more: Record<string, unknown>, accessToken = "", key = this.keys[0] as Key): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const digest = createHash(key.alg === "EdDSA" ? "sha512" : "sha256")
      .update(accessToken)
      .digest();
    const claims = {
      iss: this.issuer,
      aud: this.clientId,
      sub: this.person["sub"],
      iat: now,
      exp: now + 300,
      at_hash: digest.subarray(0, digest.length / 2).toString("base64url"),
      ...more,
      ...this.claims,
    };
    return new SignJWT(claims as JWTPayload)
      .setProtectedHeader({ alg: key.alg, ...(key.kid === "" ? {} : { kid: key.kid }) })
      .sign(key.private);
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of req) parts.push(part as Buffer);
    const [path = ""] = (req.url ?? "").split("?");
    this.asked[path] = (this.asked[path] ?? 0) + 1;
    const body = new URLSearchParams(Buffer.concat(parts).toString("utf8"));
    const answer = await this.answers[path]?.({ body, headers: req.headers });
    if (answer instanceof Raw) {
      answer.write(res);
      return;
    }
    const failed = answer === undefined || (answer as { error?: unknown } | null)?.error !== undefined;
    res.writeHead(failed ? 400 : 200, { "content-type": "application/json" });
    res.end(JSON.stringify(answer ?? {}));
  }
}

/** An answer that is no JSON of status 200. */
export class Raw {
  readonly write: (res: ServerResponse) => void;
  constructor(write: (res: ServerResponse) => void) {
    this.write = write;
  }
}

export const raw = (status: number, body: string, headers: Record<string, string> = {}): Raw =>
  new Raw((res) => res.writeHead(status, headers).end(body));
