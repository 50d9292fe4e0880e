import { generateKeyPairSync, randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { Browser, type Page } from "../support/browser.ts";
import {
  HostileProvider,
  dripping,
  endless,
  hs256,
  raw,
  rs256,
  sendJson,
  silent,
  type Behaviour,
  type Face,
  type Json,
  type Raw,
} from "../support/hostile-provider.ts";
import { CALLBACK, type Ground, type Scenario } from "./sign-in-fixture.ts";

/**
 * What a provider, a network or another site may try. None of it may let anybody in, keep anything, or end the
 * server. Sources: OpenID Connect Core 1.0 (3.1.3.7), RFC 9700 (OAuth security), RFC 8725 (JWT), RFC 9207 (mix-up).
 */
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });
const HUGE = `{"a":"${"x".repeat(8 * 1024 * 1024)}"}`;
const html = raw(200, "text/html", "<!doctype html><script>alert(1)</script><h1>Log in</h1>");
/** 40 KB that become 40 MB. */
const PACKED = gzipSync(Buffer.alloc(40 * 1024 * 1024, " "));
const bomb: Raw = (res) =>
  void res.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(PACKED);
const hangUp: Raw = (res) => void res.socket?.destroy();
const half: Raw = (res) => {
  res.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
  res.write('{"issuer":');
  setTimeout(() => res.socket?.destroy(), 20);
};

const claims = (change: Json): Behaviour => ({ claims: (sound) => ({ ...sound, ...change }) });
const lacking = (all: Json, name: string): Json =>
  Object.fromEntries(Object.entries(all).filter(([key]) => key !== name));
const without = (name: string): Behaviour => ({
  claims: (sound) => lacking(sound, name),
});
const now = (): number => Math.floor(Date.now() / 1000);

/** Short enough for an error of a parser to repeat it whole. */
function secretOf(provider: HostileProvider): string {
  const secret = `acc${randomBytes(6).toString("hex")}`;
  provider.secrets.push(secret);
  return secret;
}

export function discoveryScenarios({ provider }: Ground): Scenario[] {
  const metadata = (change: Json): Face => ({ metadata: (sound) => ({ ...sound, ...change }) });
  const faces: Readonly<Record<string, Face>> = {
    "the issuer of another": metadata({ issuer: "https://accounts.example.com" }),
    "its own issuer with a slash more": metadata({ issuer: `${provider.issuer}/` }),
    "no issuer": metadata({ issuer: undefined }),
    "an issuer that is a list": metadata({ issuer: [provider.issuer] }),
    HTML: { discovery: html },
    nothing: { discovery: raw(200, "application/json", "") },
    "a list": { metadata: () => [] },
    null: { metadata: () => null },
    "the status 404": { discovery: raw(404, "application/json", "{}") },
    "the status 500 and a page": { discovery: raw(500, "text/html", "<h1>Oops</h1>") },
    "a redirect to another place": {
      discovery: raw(302, "text/plain", "", { location: "http://127.0.0.1:1/" }),
    },
    "a redirect to itself": {
      discovery: raw(302, "text/plain", "", { location: "/.well-known/openid-configuration" }),
    },
    "eight megabytes": { discovery: raw(200, "application/json", HUGE) },
    "no end": { discovery: endless },
    "a bomb of zeros": { discovery: bomb },
    "a connection that is cut at once": { discovery: hangUp },
    "half an answer": { discovery: half },
    "no token endpoint": metadata({ token_endpoint: undefined }),
    "endpoints that are no URLs": metadata({ authorization_endpoint: "javascript:alert(1)" }),
    "an endpoint with a password in it": metadata({
      authorization_endpoint: "http://user:pass@127.0.0.1/authorize",
    }),
    "a plain endpoint on another machine": metadata({ token_endpoint: "http://example.com/token" }),
    "nothing but MACs and no signatures": metadata({
      id_token_signing_alg_values_supported: ["none", "HS256"],
    }),
    "what inherits": {
      discovery: raw(200, "application/json", `{"__proto__":${JSON.stringify({ issuer: "x" })}}`),
    },
  };
  return Object.entries(faces).map(([name, face]) => ({ name: `discovery that gives ${name}`, face }));
}

