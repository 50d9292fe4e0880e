import { readFileSync } from "node:fs";
import path from "node:path";
import { OAuth2Server } from "oauth2-mock-server";
import { Browser, type Page } from "../support/browser.ts";
import { filesIn, traces } from "../support/canary.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/**
 * Everything that proves who somebody is, led through every route of a server whose provider is another
 * implementation than those of the other tests (oauth2-mock-server: it takes any client, says nothing of methods that
 * have a secret, names no issuer in its answers), and looked for where none of it may be.
 */
const provider = new OAuth2Server();
await provider.issuer.keys.generate("RS256");
await provider.start(0, "127.0.0.1");
afterAll(() => provider.stop());

const CLIENT_SECRET = `canary-client-secret-${"x".repeat(20)}`;
/** Name → the secret itself. */
const canaries = new Map<string, string>([["client secret", CLIENT_SECRET]]);
const keep = (name: string, secret: unknown): string => {
  if (typeof secret !== "string" || secret.length < 12)
    throw new Error(`${name} is no secret: ${String(secret)}`);
  canaries.set(`${name} ${canaries.size}`, secret);
  return secret;
};
provider.service.on("beforeResponse", ({ body }) => {
  const { access_token: access, id_token: id, refresh_token: refresh } = body as Record<string, unknown>;
  keep("access token", access);
  keep("ID token", id);
  keep("refresh token", refresh);
});
let person = { sub: "johndoe", name: "John Doe", preferred_username: "john" };
provider.service.on("beforeTokenSigning", (token) => {
  token.payload["sub"] = person.sub;
});
provider.service.on("beforeUserinfo", (answer) => {
  answer.body = person;
});

const dir = path.join(tempDir(), "data");
const server = await startServer(dir, {
  env: {
    SKALD_OIDC_ISSUER: provider.issuer.url ?? "",
    SKALD_OIDC_CLIENT_ID: "skald",
    SKALD_OIDC_CLIENT_SECRET: CLIENT_SECRET,
    SKALD_OIDC_ADMINS: "johndoe",
    SKALD_LOG_LEVEL: "debug",
  },
});
const { url } = server;
const admin = keep("token", server.token);
/** What was answered, and the addresses of this server that a browser was sent to. */
const answers: { readonly what: string; readonly text: string }[] = [];
const addresses: string[] = [];

async function signIn(): Promise<Browser> {
  const browser = new Browser();
  const back = await browser.go(`${url}/auth/oidc/login?next=%2Fhealthz`, {
    follow: ({ pathname }) => pathname !== "/auth/oidc/callback",
  });
  const callback = new URL(back.location ?? "", back.url);
  for (const name of ["code", "state"]) keep(name, callback.searchParams.get(name));
  const login = [...browser.cookies.values()][0];
  keep("login cookie", login);
  const page = await browser.go(callback.href);
  expect(page).toMatchObject({ status: 200, text: '{"ok":true}' });
  keep("session cookie", [...browser.cookies.values()][0]);
  addresses.push(...browser.seen.filter((one) => one.startsWith(url)));
  return browser;
}

