import { SignJWT, exportJWK } from "jose";
import { OidcLogin, type OidcSettings } from "../../src/auth/oidc-login.ts";
import { Signin, hasClaim, type LoggedIn } from "../../src/auth/signin.ts";
import { LIMITS } from "../../src/limits.ts";
import { realWorld, type World } from "../../src/world.ts";
import { IdentityProvider, Raw, makeKey, raw, type Key } from "./identity-provider.ts";

const provider = await new IdentityProvider().start();
const first = provider.keys[0] as Key;
afterAll(() => provider.stop());

const BASE = "http://127.0.0.1:7600";
let ahead = 0;
let timers = new Set<{ at: number; work: () => void }>();
/** A clock that a test can put forward; timers go by it alone. */
const world: World = {
  ...realWorld,
  now: () => Date.now() + ahead,
  monotonic: () => ahead,
  timer: (ms, work) => {
    const timer = { at: ahead + ms, work };
    timers.add(timer);
    return () => timers.delete(timer);
  },
};
function forward(ms: number): void {
  ahead += ms;
  for (const timer of timers) if (timer.at < ahead && timers.delete(timer)) timer.work();
}

const signinOf = (more: Partial<OidcSettings> = {}): Signin =>
  new Signin({
    login: new OidcLogin(
      {
        issuer: provider.issuer,
        clientId: provider.clientId,
        clientSecret: provider.clientSecret,
        adminClaim: undefined,
        ...more,
      },
      world,
    ),
    key: () => Buffer.alloc(32, 7),
    world,
  });

let signin: Signin;
beforeEach(() => {
  provider.reset();
  provider.keys = [first];
  provider.person = { sub: "ada", name: "Ada Lovelace", preferred_username: "ada" };
  timers = new Set();
  ahead = 0;
  signin = signinOf();
});

async function logIn(by = signin, query: Record<string, string> = {}): Promise<LoggedIn> {
  const { location, login } = await by.begin(BASE, "/_/");
  return by.finish({ ...provider.agree(location), ...query }, login);
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "ok";
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    expect(message).not.toMatch(/canary|sks_|eyJ/);
    return code ?? message;
  }
}