/** Each waits for as long as the server has patience. */
export function slowScenarios(): Scenario[] {
  return [
    { name: "a token endpoint that says nothing", behaviour: { token: silent } },
    { name: "a token endpoint that drips", behaviour: { token: dripping } },
    { name: "user information that does not come", behaviour: { userinfoRaw: silent } },
    { name: "user information that drips", behaviour: { userinfoRaw: dripping } },
  ];
}

export function tokenScenarios({ provider }: Ground): Scenario[] {
  const tokens = (change: (sound: Json) => Json): Behaviour => ({ tokens: change });
  const behaviours: Readonly<Record<string, Behaviour>> = {
    "an error": { token: raw(400, "application/json", '{"error":"invalid_grant"}') },
    "an error with a page for a name": {
      token: (res) => sendJson(res, { error: "<script>alert(1)</script>".repeat(100) }, 400),
    },
    "an error and the status 200": { token: raw(200, "application/json", '{"error":"invalid_grant"}') },
    HTML: { token: html },
    "nothing but a secret": { token: raw(200, "text/plain", secretOf(provider)) },
    "a form in the place of JSON": {
      token: raw(200, "application/x-www-form-urlencoded", `access_token=${secretOf(provider)}`),
    },
    "the status 500": { token: raw(500, "text/plain", "no") },
    "a redirect": { token: raw(307, "text/plain", "", { location: `${provider.issuer}/token` }) },
    "eight megabytes": { token: raw(200, "application/json", HUGE) },
    "no end": { token: endless },
    "a bomb of zeros": { token: bomb },
    "a cut": { token: hangUp },
    "half an answer": { token: half },
    "a list": { token: raw(200, "application/json", "[]") },
    null: { token: raw(200, "application/json", "null") },
    "no ID token": tokens((sound) => lacking(sound, "id_token")),
    "an ID token that is no text": tokens((sound) => ({ ...sound, id_token: { toString: 1 } })),
    "an ID token of nothing": { idToken: () => "" },
    "an ID token of three dots": { idToken: () => "..." },
    "an ID token of one part": { idToken: (sound) => sound.split(".")[1] },
    "an ID token of five parts": { idToken: (sound) => `${sound}.a.b` },
    "an ID token that is cut": { idToken: (sound) => sound.slice(0, -8) },
    "an ID token whose claims are no JSON": { claimsText: () => "not JSON" },
    "an ID token whose claims are a list": { claimsText: () => "[]" },
    "no access token": tokens((sound) => lacking(sound, "access_token")),
    "an access token with an end of line": tokens((sound) => ({ ...sound, access_token: "a\r\nx-y: z" })),
    "an access token of another type": tokens((sound) => ({ ...sound, token_type: "mac" })),
    "an access token that is no text": tokens((sound) => ({ ...sound, access_token: [] })),
  };
  return Object.entries(behaviours).map(([name, behaviour]) => ({
    name: `a token endpoint that gives ${name}`,
    behaviour,
  }));
}

