import { once } from "node:events";
import { request } from "node:http";
import { WebSocket } from "ws";
import { IdentityProvider, raw } from "../auth/identity-provider.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Reply } from "./fixture.ts";

const provider = await new IdentityProvider().start();
afterAll(() => provider.stop());
const { ask, server } = await startHttp(tempDir(), {
  args: ["--sync-root", "open", "--oidc-issuer", provider.issuer, "--oidc-client-id", provider.clientId],
  env: {
    SKALD_OIDC_CLIENT_SECRET: provider.clientSecret,
    SKALD_OIDC_ADMINS: "root, other",
    SKALD_OIDC_ADMIN_CLAIM: "groups=admins",
    SKALD_LOG_LEVEL: "debug",
  },
});
const host = `127.0.0.1:${ask.port}`;
const OWN = { "sec-fetch-site": "same-origin" };
const LOGIN = "/auth/oidc/login";
const CALLBACK = "/auth/oidc/callback";

beforeAll(async () => {
  await ask("PUT", `${API}/db/notes`);
  await ask("PUT", `${API}/db/notes/docs/notes/a`, { body: { n: 1 } });
});
beforeEach(() => {
  provider.reset();
  provider.person = { sub: "ada", name: "Ada Lovelace", preferred_username: "ada" };
});

const bare = (
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: object,
): Promise<Reply> => ask(method, path, { token: null, headers, ...(body ? { body } : {}) });
const cookiesOf = (reply: Reply): string[] => reply.headers["set-cookie"] ?? [];
const pair = (reply: Reply, name: string): string =>
  cookiesOf(reply)
    .find((one) => one.startsWith(`${name}=`))
    ?.split(";", 1)[0] ?? "";

/** A login from its start to its end; `jar` is what the browser has besides. */
async function logIn({
  next = "/_/",
  jar = "",
  headers = {} as Record<string, string>,
  prefix = "",
} = {}): Promise<{
  reply: Reply;
  cookie: string;
}> {
  const begun = await bare("GET", `${LOGIN}?next=${encodeURIComponent(next)}`, headers);
  expect(begun.status).toBe(303);
  const query = new URLSearchParams(provider.agree(begun.headers.location ?? ""));
  const cookie = [pair(begun, `${prefix}skald-login`), jar].filter(Boolean).join("; ");
  const reply = await bare("GET", `${CALLBACK}?${query}`, { ...headers, cookie });
  return { reply, cookie: pair(reply, `${prefix}skald`) };
}

const me = (cookie: string): Promise<Reply> => bare("GET", "/auth/me", { cookie });