describe("a login", () => {
  test("sends the browser to the provider with a state, a nonce and a challenge that are new each time", async () => {
    const [one, two] = [await signin.begin(BASE, "/_/"), await signin.begin(BASE, "/_/")];
    const [a, b] = [one, two].map(({ location }) => new URL(location).searchParams);
    expect(Object.fromEntries(a as URLSearchParams)).toEqual({
      kept: "yes",
      response_type: "code",
      client_id: "skald",
      redirect_uri: `${BASE}/auth/oidc/callback`,
      scope: "openid profile email",
      state: expect.stringMatching(/^[\w-]{43}$/) as string,
      nonce: expect.stringMatching(/^[\w-]{43}$/) as string,
      code_challenge: expect.stringMatching(/^[\w-]{43}$/) as string,
      code_challenge_method: "S256",
    });
    for (const name of ["state", "nonce", "code_challenge"]) expect(a?.get(name)).not.toBe(b?.get(name));
    expect(one.location + one.login).not.toContain(provider.clientSecret);
  });

  test("gives who the provider says it is, and where to go on", async () => {
    provider.person = { sub: "ada", name: "Ada", email: "ada@example.org" };
    provider.claims = { email_verified: true, name: "Signed" };
    const { location, login } = await signin.begin(BASE, "/_/#/db/x");
    const who = await signin.finish(provider.agree(location), login);
    expect(who).toMatchObject({ issuer: provider.issuer, sub: "ada", next: "/_/#/db/x" });
    expect(who.claims).toMatchObject({ email: "ada@example.org", email_verified: true, name: "Signed" });
    expect("admin" in who).toBe(false);
  });

  test("ends once, in the browser that began it, within ten minutes", async () => {
    const { location, login } = await signin.begin(BASE, "/_/");
    const other = await signin.begin(BASE, "/_/");
    const query = provider.agree(location);
    for (const cookie of [
      undefined,
      "",
      "x",
      "x.y",
      other.login,
      `${login}A`,
      login.replace(/^.{8}/, "AAAAAAAA"),
    ]) {
      expect(await codeOf(signin.finish(query, cookie))).toBe("LOGIN_EXPIRED");
    }
    for (const state of ["", "other", new URL(other.location).searchParams.get("state") ?? ""]) {
      expect(await codeOf(signin.finish({ ...query, state }, login))).toBe("LOGIN_EXPIRED");
    }
    expect(await codeOf(signin.finish({ code: query["code"] }, login))).toBe("LOGIN_EXPIRED");
    expect(await codeOf(signin.finish({ state: query["state"] }, login))).toBe("BAD_REQUEST");
    expect(await codeOf(signin.finish(query, login))).toBe("ok");
    expect(await codeOf(signin.finish(query, login))).toBe("LOGIN_EXPIRED");
    const late = await signin.begin(BASE, "/_/");
    ahead += LIMITS.signin.loginMs.value;
    expect(await codeOf(signin.finish(provider.agree(late.location), late.login))).toBe("LOGIN_EXPIRED");
  });

  test("that is asked for twice at the same time opens one session", async () => {
    const { location, login } = await signin.begin(BASE, "/_/");
    const query = provider.agree(location);
    const both = await Promise.all([
      codeOf(signin.finish(query, login)),
      codeOf(signin.finish(query, login)),
    ]);
    expect(both.sort()).toEqual(["LOGIN_EXPIRED", "ok"]);
  });

  test("is told apart from one that another key or another issuer began", async () => {
    const { location, login } = await signin.begin(BASE, "/_/");
    const query = provider.agree(location);
    const stranger = new Signin({
      login: new OidcLogin(
        { issuer: provider.issuer, clientId: "skald", clientSecret: undefined, adminClaim: undefined },
        world,
      ),
      key: () => Buffer.alloc(32, 8),
      world,
    });
    expect(await codeOf(stranger.finish(query, login))).toBe("LOGIN_EXPIRED");
    expect(await codeOf(signinOf({ issuer: `${provider.issuer}/two` }).finish(query, login))).toBe(
      "LOGIN_EXPIRED",
    );
  });

  test("that the provider refuses is refused, and says the provider's word and no more", async () => {
    const { location, login } = await signin.begin(BASE, "/_/");
    const { state = "" } = provider.agree(location);
    const query = { state, error: "access_denied", error_description: "canary <script>" };
    expect(await codeOf(signin.finish(query, login))).toBe("LOGIN_REFUSED");
    const again = await signin.begin(BASE, "/_/");
    const other = { ...query, state: provider.agree(again.location)["state"] ?? "", error: "canary <b>" };
    expect(await codeOf(signin.finish(other, again.login))).toBe("LOGIN_REFUSED");
  });

  test("takes an answer that names its issuer only from that one, and needs the name where it is promised", async () => {
    expect(await codeOf(logIn(signin, { iss: provider.issuer }))).toBe("ok");
    expect(await codeOf(logIn(signin, { iss: "https://evil.example" }))).toBe("LOGIN_REFUSED");
    provider.answers["/.well-known/openid-configuration"] = () => ({
      ...provider.configuration(),
      authorization_response_iss_parameter_supported: true,
    });
    const strict = signinOf();
    expect(await codeOf(logIn(strict))).toBe("LOGIN_REFUSED");
    expect(await codeOf(logIn(strict, { iss: provider.issuer }))).toBe("ok");
  });

  test("without a provider is not there", async () => {
    const none = new Signin({ login: undefined, key: () => Buffer.alloc(32) });
    expect(none.name).toBeUndefined();
    expect(await codeOf(none.begin(BASE, "/_/"))).toBe("LOGIN_UNAVAILABLE");
    expect(await codeOf(none.finish({ code: "x", state: "y" }, "z"))).toBe("LOGIN_UNAVAILABLE");
  });
});