export function signatureScenarios({ provider }: Ground): Scenario[] {
  const publicPem = provider.pair.publicKey.export({ format: "pem", type: "spki" }) as string;
  const { n } = provider.jwk;
  const header =
    (change: Json): NonNullable<Behaviour["header"]> =>
    (sound) => ({ ...sound, ...change });
  const unsigned = (sound: string): string => `${sound.slice(0, sound.lastIndexOf("."))}.`;
  const behaviours: Readonly<Record<string, Behaviour>> = {
    "not signed (none)": { header: header({ alg: "none" }), idToken: (sound) => unsigned(String(sound)) },
    "not signed (NoNe)": { header: header({ alg: "NoNe" }), idToken: (sound) => unsigned(String(sound)) },
    "not signed, whatever it says": { idToken: (sound) => unsigned(String(sound)) },
    "signed by the client's secret": {
      header: header({ alg: "HS256", kid: undefined }),
      signWith: hs256(provider.clientSecret),
    },
    "signed by the public key as a secret": { header: header({ alg: "HS256" }), signWith: hs256(publicPem) },
    "signed by the modulus as a secret": {
      header: header({ alg: "HS256" }),
      signWith: hs256(Buffer.from(String(n), "base64url")),
    },
    "signed by nothing as a secret": { header: header({ alg: "HS256" }), signWith: hs256("") },
    "signed by another's key": { signWith: rs256(stranger.privateKey) },
    "signed by another's key under an unknown name": {
      header: header({ kid: "unknown" }),
      signWith: rs256(stranger.privateKey),
    },
    "signed by another's key without a name": {
      header: header({ kid: undefined }),
      signWith: rs256(stranger.privateKey),
    },
    "signed by the right key under an unknown name": { header: header({ kid: "unknown" }) },
    "signed by a key that it brings itself": {
      header: header({ jwk: stranger.publicKey.export({ format: "jwk" }), kid: undefined }),
      signWith: rs256(stranger.privateKey),
    },
    "signed by a key that lies elsewhere": {
      header: header({ jku: `${provider.issuer}/jwks2`, x5u: `${provider.issuer}/x5u` }),
      signWith: rs256(stranger.privateKey),
    },
    "signed with something critical that is unknown": { header: header({ crit: ["exp"], b64: true }) },
    "signed in an unknown way": { header: header({ alg: "XS999" }) },
    "signed in a way that is a list": { header: header({ alg: ["RS256"] }) },
    "signed by a name that is an object": {
      header: header({ kid: { a: 1 } }),
      signWith: rs256(stranger.privateKey),
    },
    "encrypted, it says": { header: header({ enc: "A256GCM", alg: "dir" }) },
  };
  const faces: Readonly<Record<string, { behaviour: Behaviour; face: Face }>> = {
    "with a secret among the keys": {
      behaviour: { header: header({ alg: "HS256", kid: "oct" }), signWith: hs256("known") },
      face: {
        metadata: (sound) => ({
          ...sound,
          id_token_signing_alg_values_supported: ["RS256", "HS256", "none"],
        }),
        keys: (sound) => [
          ...sound,
          { kty: "oct", k: Buffer.from("known").toString("base64url"), kid: "oct" },
        ],
      },
    },
    "with no keys": { behaviour: {}, face: { keys: () => [] } },
    "with keys that are no list": { behaviour: {}, face: { keys: () => ({ length: 1 }) } },
    "with keys that are nonsense": {
      behaviour: {},
      face: { keys: () => [null, 1, "x", { kty: "RSA", kid: "the-key", n: "AQAB", e: "AQAB" }] },
    },
    "with a key that is for encryption": {
      behaviour: {},
      face: { keys: ([one]) => [{ ...one, use: "enc" }] },
    },
    "with a key of another way": { behaviour: {}, face: { keys: ([one]) => [{ ...one, alg: "RS512" }] } },
    "with ten thousand keys": {
      behaviour: {},
      face: { keys: ([one]) => Array.from({ length: 10_000 }, (_, i) => ({ ...one, kid: `k${i}` })) },
    },
    "with keys that are a page": { behaviour: {}, face: { jwks: html } },
    "with keys that are not found": { behaviour: {}, face: { jwks: raw(404, "application/json", "{}") } },
    "with keys without end": { behaviour: {}, face: { jwks: endless } },
    "with keys that lie elsewhere": {
      behaviour: {},
      face: { jwks: raw(302, "text/plain", "", { location: "http://127.0.0.1:1/" }) },
    },
  };
  return [
    ...Object.entries(behaviours).map(([name, behaviour]) => ({ name: `an ID token ${name}`, behaviour })),
    ...Object.entries(faces).map(([name, both]) => ({ name: `an ID token ${name}`, ...both })),
  ];
}

