import { once } from "node:events";
import { isServerWide } from "../../src/auth/actions.ts";
import path from "node:path";
import { WebSocket } from "ws";
import { Sessions } from "../../src/auth/sessions.ts";
import type { Params, Route } from "../../src/http/route.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { dashboardFiles } from "../support/dashboard-files.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp, type Reply } from "./fixture.ts";
import { logIn, type LoggedInPerson } from "./people-fixture.ts";

/**
 * Every route for every kind of caller, made from the list that the server itself is made from. Names
 * that a caller may not see hold the word "hidden", and no answer to such a caller may.
 */
const SECRET = "hidden-db";
const ALL: readonly { readonly name: string; readonly path: string; readonly route: Route }[] =
  MOUNTS.flatMap(({ base, routes }) =>
    routes.map((route) => ({ name: `${route.method} ${base}${route.path}`, path: base + route.path, route })),
  );

const dir = tempDir();
dashboardFiles();
const { ask } = await startHttp(dir);
const tokens: Record<string, string> = {};
/** Cookies of browsers, by what became of their sessions. */
const cookies: Record<string, string> = {};
const OWN = { "sec-fetch-site": "same-origin" };
const params: Record<string, string> = {
  db: "mine",
  collection: "notes",
  key: "a",
  branch: "main",
  name: "mailer",
  form: "json",
  person: "per_00000000000000000000",
};
/** A prefix that covers what the paths name, of actions that are not of documents. */
const PREFIXES: Readonly<Record<string, string>> = { "query.run": "mailer" };

beforeAll(async () => {
  for (const db of ["mine", SECRET]) {
    await ask("PUT", `${API}/db/${db}`);
    for (const doc of ["notes/a", "secret/hidden-doc", "notes/hidden-too"]) {
      await ask("PUT", `${API}/db/${db}/docs/${doc}`, { body: { hidden: doc } });
    }
  }
  const commits = await ask("GET", `${API}/db/mine/commits?limit=1`);
  const [a] = (await ask("GET", `${API}/db/mine/docs?collection=notes&prefix=a`)).json["docs"] as {
    automerge_url: string;
  }[];
  params["document_id"] = a?.automerge_url.replace("automerge:", "") as string;
  params["cid"] = (commits.json["commits"] as { cid: string }[])[0]?.cid as string;
  const expires = new Date(Date.now() + 700).toISOString();
  const [expired, revoked, other] = await Promise.all([
    ask.token(["*:*"], { expires }),
    ask.token(["*:*"]),
    ask.token(["another:*"]),
  ]);
  Object.assign(tokens, {
    expired: expired.token,
    revoked: revoked.token,
    other: other.token,
    unknown: `skald_${"A".repeat(43)}`,
  });
  for (const { route } of ALL) {
    if (route.access === "public" || route.access === "any") continue;
    if (route.access in tokens) continue;
    const serverWide = isServerWide(route.access);
    const alike = ALL.filter((other) => other.route.access === route.access);
    const own = new Set<string>([route.access, ...alike.flatMap((other) => other.route.or ?? [])]);
    const rest = ["doc.read", "doc.write", "db.admin", "query.read"].filter((action) => !own.has(action));
    tokens[route.access] = (await ask.token([`${serverWide ? "*" : "mine"}:${route.access}`])).token;
    tokens[`without ${route.access}`] = (await ask.token(rest.map((action) => `mine:${action}`))).token;
    if (serverWide) continue;
    tokens[`inside ${route.access}`] = (
      await ask.token([`mine:${route.access}:${PREFIXES[route.access] ?? "notes/a"}`])
    ).token;
    tokens[`outside ${route.access}`] = (await ask.token([`mine:${route.access}:open/`])).token;
  }
  const short = await ask.token(["*:*"], { expires: new Date(Date.now() + 700).toISOString() });
  Object.assign(cookies, {
    "of a token that ran out": await cookieOf(short.token),
    "of a token that was revoked": await cookieOf(revoked.token),
    closed: await cookieOf(ask.admin),
    good: await cookieOf(ask.admin),
    "made up": `skald=sks_${"A".repeat(43)}`,
    empty: "skald=",
  });
  await ask("DELETE", `${API}/admin/tokens/${revoked.id}`);
  await ask("POST", "/auth/logout", {
    token: null,
    body: {},
    headers: { cookie: cookies["closed"] as string, ...OWN },
  });
  const old = new Sessions(path.join(dir, "service.sqlite"), { lifeMs: 1 });
  cookies["expired"] = `skald=${old.open({ token: other.id }, { address: "", agent: "" }).cookie}`;
  old.end();
  await ask("PUT", `${API}/db/mine/query/statements/mailer`, { body: { sql: "SELECT 1" } });
  await ask("PUT", `${API}/db/mine/query/statements/hidden-statement`, { body: { sql: "SELECT 2" } });
  const made = await ask("PUT", `${API}/db/mine/subscriptions/mailer`, {
    body: { docs: ["notes/a"] },
    token: tokens["inside doc.read"] as string,
  });
  expect(made.status).toBe(201);
  // Expired is expired: there is no event for it but the server's own clock.
  while (
    (await ask("GET", "/status", { token: tokens["expired"] as string })).status !== 401 ||
    (await ask("GET", "/status", { token: short.token })).status !== 401
  ) {
    await once(AbortSignal.timeout(50), "abort");
  }
}, 30_000);