describe("logging in", () => {
  test("sets a cookie that scripts cannot read, takes that of the login away, and goes on to where it began", async () => {
    const { reply } = await logIn({ next: "/_/?a=b#/db/notes" });
    expect([reply.status, reply.headers.location]).toEqual([303, "/_/?a=b#/db/notes"]);
    expect(reply.headers["cache-control"]).toBe("no-store");
    expect(cookiesOf(reply)).toEqual([
      expect.stringMatching(/^skald=sks_[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax$/),
      "skald-login=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
    ]);
  });

  test("behind a proxy that has TLS sets cookies that only this host over TLS can have, and takes no others", async () => {
    const headers = { "x-forwarded-proto": "https" };
    const { reply, cookie } = await logIn({ headers, prefix: "__Host-" });
    expect(cookiesOf(reply)[0]).toMatch(
      /^__Host-skald=sks_[\w-]{43}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure$/,
    );
    expect((await bare("GET", "/auth/me", { ...headers, cookie })).status).toBe(200);
    const plain = cookie.replace("__Host-", "");
    expect((await bare("GET", "/auth/me", { ...headers, cookie: plain })).status).toBe(401);
  });

  test("tells the browser's page who it is and what it may", async () => {
    const { cookie } = await logIn();
    const { json } = await me(cookie);
    expect(json).toMatchObject({
      kind: "person",
      id: expect.stringMatching(/^per_[0-9a-f]{20}$/) as string,
      name: "Ada Lovelace",
      admin: false,
      dbs: [],
      can: { create_db: false, tokens: false, people: false, audit: false },
      session: { expires: expect.stringMatching(/^20/) as string },
    });
    await ask("PUT", `${API}/db/notes/people/${String(json["id"])}`, { body: { role: "editor" } });
  });

  test("as the same person is the same one, and as one of another name at the provider another", async () => {
    const one = (await me((await logIn()).cookie)).json;
    provider.person = { sub: "ada", name: "Ada King" };
    const two = (await me((await logIn()).cookie)).json;
    provider.person = { sub: "Ada", name: "Ada Lovelace", preferred_username: "ada" };
    const three = (await me((await logIn()).cookie)).json;
    expect([two["id"], two["subject"], two["name"]]).toEqual([one["id"], one["subject"], "Ada King"]);
    expect(three["id"]).not.toBe(one["id"]);
    expect(three["subject"]).not.toBe(one["subject"]);
  });

  test.each([
    ["whom the settings name", { sub: "root" }],
    ["who has the claim", { sub: "grace", groups: ["users", "admins"] }],
  ])("makes an admin of %s", async (_name, person) => {
    provider.person = person;
    const { cookie } = await logIn();
    expect((await me(cookie)).json).toMatchObject({
      admin: true,
      can: { create_db: true, people: true, tokens: true },
    });
    expect((await bare("GET", `${API}/db/notes/docs/notes/a`, { cookie })).json).toEqual({ n: 1 });
  });

  test("ends the session that the browser had before, so that nobody's id from before is signed in", async () => {
    const before = await logIn();
    const after = await logIn({ jar: before.cookie });
    expect(after.cookie).not.toBe(before.cookie);
    expect((await me(before.cookie)).status).toBe(401);
    expect((await me(after.cookie)).status).toBe(200);
  });

  test("keeps no session that the browser made up", async () => {
    const made = `skald=sks_${"B".repeat(43)}`;
    const { cookie } = await logIn({ jar: made });
    expect(cookie).not.toBe(made);
    expect((await me(made)).status).toBe(401);
  });

  test.each([
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "evil",
    "",
    "/a\\b",
    "/\t/evil.example",
    "/\r\nx: y",
    "/é",
    "javascript:alert(1)",
    "/./\\/evil.example",
  ])("goes on to no other place: %j", async (next) => {
    problem(await bare("GET", `${LOGIN}?next=${encodeURIComponent(next)}`), 400, "BAD_REQUEST");
  });

  test.each(["/", "/_/", "/docs?x=//evil.example", "/_/#/db/a%2Fb", "/.//evil.example"])(
    "goes on to %j here",
    async (next) => {
      const { reply } = await logIn({ next });
      expect(new URL(reply.headers.location ?? "", `http://${host}`).host).toBe(host);
    },
  );

  test("needs to know the server's address where it is not on loopback", async () => {
    problem(await bare("GET", LOGIN, { host: "evil.example" }), 503, "PUBLIC_URL_MISSING");
    const begun = await bare("GET", LOGIN, { host: `localhost:${ask.port}` });
    expect(new URL(begun.headers.location ?? "").searchParams.get("redirect_uri")).toBe(
      `http://localhost:${ask.port}${CALLBACK}`,
    );
  });

  test("that fails sets no session, and tells a browser on the login page", async () => {
    provider.claims = { nonce: "other" };
    const { reply } = await logIn();
    expect(cookiesOf(reply)).toEqual([]);
    problem(reply, 403, "LOGIN_REFUSED");
    const seen = (await logIn({ headers: { accept: "text/html,*/*" } })).reply;
    expect([seen.status, cookiesOf(seen)]).toEqual([303, []]);
    expect(seen.headers.location).toMatch(/^\/_\/#\/login\?error=LOGIN_REFUSED&request=[\w.:-]+$/);
    provider.answers["/token"] = () => raw(200, "<html>");
    problem((await logIn()).reply, 502, "PROVIDER_FAILED");
    problem(await bare("GET", CALLBACK), 400, "LOGIN_EXPIRED");
    problem(await bare("GET", `${CALLBACK}?state=a&state=b&code=c`), 400, "BAD_REQUEST");
    expect((await bare("GET", "/healthz")).status).toBe(200);
  });

  test("is not for whom an admin has disabled, and ends for whom one disables", async () => {
    provider.person = { sub: "mallory" };
    const { cookie } = await logIn();
    const { id } = (await me(cookie)).json as { id: string };
    const disabled = await ask("PATCH", `${API}/people/${id}`, { body: { disabled: true } });
    expect(disabled.status).toBe(200);
    expect((await me(cookie)).status).toBe(401);
    problem((await logIn()).reply, 403, "PERSON_DISABLED");
  });
});

describe("a session with a token", () => {
  const open = (token: string, headers: Record<string, string> = {}): Promise<Reply> =>
    bare("POST", "/auth/token", headers, { token });

  test("has the rights of the token and ends with it", async () => {
    const { token, id } = await ask.token(["notes:doc.read"], { subject: "reader", label: "for reading" });
    const reply = await open(token, OWN);
    expect([reply.status, reply.text]).toEqual([204, ""]);
    const cookie = pair(reply, "skald");
    expect((await me(cookie)).json).toMatchObject({
      kind: "token",
      id,
      subject: "reader",
      dbs: [{ db_id: "notes", role: null, actions: ["doc.read"] }],
    });
    expect((await bare("GET", `${API}/db/notes/docs/notes/a`, { cookie })).status).toBe(200);
    problem(await bare("PUT", `${API}/db/notes/docs/notes/a`, { cookie, ...OWN }, {}), 403, "FORBIDDEN");
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    problem(await me(cookie), 401, "UNAUTHENTICATED");
  });

  test("is opened by a token only, and not by another page", async () => {
    for (const token of ["", "x", `skald_${"A".repeat(43)}`, `${ask.admin} x`, "a b"]) {
      const reply = await open(token);
      problem(reply, 401, "UNAUTHENTICATED");
      expect(cookiesOf(reply)).toEqual([]);
    }
    expect((await open(` ${ask.admin}\n`)).status).toBe(204);
    problem(await open(ask.admin, { origin: "https://evil.example" }), 403, "CSRF_REFUSED");
    problem(await open(ask.admin, { "sec-fetch-site": "cross-site" }), 403, "CSRF_REFUSED");
    const form = { "content-type": "text/plain" };
    const sent = await ask("POST", "/auth/token", {
      token: null,
      headers: form,
      body: JSON.stringify({ token: ask.admin }),
    });
    problem(sent, 415, "UNSUPPORTED_MEDIA_TYPE");
  });

  test("makes tickets, which end with the session", async () => {
    const cookie = pair(await open(ask.admin), "skald");
    const wanted = { db_id: "notes", action: "doc.read", reusable: true };
    const made = await bare("POST", `${API}/tickets`, { cookie, ...OWN }, wanted);
    const url = `${API}/db/notes/changes?feed=longpoll&since=0&ticket=${String(made.json["ticket"])}`;
    expect((await bare("GET", url)).status).toBe(200);
    await bare("POST", "/auth/logout", { cookie, ...OWN }, {});
    problem(await bare("GET", url), 401, "TICKET_INVALID");
  });
});

describe("logging out", () => {
  test("ends this session, names the provider's way out, and takes the cookie away", async () => {
    const [one, two] = [await logIn(), await logIn()];
    const reply = await bare("POST", "/auth/logout", { cookie: one.cookie, ...OWN }, {});
    expect(reply.status).toBe(200);
    expect(cookiesOf(reply)).toEqual(["skald=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"]);
    const url = new URL(reply.json["redirect"] as string);
    expect(url.origin).toBe(provider.issuer);
    expect(url.searchParams.get("post_logout_redirect_uri")).toBe(`http://${host}/_/`);
    expect(url.searchParams.get("id_token_hint")).toMatch(/^eyJ/);
    expect([(await me(one.cookie)).status, (await me(two.cookie)).status]).toEqual([401, 200]);
  });

  test("everywhere ends all sessions of the person, and nobody else's", async () => {
    const mine = [await logIn(), await logIn()];
    provider.person = { sub: "grace" };
    const other = await logIn();
    const reply = await bare(
      "POST",
      "/auth/logout",
      { cookie: mine[0]?.cookie ?? "", ...OWN },
      { everywhere: true },
    );
    expect(reply.status).toBe(200);
    for (const { cookie } of mine) expect((await me(cookie)).status).toBe(401);
    expect((await me(other.cookie)).status).toBe(200);
  });

  test("is not for another page", async () => {
    const { cookie } = await logIn();
    problem(
      await bare("POST", "/auth/logout", { cookie, origin: "https://evil.example" }, {}),
      403,
      "CSRF_REFUSED",
    );
    expect((await me(cookie)).status).toBe(200);
  });

  test("ends what the session has open", async () => {
    const { cookie } = await logIn({});
    provider.person = { sub: "root" };
    const admin = await logIn();
    const stream = request({
      host: "127.0.0.1",
      port: ask.port,
      path: `${API}/db/notes/changes?feed=sse&heartbeat=100`,
      headers: { cookie: admin.cookie },
    });
    stream.end();
    const [res] = (await once(stream, "response")) as [import("node:http").IncomingMessage];
    expect(res.statusCode).toBe(200);
    res.resume();
    const ws = new WebSocket(`ws://${host}${API}/db/notes/changes?heartbeat=100`, {
      headers: { cookie: admin.cookie },
      origin: `http://${host}`,
    });
    await once(ws, "open");
    const ended = Promise.all([once(res, "close"), once(ws, "close")]);
    await bare("POST", "/auth/logout", { cookie, ...OWN }, {});
    expect(res.closed).toBe(false);
    await bare("POST", "/auth/logout", { cookie: admin.cookie, ...OWN }, {});
    const [, [code]] = (await ended) as [unknown, [number]];
    expect(code).toBe(1008);
  });
});

describe("a socket with a cookie", () => {
  const connect = (path: string, headers: Record<string, string>, origin?: string): Promise<number> =>
    new Promise((resolve) => {
      const ws = new WebSocket(`ws://${host}${path}`, {
        headers,
        ...(origin === undefined ? {} : { origin }),
      });
      ws.on("error", () => {});
      ws.on("unexpected-response", (_req, res) => {
        resolve(res.statusCode ?? 0);
        ws.terminate();
      });
      ws.on("open", () => {
        resolve(101);
        ws.terminate();
      });
    });
  const feed = `${API}/db/notes/changes`;

  test("opens from a page of this server only", async () => {
    provider.person = { sub: "root" };
    const { cookie } = await logIn();
    expect(await connect(feed, { cookie }, `http://${host}`)).toBe(101);
    expect(await connect(feed, { cookie, ...OWN })).toBe(101);
    expect(await connect(feed, { cookie })).toBe(403);
    expect(await connect(feed, { cookie }, "https://evil.example")).toBe(403);
    expect(await connect(feed, { cookie, "sec-fetch-site": "cross-site" }, `http://${host}`)).toBe(403);
    expect(await connect(feed, { cookie: `${cookie}x` }, `http://${host}`)).toBe(401);
  });

  test("that anybody may open is open to whoever has a cookie that does not count", async () => {
    provider.person = { sub: "root" };
    const { cookie } = await logIn();
    expect(await connect("/", { cookie }, "http://localhost:3000")).toBe(101);
    expect(await connect("/", { cookie: "skald=old" }, `http://${host}`)).toBe(101);
    expect(await connect("/", { authorization: "Bearer x" })).toBe(401);
  });
});

test("nothing of a login or a session is in the log", async () => {
  const { cookie } = await logIn();
  expect((await me(cookie)).status).toBe(200);
  const log = server.log();
  expect(log).toContain("/auth/oidc/callback");
  for (const secret of [
    cookie.slice("skald=".length),
    provider.clientSecret,
    "eyJ",
    "code=",
    "skald-login=",
  ]) {
    expect(log).not.toContain(secret);
  }
});