export function claimScenarios({ provider }: Ground): Scenario[] {
  const behaviours: Readonly<Record<string, Behaviour>> = {
    "of another issuer": claims({ iss: "https://accounts.example.com" }),
    "of an issuer with a slash more": claims({ iss: `${provider.issuer}/` }),
    "without issuer": without("iss"),
    "for another client": claims({ aud: "another" }),
    "for other clients": claims({ aud: ["another", "one-more"] }),
    "for nobody": claims({ aud: [] }),
    "without audience": without("aud"),
    "for several clients, without saying who asked": claims({ aud: [provider.clientId, "another"] }),
    "that another client asked for": claims({ azp: "another" }),
    "for several clients, that another asked for": claims({
      aud: [provider.clientId, "another"],
      azp: "another",
    }),
    "that has expired": claims({ exp: now() - 3600, iat: now() - 7200 }),
    "that never expires": without("exp"),
    "that expires in words": claims({ exp: "tomorrow" }),
    "from the future": claims({ iat: now() + 3600, exp: now() + 7200 }),
    "that holds from tomorrow on": claims({ nbf: now() + 86_400 }),
    "from long ago that still holds": claims({ iat: now() - 86_400 }),
    "without a time": without("iat"),
    "without nonce": without("nonce"),
    "with another nonce": claims({ nonce: "another" }),
    "with a nonce that is a list": { claims: (sound) => ({ ...sound, nonce: [sound["nonce"]] }) },
    "with the hash of another access token": claims({ at_hash: "AAAAAAAAAAAAAAAAAAAAAA" }),
    "without subject": without("sub"),
    "with an empty subject": claims({ sub: "" }),
    "with a number for a subject": claims({ sub: 7 }),
    "with an object for a subject": claims({ sub: { toString: "alice" } }),
    "with a list for a subject": claims({ sub: ["alice"] }),
    "with a subject of 10,000 characters": claims({ sub: "a".repeat(10_000) }),
    "with an end of line in the subject": claims({ sub: "alice\r\nset-cookie: a=b" }),
    "with a NUL in the subject": claims({ sub: "alice\0" }),
    "with half a character for a subject": claims({ sub: "\ud800" }),
  };
  return Object.entries(behaviours).map(([name, behaviour]) => ({ name: `an ID token ${name}`, behaviour }));
}

export function userinfoScenarios(): Scenario[] {
  const behaviours: Readonly<Record<string, Behaviour>> = {
    "of somebody else": { userinfo: (sound) => ({ ...sound, sub: "mallory" }) },
    "of nobody": { userinfo: (sound) => lacking(sound, "sub") },
    "whose subject is a list": { userinfo: (sound) => ({ ...sound, sub: [sound["sub"]] }) },
    "whose subject is inherited": { userinfo: (sound) => `{"__proto__":${JSON.stringify(sound)}}` },
    "that is no JSON": { userinfo: () => "{" },
    "that is nothing": { userinfo: () => "" },
    "that is a page": { userinfoRaw: html },
    "that is a list": { userinfo: (sound) => [sound] },
    "that is null": { userinfo: () => null },
    "that is a signed text": { userinfoRaw: raw(200, "application/jwt", "a.b.c") },
    "that is forbidden": { userinfoRaw: raw(403, "application/json", "{}") },
    "that is elsewhere": { userinfoRaw: raw(302, "text/plain", "", { location: "http://127.0.0.1:1/" }) },
    "of eight megabytes": { userinfoRaw: raw(200, "application/json", HUGE) },
    "without end": { userinfoRaw: endless },
    "that is a bomb": { userinfoRaw: bomb },
    "that breaks off": { userinfoRaw: half },
  };
  return Object.entries(behaviours).map(([name, behaviour]) => ({
    name: `user information ${name}`,
    behaviour,
  }));
}