async function cookieOf(token: string): Promise<string> {
  const reply = await ask("POST", "/auth/token", { token: null, body: { token } });
  return (reply.headers["set-cookie"]?.[0] ?? "").split(";", 1)[0] as string;
}

/** A body that the route gets as far as its own checks with. */
function bodyOf(route: Route): { headers?: Record<string, string>; body?: string | Uint8Array } {
  if (!route.body) return {};
  const type = Object.keys(route.body.types)[0] as string;
  const bodies: Record<string, string> = {
    "/db/:db/branches/:branch/tx": JSON.stringify({ writes: [{ doc: "notes/a", value: { n: 1 } }] }),
    // For good: the document would be gone for every test that follows.
    "/db/:db/docs/:collection/:key/erase": JSON.stringify({ reason: 1 }),
    "/db/:db/query/graph": JSON.stringify({ doc: "notes/a", schema: true }),
    "/db/:db/sync/pull": JSON.stringify({ after: { seq: 0, commit: null } }),
    "/db/:db/sync/remote": JSON.stringify({ url: "https://example.org/api/v1/db/mine" }),
    "/db/:db/subscriptions/:name": JSON.stringify({ docs: ["notes/a"] }),
    "/db/:db/subscriptions/:name/ack": JSON.stringify({ seq: 0 }),
    "/db/:db/subscriptions/:name/nack": JSON.stringify({ ids: [1] }),
    "/db/:db/subscriptions/:name/parked": JSON.stringify({ do: "drop", ids: "all" }),
    "/db/:db/people/:person": JSON.stringify({ role: "viewer" }),
    "/db/:db/invitations": JSON.stringify({ role: "viewer" }),
    "/invitations/accept": JSON.stringify({ secret: `skaldinv_${"A".repeat(43)}` }),
    "/auth/token": JSON.stringify({ token: "x" }),
    "/admin/tokens": JSON.stringify({ label: "x", scopes: ["mine:doc.read"] }),
  };
  return { headers: { "content-type": type }, body: bodies[route.path] ?? "{}" };
}

function call(
  route: Route,
  path: string,
  token: string | null,
  over: Params = {},
  more: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const all = { id: "tok_00000000000000000000", ...params, ...over };
  const filled = path.replaceAll(/:(\w+)/g, (_, name: string) =>
    encodeURIComponent(all[name as keyof typeof all] ?? ""),
  );
  const { headers, body } = bodyOf(route);
  return ask(route.method, filled, { token, headers: { ...headers, ...more }, ...(body ? { body } : {}) });
}

/** Of routes for everybody whose answer is another when nobody is known and nothing is set up. */
const PUBLIC: Readonly<Record<string, number>> = {
  "/auth/oidc/login": 404,
  "/auth/oidc/callback": 404,
  "/auth/token": 401,
  "/": 404,
  "/_": 308,
  "/_utils": 308,
};