describe("an ID token is refused", () => {
  const now = (): number => Math.floor(Date.now() / 1000);
  const wrong: Record<string, () => Record<string, unknown>> = {
    "of another issuer": () => ({ iss: "https://evil.example" }),
    "for another client": () => ({ aud: "other" }),
    "for others beside this client, when it says not who asked": () => ({ aud: ["other", "skald"] }),
    "that another client asked for": () => ({ aud: ["other", "skald"], azp: "other" }),
    "for this client that another asked for": () => ({ azp: "other" }),
    "that has run out": () => ({ exp: now() - 61 }),
    "of the future": () => ({ iat: now() + 3600 }),
    "that was made long ago": () => ({ iat: now() - 86_400 }),
    "that does not hold yet": () => ({ nbf: now() + 3600 }),
    "without an end": () => ({ exp: undefined }),
    "without its time": () => ({ iat: undefined }),
    "whose end is no number": () => ({ exp: "never" }),
    "with another nonce": () => ({ nonce: "canary" }),
    "without a nonce": () => ({ nonce: undefined }),
    "without a subject": () => ({ sub: undefined }),
    "with an empty subject": () => ({ sub: "" }),
    "with a subject that is no text": () => ({ sub: ["ada"] }),
    "with a subject that has a NUL": () => ({ sub: "ada\0" }),
    "with a subject that goes on for ever": () => ({ sub: "a".repeat(5000) }),
    "of another access token": () => ({ at_hash: "AAAAAAAAAAAAAAAAAAAAAA" }),
  };
  test.each(Object.keys(wrong))("%s", async (name) => {
    provider.claims = wrong[name]?.() ?? {};
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  const signed: Record<string, (claims: Record<string, unknown>) => Promise<string>> = {
    "signed by nobody": (claims) => {
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
      return Promise.resolve(`${part({ alg: "none" })}.${part(claims)}.`);
    },
    "under the client's secret": (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "HS256" })
        .sign(Buffer.from(provider.clientSecret.padEnd(32))),
    "under the public key as a secret": async (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "HS256", kid: "first" })
        .sign(Buffer.from(JSON.stringify(first.public))),
    "by a key that the token brings": async (claims) => {
      const own = await makeKey("own");
      return new SignJWT(claims).setProtectedHeader({ alg: "ES256", jwk: own.public }).sign(own.private);
    },
    "by another key of the same name": async (claims) => {
      const own = await makeKey("first");
      return new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "first" }).sign(own.private);
    },
    "by a key of a name that nobody knows": async (claims) => {
      const own = await makeKey("own");
      return new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "own" }).sign(own.private);
    },
    "with something critical that is not understood": (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "ES256", kid: "first", crit: ["canary"], canary: 1 })
        .sign(first.private, { crit: { canary: true } }),
    "in a way that the provider did not offer": async (claims) => {
      const own = await makeKey("rsa", "RS512");
      provider.keys = [first, own];
      return new SignJWT(claims).setProtectedHeader({ alg: "RS512", kid: "rsa" }).sign(own.private);
    },
  };
  test.each(Object.keys(signed))("%s", async (name) => {
    const good = provider.token.bind(provider);
    provider.answers["/token"] = async (asked) => {
      const answer = (await good(asked)) as { id_token: string };
      const [, body = ""] = answer.id_token.split(".");
      const claims = JSON.parse(Buffer.from(body, "base64url").toString("utf8")) as Record<string, unknown>;
      return { ...answer, id_token: await signed[name]?.(claims) };
    };
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  test("when its signature was cut off or changed", async () => {
    const good = provider.token.bind(provider);
    for (const spoil of [
      (t: string) => t.slice(0, -5),
      (t: string) => `${t.slice(0, -6)}AAAAAA`,
      () => "..",
      () => "x",
    ]) {
      provider.answers["/token"] = async (asked) => {
        const answer = (await good(asked)) as { id_token: string };
        return { ...answer, id_token: spoil(answer.id_token) };
      };
      expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
    }
  });
});