async function ask(
  who: { token?: string; browser?: Browser },
  method: string,
  at: string,
  body?: object,
): Promise<Page & { json: Record<string, unknown> }> {
  const page = await (who.browser ?? new Browser()).ask(url + at, {
    method,
    headers: {
      ...(who.token === undefined ? { origin: url } : { authorization: `Bearer ${who.token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  let json = {};
  try {
    json = JSON.parse(page.text) as object;
  } catch {
    // Not every answer is JSON.
  }
  return { ...page, json };
}

const API = "/api/v1";
const AS_NAME = "token as a name";
/** Streams stay open; a session's end would end the run. */
const LEFT_OUT = /watch|\/events|\/logout|\/auth\/oidc|sync\/pull/;

let boss: Browser;
let guest: Browser;

beforeAll(async () => {
  boss = await signIn();
  const me = await ask({ browser: boss }, "GET", "/auth/me");
  expect(me.json).toMatchObject({ kind: "person", name: "John Doe", admin: true });
  expect((await ask({ browser: boss }, "PUT", `${API}/db/mine`)).status).toBe(201);
  await ask({ token: admin }, "PUT", `${API}/db/mine/docs/notes/a`, { text: "A" });
  for (const label of ["one", "two"]) {
    const made = await ask({ browser: boss }, "POST", `${API}/admin/tokens`, { label, scopes: ["mine:*"] });
    expect(made.status).toBe(201);
    keep("made token", made.json["token"]);
  }
  const ticket = await ask({ token: admin }, "POST", `${API}/tickets`, { db_id: "mine", action: "doc.read" });
  keep("ticket", ticket.json["ticket"]);
  const invited = await ask({ browser: boss }, "POST", `${API}/db/mine/invitations`, { role: "viewer" });
  expect(invited.status).toBe(201);
  const secret = keep("invitation", String(invited.json["url"]).split("/").at(-1));
  person = { sub: "guest", name: "A Guest", preferred_username: "guest" };
  guest = await signIn();
  const accepted = await ask({ browser: guest }, "POST", `${API}/invitations/accept`, { secret });
  expect(accepted.status).toBe(200);
  expect((await ask({ browser: guest }, "GET", `${API}/db/mine/docs/notes/a`)).status).toBe(200);
  const opened = new Browser();
  expect((await ask({ browser: opened }, "POST", "/auth/token", { token: admin })).status).toBe(204);
  keep("session cookie of a token", [...opened.cookies.values()][0]);
});

test("another provider's people sign in", async () => {
  person = { sub: "third", name: "Third", preferred_username: "third" };
  const browser = await signIn();
  expect((await ask({ browser }, "GET", "/auth/me")).json).toMatchObject({ name: "Third", admin: false });
});

test("every route is asked with secrets in every place, right and wrong", async () => {
  const { paths } = (await ask({ token: admin }, "GET", "/api/openapi.json")).json as {
    paths: Record<string, Record<string, unknown>>;
  };
  const wrong = keep("wrong token", `skald_${"Zq".repeat(21)}A`);
  // What somebody names by it is named so, in the files too: it is looked for everywhere else.
  const asName = `skald_${"Xy".repeat(21)}A`;
  canaries.set(AS_NAME, asName);
  const routes = Object.entries(paths).flatMap(([at, methods]) =>
    Object.keys(methods).map((method) => ({ at, method: method.toUpperCase() })),
  );
  expect(routes.length).toBeGreaterThan(90);
  // What deletes comes last, so that the others find what they are about.
  routes.sort((a, b) => Number(a.method === "DELETE") - Number(b.method === "DELETE"));
  const filled = (at: string, secret: string): string =>
    at.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
      name === "db"
        ? "mine"
        : name === "collection"
          ? "notes"
          : name === "key"
            ? "a"
            : encodeURIComponent(secret),
    );
  // Each route in two of the five ways, or in all of them.
  const all = process.env["SKALD_TEST_HOSTILE"] === "all";
  for (const [i, { at, method }] of routes.entries()) {
    if (LEFT_OUT.test(at) || method === "QUERY") continue;
    const body = method === "GET" ? undefined : {};
    const plain = filled(at, "main");
    const ways = [
      ["a wrong token", () => ask({ token: wrong }, method, plain, body)],
      ["a token in the URL", () => ask({}, method, `${plain}?token=${wrong}`, body)],
      [
        "a token in the path",
        () => ask({ token: admin }, method === "DELETE" ? "GET" : method, filled(at, asName), body),
      ],
      ["a person", () => ask({ browser: guest }, method, plain, body)],
      [
        "a token in the body",
        () =>
          ask(
            { token: wrong },
            method,
            plain,
            method === "GET" ? undefined : { [wrong]: wrong, token: wrong },
          ),
      ],
    ] as const;
    for (const [n, [what, asked]] of ways.entries()) {
      if (!all && n !== i % 5 && n !== (i + 2) % 5) continue;
      const page = await asked();
      expect({ at, what, fine: page.status !== 500 }).toMatchObject({ fine: true });
      // A page that repeats to the asker what he has just sent in the path tells nobody anything.
      const repeats = what === "a token in the path" || what === "a token in the body";
      answers.push({
        what: `${method} ${at}, asked with ${what}`,
        text: repeats ? page.text.replaceAll(asName, "").replaceAll(wrong, "") : page.text,
      });
      answers.push({ what: `where ${method} ${at} leads`, text: page.location ?? "" });
    }
  }
});

test("tokens, people, sessions and what happened can be listed without any of it", async () => {
  for (const at of [
    "/admin/tokens",
    "/people",
    "/audit",
    "/db/mine/people",
    "/db/mine/invitations",
    "/keys",
  ]) {
    const page = await ask({ token: admin }, "GET", API + at);
    if (page.status === 404) continue;
    expect({ at, status: page.status }).toEqual({ at, status: 200 });
    answers.push({ what: at, text: page.text });
  }
  for (const at of ["/metrics", "/status", "/auth/info"]) {
    answers.push({ what: at, text: (await ask({ token: admin }, "GET", at)).text });
  }
});

/** Where a secret is, of everything that was written or said. */
function found(places: readonly { readonly what: string; readonly text: string }[]): string[] {
  return places.flatMap(({ what, text }) =>
    [...canaries].filter(([, secret]) => text.includes(secret)).map(([name]) => `${name} in ${what}`),
  );
}

test("none is in an answer", () => {
  expect(answers.length).toBeGreaterThan(200);
  expect(found(answers)).toEqual([]);
  // The search finds what is there.
  expect(found([{ what: "here", text: `x${admin}x` }])).toHaveLength(1);
});

test("none is in an address, but the provider's own answer in that of the callback", () => {
  const places = addresses.map((text) => {
    const address = new URL(text);
    if (address.pathname === "/auth/oidc/callback") address.search = "";
    return { what: text.slice(0, 80), text: address.href };
  });
  expect(found(places)).toEqual([]);
});

test("none is in the log, but the admin's token on the first start", () => {
  const log = server.log();
  expect(log.split("\n").filter((line) => line.includes('"msg":"request"')).length).toBeGreaterThan(150);
  const lines = log.split("\n").filter((line) => line.startsWith("{"));
  expect(found(lines.map((text) => ({ what: text.slice(0, 300), text })))).toEqual([]);
});

test("none is in a file, once the server has stopped", async () => {
  expect(await server.stop()).toBe(0);
  const files = filesIn(dir).map((file) => ({ file, bytes: readFileSync(file) }));
  for (const [name, secret] of canaries) {
    if (name === AS_NAME) continue;
    const forms = [Buffer.from(secret), Buffer.from(Buffer.from(secret).toString("base64").slice(0, -4))];
    const inBytes = files.filter(({ bytes }) => forms.some((form) => bytes.includes(form)));
    expect({ name, files: inBytes.map(({ file }) => file) }).toEqual({ name, files: [] });
  }
  // In whatever way they are packed: those that the service keeps something of.
  for (const [name, secret] of [...canaries]
    .filter(([one]) => /^(?:session cookie \d|made|invit)/.test(one))
    .slice(-3))
    expect({ name, traces: traces(dir, secret) }).toEqual({ name, traces: [] });
  // The searches find what is there.
  expect(traces(dir, "John Doe")).not.toEqual([]);
  expect(files.some(({ bytes }) => bytes.includes("John Doe"))).toBe(true);
}, 60_000);