/** What comes by way of the browser. `other` is a provider that this server has nothing to do with. */
export function browserScenarios(ground: Ground, other: HostileProvider): Scenario[] {
  const { url, provider } = ground;
  const back = (query: string): string => `${url}${CALLBACK}${query}`;
  const changed = async (browser: Browser, change: (url: URL) => void): Promise<Page> => {
    const address = new URL(await ground.callback(browser));
    change(address);
    return browser.go(address.href);
  };
  const acts: Readonly<Record<string, (browser: Browser) => Promise<Page>>> = {
    "a callback out of nowhere": (browser) => browser.go(back("?code=made-up&state=made-up")),
    "a callback with nothing": (browser) => browser.go(back("")),
    "a code that was injected without a login": (browser) =>
      browser.go(back(`?code=${provider.code()}&state=x&iss=${encodeURIComponent(provider.issuer)}`)),
    "no state": (browser) => changed(browser, ({ searchParams }) => searchParams.delete("state")),
    "an empty state": (browser) => changed(browser, ({ searchParams }) => searchParams.set("state", "")),
    "another state": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("state", "another")),
    "two states": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.append("state", "another")),
    "two codes": (browser) => changed(browser, ({ searchParams }) => searchParams.append("code", "another")),
    "no code": (browser) => changed(browser, ({ searchParams }) => searchParams.delete("code")),
    "a code of the wrong kind": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("code", "../../token\r\nx: y\0")),
    "a code of 6,000 characters": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("code", "c".repeat(6000))),
    "codes in a list": (browser) =>
      changed(browser, (at) => (at.search = at.search.replace("code=", "code[]="))),
    "a state under what everything inherits": (browser) =>
      changed(browser, (at) => {
        at.search = `${at.search.replace("state=", "__proto__[state]=")}&constructor=x&__proto__=x`;
      }),
    "a refusal (access_denied)": (browser) =>
      changed(browser, ({ searchParams }) => {
        searchParams.delete("code");
        searchParams.set("error", "access_denied");
      }),
    "a refusal with a page for a reason": (browser) =>
      changed(browser, ({ searchParams }) => {
        searchParams.delete("code");
        searchParams.set("error", "<script>alert(1)</script>");
        searchParams.set("error_description", "<script>alert(1)</script>\r\nset-cookie: a=b");
        searchParams.set("error_uri", "javascript:alert(1)");
      }),
    "a refusal and a code at once": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("error", "access_denied")),
    "the answer in the state of another browser": async () => {
      const victim = new Browser();
      const address = await ground.callback(victim);
      const thief = new Browser();
      await ground.callback(thief);
      const page = await thief.go(address);
      if (await ground.who(victim)) throw new Error("the victim is signed in by another's request");
      if (await ground.who(thief)) throw new Error("the thief is signed in as the victim");
      return page;
    },
    "somebody else's login, pressed on a browser that began none": async (browser) => {
      const attacker = new Browser();
      return browser.go(await ground.callback(attacker));
    },
    "somebody else's login, pressed on a browser that has begun its own": async (browser) => {
      await ground.callback(browser);
      const attacker = new Browser();
      return browser.go(await ground.callback(attacker));
    },
    "somebody else's code in the own login": async (browser) => {
      const attacker = new Browser();
      const stolen = new URL(await ground.callback(attacker)).searchParams.get("code") ?? "";
      return changed(browser, ({ searchParams }) => searchParams.set("code", stolen));
    },
    "a login cookie that was made up": async (browser) => {
      const address = new URL(await ground.callback(browser));
      for (const [key, value] of browser.cookies) {
        if (!key.includes("login")) continue;
        const [body = "", ...rest] = value.split(".");
        const read = JSON.parse(Buffer.from(body, "base64url").toString()) as Json;
        const forged = Buffer.from(JSON.stringify({ ...read, state: "forged" })).toString("base64url");
        browser.cookies.set(key, [forged, ...rest].join("."));
      }
      address.searchParams.set("state", "forged");
      return browser.go(address.href);
    },
    "the answer of another provider": (browser) =>
      changed(browser, ({ searchParams }) => {
        searchParams.set("code", other.code());
        searchParams.set("iss", other.issuer);
      }),
    "the answer of another provider that says to be this one": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("code", other.code())),
    "an answer that does not say whose it is": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.delete("iss")),
    "an answer that says it is another's": (browser) =>
      changed(browser, ({ searchParams }) => searchParams.set("iss", other.issuer)),
    "a callback by POST": async (browser) => {
      const address = new URL(await ground.callback(browser));
      return browser.go(`${url}${CALLBACK}`, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: address.search.slice(1),
      });
    },
  };
  return Object.entries(acts).map(([name, act]) => ({ name, act }));
}

/** Claims that are strange but leave no doubt who it is: whoever comes in by them must be nobody more for it. */
export const STRANGE_PEOPLE: Readonly<Record<string, Json>> = {
  "a name that is an object": { name: { toString: "x" } },
  "a name of a megabyte": { name: "n".repeat(200_000) },
  "a name with ends of line and controls": { name: "Bob\r\nset-cookie: a=b\u0000\u202e" },
  "a name of markup": { name: "<script>alert(1)</script>" },
  "a name of half characters": { name: "\ud800\udfff\ud800" },
  "names of no text at all": { name: null, preferred_username: 7, email: [], email_verified: "yes" },
  "an email of 10,000 characters": { email: `${"e".repeat(10_000)}@example.org`, email_verified: true },
  "an email that is not verified": { email: "boss@example.org", email_verified: false },
  "the name of the operator": { name: "operator", preferred_username: "operator" },
  "the name of what everything inherits": { preferred_username: "__proto__", name: "constructor" },
  "a role that is an object": { role: { admin: true } },
  "a role that is nearly one": { role: "admin " },
  "a role in a text of several": { role: "user,admin" },
  "a role of its own making": { roles: ["admin"], admin: true, is_admin: true, scope: "*:*" },
};