describe("keys", () => {
  test("of each kind are taken", async () => {
    for (const alg of ["RS256", "ES256", "EdDSA"]) {
      provider.keys = [await makeKey(alg, alg)];
      expect(await codeOf(logIn(signinOf()))).toBe("ok");
    }
  });

  test("that follow those before are asked for when a token names one, once in a while", async () => {
    await logIn();
    const before = provider.asked["/keys"] as number;
    provider.keys = [await makeKey("second")];
    ahead += 6000;
    expect(await codeOf(logIn())).toBe("ok");
    expect(provider.asked["/keys"]).toBe(before + 1);
    expect(await codeOf(logIn())).toBe("ok");
    // Whoever can make tokens with new names does not make this server ask for each.
    provider.answers["/keys"] = () => ({ keys: [] });
    provider.keys = [await makeKey("third")];
    for (let i = 0; i < 3; i += 1) expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
    expect(provider.asked["/keys"]).toBe(before + 1);
  });

  test("that replace one under its name are asked for as well", async () => {
    await logIn();
    provider.keys = [await makeKey("first")];
    ahead += 6000;
    expect(await codeOf(logIn())).toBe("ok");
  });

  test("that a provider withdrew are forgotten after ten minutes", async () => {
    await logIn();
    provider.answers["/keys"] = () => ({ keys: [] });
    ahead += 601_000;
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  test("without names are tried one after the other", async () => {
    const [a, b] = [await makeKey(""), await makeKey("")];
    const bare = ({ public: { kid: _kid, ...key } }: Key): object => key;
    provider.keys = [b];
    provider.answers["/keys"] = () => ({ keys: [bare(a), bare(b)] });
    expect(await codeOf(logIn())).toBe("ok");
    provider.keys = [await makeKey("")];
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  test("that are secrets are not used", async () => {
    const secret = Buffer.alloc(32, 1);
    provider.answers["/keys"] = async () => ({
      keys: [{ ...(await exportJWK(secret)), kid: "first", alg: "HS256" }],
    });
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  test.each([{}, { keys: 1 }, { keys: [1] }, { keys: Array.from({ length: 101 }, () => ({ kty: "EC" })) }])(
    "that make no sense end nothing but the login: %#",
    async (answer) => {
      provider.answers["/keys"] = () => answer;
      expect(await codeOf(logIn())).toBe("PROVIDER_FAILED");
    },
  );
});

describe("what a provider says of itself", () => {
  const bad: Record<string, Record<string, unknown>> = {
    "that it is another": { issuer: "https://evil.example" },
    "nothing of who it is": { issuer: undefined },
    "no place for its keys": { jwks_uri: undefined },
    "no place to log in": { authorization_endpoint: undefined },
    "a plain address elsewhere": { token_endpoint: "http://example.org/token" },
    "an address that is none": { token_endpoint: "token" },
    "an address that is code": { authorization_endpoint: "javascript:alert(1)" },
    "an address with a password": { token_endpoint: "https://a:b@example.org/" },
    "a file": { jwks_uri: "file:///etc/passwd" },
    "a list for an address": { userinfo_endpoint: ["https://example.org"] },
    "a way out that is code": { end_session_endpoint: "data:text/html,x" },
    "that it signs with nothing": { id_token_signing_alg_values_supported: ["none", "HS256"] },
  };
  test.each(Object.keys(bad))("is not taken: %s", async (name) => {
    provider.answers["/.well-known/openid-configuration"] = () => ({
      ...provider.configuration(),
      ...bad[name],
    });
    expect(await codeOf(signin.begin(BASE, "/_/"))).toBe("PROVIDER_FAILED");
  });

  test("is asked for once in ten minutes, however many log in at once", async () => {
    const path = "/.well-known/openid-configuration";
    const before = provider.asked[path] ?? 0;
    await Promise.all(Array.from({ length: 20 }, () => signin.begin(BASE, "/_/")));
    expect(provider.asked[path]).toBe(before + 1);
    ahead += 601_000;
    await signin.begin(BASE, "/_/");
    expect(provider.asked[path]).toBe(before + 2);
  });

  test("is asked for again some seconds after it failed, not each time", async () => {
    const path = "/.well-known/openid-configuration";
    provider.answers[path] = () => raw(500, "{}");
    const before = provider.asked[path] ?? 0;
    for (let i = 0; i < 5; i += 1) expect(await codeOf(signin.begin(BASE, "/_/"))).toBe("PROVIDER_FAILED");
    expect(provider.asked[path]).toBe(before + 1);
    provider.reset();
    ahead += 5001;
    expect(await codeOf(signin.begin(BASE, "/_/"))).toBe("ok");
  });

  test.each([
    "http://example.org",
    "https://example.org/?a=b",
    "https://example.org/#x",
    "ftp://localhost",
    "x",
    "https://u:p@example.org",
  ])("%s is no issuer", (issuer) => {
    expect(() => signinOf({ issuer })).toThrow(/issuer/);
  });
});

describe("an answer that makes no sense ends nothing but the login", () => {
  const PATHS = ["/.well-known/openid-configuration", "/keys", "/token", "/userinfo"];
  const answers: Record<string, () => unknown> = {
    "is not JSON": () => raw(200, "<html>canary"),
    "is empty": () => raw(200, ""),
    "is a number": () => raw(200, "1"),
    "is null": () => raw(200, "null"),
    "is a list": () => raw(200, "[]"),
    "leads elsewhere": () => raw(302, "{}", { location: `${provider.issuer}/keys` }),
    "is larger than it may be": () =>
      raw(200, JSON.stringify({ x: "x".repeat(LIMITS.signin.answerBytes.value) })),
    "never ends": () =>
      new Raw((res) => {
        res.writeHead(200);
        res.on("error", () => {});
        const more = (): void => {
          while (!res.destroyed && res.write("x".repeat(65_536)));
        };
        res.on("drain", more);
        more();
      }),
    "breaks off": () =>
      new Raw((res) => {
        res.writeHead(200, { "content-length": "100" });
        res.write("{");
        setImmediate(() => res.destroy());
      }),
    "is none": () => new Raw((res) => res.destroy()),
    "lies about its encoding": () => raw(200, "canary", { "content-encoding": "gzip" }),
  };
  const cases = PATHS.flatMap((path) => Object.keys(answers).map((name) => [path, name] as const));
  test.each(cases)("%s %s", async (path, name) => {
    provider.answers[path] = () => answers[name]?.();
    expect(["PROVIDER_FAILED", "LOGIN_REFUSED"]).toContain(await codeOf(logIn()));
    provider.reset();
    ahead += 6000;
    expect(await codeOf(logIn())).toBe("ok");
  });

  test.each(PATHS)("%s that does not come is given up after ten seconds", async (path) => {
    let hangs: (() => void) | undefined;
    const hanging = new Promise<void>((resolve) => {
      hangs = resolve;
    });
    provider.answers[path] = () => new Raw(() => hangs?.());
    const outcome = codeOf(logIn());
    await hanging;
    forward(LIMITS.signin.answerMs.value + 1);
    expect(await outcome).toBe("PROVIDER_FAILED");
  });

  test.each([
    ["no ID token", { id_token: undefined }],
    ["an ID token that is no text", { id_token: { a: 1 } }],
    ["no access token", { access_token: undefined }],
    ["another type of token", { token_type: "DPoP" }],
    ["an access token that would end the header", { access_token: "a\r\nx-canary: 1" }],
  ])("the answer to the code has %s", async (_name, more) => {
    const good = provider.token.bind(provider);
    provider.claims = { at_hash: undefined };
    provider.answers["/token"] = async (asked) => ({ ...((await good(asked)) as object), ...more });
    expect(await codeOf(logIn())).toBe("PROVIDER_FAILED");
  });
});

describe("the user information", () => {
  test.each([
    ["of somebody else", { sub: "eve", name: "Eve" }],
    ["of nobody", { name: "Eve" }],
    ["whose subject is a list with the right one", { sub: ["ada"] }],
  ])("%s is refused", async (_name, answer) => {
    provider.answers["/userinfo"] = () => answer;
    expect(await codeOf(logIn())).toBe("LOGIN_REFUSED");
  });

  test("does not win over what is signed", async () => {
    provider.claims = { groups: ["users"] };
    provider.answers["/userinfo"] = () => ({ sub: "ada", groups: ["admins"], iss: "https://evil.example" });
    const who = await logIn(signinOf({ adminClaim: { claim: "groups", value: "admins" } }));
    expect([who.admin, who.issuer]).toEqual([false, provider.issuer]);
  });
});

describe("the client", () => {
  test("proves itself by the verifier alone when it has no secret", async () => {
    const seen: Record<string, string>[] = [];
    provider.answers["/token"] = ({ body, headers }) => {
      seen.push({ ...Object.fromEntries(body), authorization: headers.authorization ?? "" });
      return { error: "invalid_grant" };
    };
    expect(await codeOf(logIn(signinOf({ clientSecret: undefined })))).toBe("LOGIN_REFUSED");
    expect(seen[0]).toMatchObject({ client_id: "skald", authorization: "" });
    expect(seen[0]?.["client_secret"]).toBeUndefined();
  });

  test("sends its secret in the form where the provider takes it there only", async () => {
    provider.answers["/.well-known/openid-configuration"] = () => ({
      ...provider.configuration(),
      token_endpoint_auth_methods_supported: ["client_secret_post"],
    });
    let seen = new URLSearchParams();
    provider.answers["/token"] = ({ body }) => {
      seen = body;
      return { error: "invalid_client" };
    };
    await codeOf(logIn());
    expect(seen.get("client_secret")).toBe(provider.clientSecret);
  });
});

test("an admin is whom the configured claim says, at the top, inside, or in a list", async () => {
  expect(hasClaim({ admin: true }, "admin", "true")).toBe(true);
  expect(hasClaim({ groups: ["a", "b"] }, "groups", "b")).toBe(true);
  expect(hasClaim({ realm_access: { roles: ["x", "y"] } }, "realm_access.roles", "y")).toBe(true);
  expect(hasClaim({ "https://a.example/role": "admin" }, "https://a.example/role", "admin")).toBe(true);
  expect(hasClaim({ groups: "administrators" }, "groups", "admin")).toBe(false);
  expect(hasClaim({ groups: [["admin"]] }, "groups", "admin")).toBe(false);
  expect(hasClaim({}, "toString", "x")).toBe(false);
  expect(hasClaim({ constructor: { name: "Object" } }, "a.b", "x")).toBe(false);
  provider.person = { sub: "ada", groups: ["admins"] };
  expect((await logIn(signinOf({ adminClaim: { claim: "groups", value: "admins" } }))).admin).toBe(true);
  provider.person = { sub: "ada" };
  expect((await logIn(signinOf({ adminClaim: { claim: "groups", value: "admins" } }))).admin).toBe(false);
});

describe("logging out at the provider", () => {
  test("names the client, the session's ID token and the way back", async () => {
    const { idToken } = await logIn();
    signin.remember("ses_1", idToken);
    const url = new URL((await signin.endSession(`${BASE}/_/`, signin.forget("ses_1"))) ?? "");
    expect(url.origin + url.pathname).toBe(`${provider.issuer}/end`);
    expect(Object.fromEntries(url.searchParams)).toEqual({
      client_id: "skald",
      post_logout_redirect_uri: `${BASE}/_/`,
      id_token_hint: idToken,
    });
    expect(signin.forget("ses_1")).toBeUndefined();
  });

  test("is left out where there is no such place, or nobody answers", async () => {
    provider.answers["/.well-known/openid-configuration"] = () => ({
      ...provider.configuration(),
      end_session_endpoint: undefined,
    });
    expect(await signin.endSession(BASE, undefined)).toBeUndefined();
    provider.answers["/.well-known/openid-configuration"] = () => raw(500, "");
    expect(await signinOf().endSession(BASE, undefined)).toBeUndefined();
  });
});