const guarded = ALL.filter(({ route }) => route.access !== "public");
const scoped = guarded.filter(({ route }) => route.access !== "any");
const ofDb = scoped.filter(({ path }) => path.includes(":db"));
const ofDoc = ofDb.filter(({ route }) => route.resource ?? route.partial);

test("there are routes of every kind", () => {
  expect([guarded.length, scoped.length, ofDb.length, ofDoc.length].every((n) => n >= 7)).toBe(true);
});

test.each(ALL.filter(({ route }) => route.access === "public"))(
  "$name answers whoever asks",
  async ({ route, path }) => {
    expect((await call(route, path, null)).status).toBe(PUBLIC[path] ?? 200);
  },
);

test.each(ALL.filter(({ route }) => route.access === "public"))(
  "$name does not look at a session that has ended",
  async ({ route, path }) => {
    const headers = { cookie: cookies["closed"] as string };
    expect((await call(route, path, null, {}, headers)).status).toBe(PUBLIC[path] ?? 200);
  },
);

describe.each(guarded)("$name", ({ route, path }) => {
  test("takes a good session of a page of this server, with the rights of whose it is", async () => {
    // One that may not do it, so that nothing is done: what counts is that it is known.
    const cookie = await cookieOf(
      tokens[route.access === "any" ? "other" : `without ${route.access}`] as string,
    );
    const reply = await call(route, path, null, {}, { cookie, ...OWN });
    expect(reply.status).not.toBe(401);
    if (route.access === "any") expect(reply.json?.["code"]).not.toBe("CSRF_REFUSED");
    else expect(reply.json).toMatchObject({ code: "FORBIDDEN", action: route.access });
  });
  test("refuses every session that has ended or never was", async () => {
    for (const [kind, cookie] of Object.entries(cookies)) {
      if (kind === "good") continue;
      const { status, json } = await call(route, path, null, {}, { cookie, ...OWN });
      expect([kind, status, json["code"]]).toEqual([kind, 401, "UNAUTHENTICATED"]);
    }
  });
  test("refuses the cookie of a good session when another page had the browser send it", async () => {
    const safe = route.method === "GET";
    for (const from of [
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" },
      { "sec-fetch-site": "same-site", "sec-fetch-mode": "cors" },
      ...(safe
        ? []
        : [
            {},
            { origin: "https://evil.example" },
            { origin: "null" },
            { "sec-fetch-site": "none" },
            { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" },
            { "sec-fetch-site": "cross-site", origin: `http://127.0.0.1:${ask.port}` },
          ]),
    ]) {
      const { status, json } = await call(
        route,
        path,
        null,
        {},
        { cookie: cookies["good"] as string, ...from },
      );
      expect([from, status, json["code"]]).toEqual([from, 403, "CSRF_REFUSED"]);
    }
  });
  test("looks at a token before a cookie", async () => {
    const headers = { cookie: cookies["good"] as string, ...OWN };
    expect((await call(route, path, tokens["unknown"] as string, {}, headers)).status).toBe(401);
  });
});

describe.each(guarded)("$name", ({ route, path }) => {
  test.each(["unknown", "expired", "revoked"])(
    "refuses a token that is %s, and says no more",
    async (kind) => {
      const reply = await call(route, path, tokens[kind] as string);
      expect(reply.status).toBe(401);
      expect(reply.json).toMatchObject({
        code: "UNAUTHENTICATED",
        detail: "The token is not valid: unknown, expired or revoked.",
      });
      expect(reply.headers["www-authenticate"]).toBe('Bearer realm="skald"');
      expect(reply.text).not.toContain("hidden");
    },
  );
  test("refuses no token at all", async () => {
    expect((await call(route, path, null)).status).toBe(401);
  });
  test.each(["", "Bearer", "Basic YTpi", "Bearer a b", "Token skald_x", "Bearer \u00e9"])(
    "refuses Authorization: %j",
    async (authorization) => {
      const filled = path.replaceAll(/:(\w+)/g, (_, name: string) => params[name] ?? "x");
      expect((await ask(route.method, filled, { token: null, headers: { authorization } })).status).toBe(401);
    },
  );
});

describe.each(scoped)("$name", ({ route, path }) => {
  test("refuses a token without its action", async () => {
    const reply = await call(route, path, tokens[`without ${route.access}`] as string);
    expect(reply.status).toBe(403);
    expect(reply.json).toMatchObject({ code: "FORBIDDEN", action: route.access });
  });
});

describe.each(ofDb)("$name", ({ route, path }) => {
  test("refuses a token for another db", async () => {
    expect((await call(route, path, tokens["other"] as string)).status).toBe(403);
  });
  test("does not tell a db that is there from one that is not to whom neither is open", async () => {
    const there = await call(route, path, tokens["other"] as string, { db: SECRET });
    const missing = await call(route, path, tokens["other"] as string, { db: "missing-db" });
    const strip = (reply: Reply): string =>
      reply.text
        .replaceAll(reply.headers["x-request-id"] as string, "")
        .replaceAll(/hidden-db|missing-db/g, "");
    expect(there.status).toBe(403);
    expect([missing.status, strip(missing)]).toEqual([there.status, strip(there)]);
    expect(Object.keys(missing.headers)).toEqual(Object.keys(there.headers));
  });
});

describe.each(ofDoc)("$name", ({ route, path }) => {
  test("refuses or shows nothing to a token limited to other documents", async () => {
    const reply = await call(route, path, tokens[`outside ${route.access}`] as string);
    // What a test before this one may have deleted is not there, for this token either.
    // A graph query only asks: what its caller may not see is not there.
    const writes = route.method === "POST" && !path.includes("/query/graph");
    if (!route.partial || writes) expect([403, 404]).toContain(reply.status);
    expect(reply.text).not.toMatch(/hidden|notes\/hidden-too|secret\//);
  });
  test("answers a token limited to the document, with nothing of the others", async () => {
    const reply = await call(route, path, tokens[`inside ${route.access}`] as string);
    expect([200, 201, 204, 400, 404]).toContain(reply.status);
    expect(reply.text).not.toMatch(/hidden-too|secret\//);
  });
});

describe.each(ofDb.filter(({ route }) => !route.resource && !route.partial))("$name", ({ route, path }) => {
  test("concerns the db as a whole, so a token limited to documents is refused", async () => {
    const reply = await call(route, path, tokens[`inside ${route.access}`] as string);
    expect(reply.status).toBe(403);
    expect(reply.text).not.toContain("hidden");
  });
});

describe("lists show what their caller may see", () => {
  const names = (reply: Reply, list: string, field: string): unknown[] =>
    (reply.json[list] as Record<string, unknown>[]).map((entry) => entry[field]);

  test("dbs: those the token has a right to read or to administer", async () => {
    expect(names(await ask("GET", `${API}/db`), "dbs", "db")).toEqual(
      expect.arrayContaining(["mine", SECRET]),
    );
    const other = await ask("GET", `${API}/db`, { token: tokens["other"] as string });
    expect(names(other, "dbs", "db")).toEqual([]);
    const inside = await ask("GET", `${API}/db?limit=1`, { token: tokens["inside doc.read"] as string });
    expect(names(inside, "dbs", "db")).toEqual(["mine"]);
    expect(inside.json["cursor"]).toBeNull();
    expect(inside.headers.link).toBeUndefined();
  });

  test("documents: those under the token's prefixes, page by page, and no cursor to what is hidden", async () => {
    const all = await ask("GET", `${API}/db/mine/docs`);
    expect(names(all, "docs", "doc")).toEqual(expect.arrayContaining(["notes/a", "secret/hidden-doc"]));
    const { token } = await ask.token([
      "mine:doc.read:notes/a",
      "mine:doc.read:secret/x",
      "mine:doc.read:notes/",
    ]);
    const first = await ask("GET", `${API}/db/mine/docs?limit=1`, { token });
    expect(names(first, "docs", "doc")).toEqual(["notes/a"]);
    const second = await ask("GET", `${API}/db/mine/docs?limit=1&cursor=${first.json["cursor"] as string}`, {
      token,
    });
    expect(names(second, "docs", "doc")).toEqual(["notes/hidden-too"]);
    expect(second.json["cursor"]).toBeNull();
    const narrow = await ask("GET", `${API}/db/mine/docs?collection=secret`, { token });
    expect(names(narrow, "docs", "doc")).toEqual([]);
  });

  test("a refused write names only the document that was asked for", async () => {
    const { token } = await ask.token(["mine:doc.write:open/"]);
    const reply = await ask("POST", `${API}/db/mine/branches/main/tx`, {
      token,
      body: {
        writes: [
          { doc: "open/x", value: {} },
          { doc: "notes/a", value: {} },
        ],
      },
    });
    expect(reply.json).toMatchObject({ code: "FORBIDDEN", doc: "notes/a" });
    expect((await ask("GET", `${API}/db/mine/docs/open/x`)).status).toBe(404);
  });

  test("reading a document in a transaction needs the right to read it", async () => {
    const { token } = await ask.token(["mine:doc.write"]);
    const reply = await ask("POST", `${API}/db/mine/branches/main/tx`, {
      token,
      body: { reads: [{ doc: "notes/a", heads: [] }], writes: [{ doc: "open/x", value: {} }] },
    });
    expect(reply.status).toBe(403);
  });
});

test("a token makes no other that may do more than itself", async () => {
  const { token } = await ask.token(["*:admin.token", "mine:doc.read:notes/"]);
  const make = (scopes: string[]): Promise<Reply> =>
    ask("POST", `${API}/admin/tokens`, { token, body: { label: "x", scopes } });
  expect((await make(["mine:doc.read:notes/a"])).status).toBe(201);
  for (const scope of ["mine:doc.read", "mine:doc.write:notes/", "*:*", "mine:doc.read:note"]) {
    expect((await make([scope])).status).toBe(403);
  }
  expect((await ask("GET", `${API}/admin/tokens`)).text).not.toMatch(/skald_/);
});

test("a token that is revoked is refused from the next request on", async () => {
  const { token, id } = await ask.token(["mine:doc.read"]);
  expect((await ask("GET", `${API}/db/mine`, { token })).status).toBe(200);
  await ask("DELETE", `${API}/admin/tokens/${id}`);
  expect((await ask("GET", `${API}/db/mine`, { token })).status).toBe(401);
});

test.each([
  "2031-02-29T00:00:00Z",
  "2031-01-01T24:00:00Z",
  "2031-01-01",
  "2031-01-01T00:00:00",
  "2031-01-01T10:00Z",
  "tomorrow",
  "",
])("a token does not expire at %j, which is no RFC 3339 time", async (expires) => {
  const reply = await ask("POST", `${API}/admin/tokens`, {
    body: { label: "x", scopes: ["mine:doc.read"], expires },
  });
  expect([reply.status, reply.json["code"]]).toEqual([400, "BAD_REQUEST"]);
});

describe("every route, by role", () => {
  const CALLERS = ["none", "viewer", "editor", "owner", "admin", "owner of another db"] as const;
  type Caller = (typeof CALLERS)[number];
  type People = Readonly<Record<Caller, LoggedInPerson>>;
  const people = Object.fromEntries(CALLERS.map((name) => [name, logIn(dir, name)])) as Record<
    Caller,
    LoggedInPerson
  >;

  beforeAll(async () => {
    const give = (db: string, who: Caller, role: string) =>
      ask("PUT", `${API}/db/${db}/people/${people[who].id}`, { body: { role } });
    const given = await Promise.all([
      ...(["viewer", "editor", "owner"] as const).map((role) => give("mine", role, role)),
      give(SECRET, "owner of another db", "owner"),
      ask("PATCH", `${API}/people/${people.admin.id}`, { body: { admin: true } }),
      ask("PUT", `${API}/db/mine/subscriptions/of-roles`, { body: { mode: "shared" } }),
    ]);
    expect(given.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 201]);
  });

  const READS = ["doc.read", "query.read", "query.run", "snapshot.read", "sync"];
  const WRITES = [...READS, "doc.write", "query.write", "branch.write", "snapshot.write"];
  const MAY: Readonly<Record<Caller, (action: string, ofDb: boolean) => boolean>> = {
    none: () => false,
    viewer: (action, ofDb) => ofDb && READS.includes(action),
    editor: (action, ofDb) => ofDb && WRITES.includes(action),
    owner: (_, ofDb) => ofDb,
    admin: () => true,
    "owner of another db": () => false,
  };
  /** What needs more than its action. */
  const ONLY: Readonly<Record<string, readonly Caller[]>> = {
    "POST /api/v1/db/:db/sync/push": ["owner", "admin"],
    "POST /api/v1/db/:db/import": ["admin"],
  };

  const nobody = "0".repeat(20);
  const places: Readonly<Record<string, string>> = {
    db: "mine",
    collection: "notes",
    key: "a",
    form: "json",
    person: `per_${nobody}`,
    id: `tok_${nobody}`,
  };
  const callAs = ({ headers }: LoggedInPerson, path: string, { method, body }: Route): Promise<Reply> => {
    const filled = path.replaceAll(/:(\w+)/g, (_, name: string) => places[name] ?? "none-such");
    const type = Object.keys(body?.types ?? {})[0];
    // Of a wrong shape: whoever is let in is told that, and nothing is done.
    const wrong = type === "application/json" ? '{"none":"such"}' : Buffer.from([0]);
    return ask(method, path.endsWith("/changes") ? `${filled}?limit=1` : filled, {
      token: null,
      headers: { ...headers, ...(type === undefined ? {} : { "content-type": type }) },
      ...(type === undefined ? {} : { body: wrong }),
    });
  };
  /** What is said to each of them of one route. */
  const outcomes = async (all: People, { path, route }: (typeof ALL)[number]): Promise<unknown[]> => {
    const found: unknown[] = [];
    for (const caller of CALLERS) {
      const { status, json } = await callAs(all[caller], path, route);
      const said = status === 401 || status === 403 ? `${status} ${String(json["code"])}` : "in";
      found.push([caller, said]);
    }
    return found;
  };
  const wanted = ({ name, path, route }: (typeof ALL)[number]): unknown[] => {
    const asked = [route.access, ...(route.or ?? [])];
    return CALLERS.map((caller) => {
      const may =
        ONLY[name]?.includes(caller) ?? asked.some((action) => MAY[caller](action, path.includes("/:db")));
      return [caller, may ? "in" : "403 FORBIDDEN"];
    });
  };

  test.each(scoped)("$name", async (one) => {
    expect(await outcomes(people, one)).toEqual(wanted(one));
  });

  test("a role that is taken for another is noticed", async () => {
    const reads = scoped.find(({ name }) => name === "GET /api/v1/db/:db/docs") as (typeof ALL)[number];
    const writes = scoped.find(({ route }) => route.access === "doc.write") as (typeof ALL)[number];
    const keeps = scoped.find(({ route }) => route.access === "db.admin") as (typeof ALL)[number];
    for (const [a, b, one] of [
      ["none", "viewer", reads],
      ["viewer", "editor", writes],
      ["editor", "owner", keeps],
      ["owner", "owner of another db", keeps],
    ] as const) {
      const swapped = { ...people, [a]: people[b], [b]: people[a] };
      expect(await outcomes(swapped, one)).not.toEqual(wanted(one));
    }
  });

  test.each([
    ["changes?feed=websocket", [], ["viewer", "editor", "owner", "admin"]],
    ["query/watch?sql=SELECT%201", [], ["viewer", "editor", "owner", "admin"]],
    // Of somebody else: consuming takes events away.
    ["subscriptions/of-roles/events", ["skald.subscription.1"], ["owner", "admin"]],
    ["sync", [], ["viewer", "editor", "owner", "admin"]],
    ["branches/main/tx", ["skald.tx.1"], ["editor", "owner", "admin"]],
  ] as const)("the socket …/%s", async (at, protocols, callers: readonly Caller[]) => {
    for (const caller of CALLERS) {
      const socket = new WebSocket(`ws://127.0.0.1:${ask.port}${API}/db/mine/${at}`, [...protocols], {
        headers: { ...people[caller].headers },
      });
      const outcome = await new Promise((resolve) => {
        socket.on("open", () => resolve("in"));
        socket.on("unexpected-response", (_, res) => resolve(res.statusCode));
        socket.on("error", () => {});
      });
      socket.terminate();
      expect([caller, outcome]).toEqual([caller, callers.includes(caller) ? "in" : 403]);
    }
  });
});
