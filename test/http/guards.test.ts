import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { readConfig } from "../../src/config.ts";
import { AUDIT_DB } from "../../src/ids/names.ts";
import type { Route } from "../../src/http/route.ts";
import { ALWAYS } from "../../src/http/security-headers.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { startService } from "../../src/service.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API } from "./fixture.ts";

/** One server for all of it: behind one proxy, so that each test comes from addresses of its own. */
const RATE = 40;
const config = readConfig(
  { dir: tempDir(), port: "0", logLevel: "silent", workers: "1", trustProxy: "1", rateAddress: "400" },
  {},
);
const service = await startService(config, {
  listen: true,
  limits: { rateRefused: 5, rateSignIn: 3, rateToken: RATE, rateTotal: 0 },
});
afterAll(() => service.stop("the tests are over"));
const port = Number(new URL(service.url as string).port);

interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

interface How {
  readonly from?: string;
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  /** On the local socket. */
  readonly local?: boolean;
}

function ask(method: string, path: string, how: How = {}): Promise<Got> {
  const { from = "192.0.2.1", token = null, headers, body, local = false } = how;
  return new Promise((resolve, reject) => {
    const req = request({
      ...(local ? { socketPath: service.socket } : { host: "127.0.0.1", port }),
      method,
      path,
      agent: false,
      headers: {
        "x-forwarded-for": `6.6.6.6, ${from}`,
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body ? { "content-type": "application/json" } : {}),
        ...headers,
      },
    });
    req.on("error", reject);
    req.on("response", (res: IncomingMessage) => {
      let text = "";
      res.setEncoding("utf8").on("data", (part: string) => (text += part));
      // A stream that stays has said its head, which is all that is looked at.
      const stays = /event-stream/.test(res.headers["content-type"] ?? "");
      const done = (): void => {
        const json = (
          /\/(?:problem\+)?json$/.test(res.headers["content-type"] ?? "") ? JSON.parse(text || "{}") : {}
        ) as object;
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, json: json as Got["json"] });
      };
      if (stays) {
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, json: {} });
        req.destroy();
      } else res.on("end", done);
    });
    req.end(body && JSON.stringify(body));
  });
}

/** As the operator, who is not counted. */
const operator = (method: string, path: string, body?: object): Promise<Got> =>
  ask(method, path, { local: true, ...(body ? { body } : {}) });

async function mint(scopes: readonly string[]): Promise<string> {
  const made = await operator("POST", `${API}/admin/tokens`, { label: "test", scopes });
  expect(made.status).toBe(201);
  return made.json["token"] as string;
}

const reader = await mint(["*:doc.read", "*:db.admin", "*:query.read", "*:admin.token"]);
const auditor = await mint(["*:admin.audit"]);
beforeAll(async () => {
  await operator("PUT", `${API}/db/shop`);
  await operator("PUT", `${API}/db/shop/docs/notes/a`, { n: 1 });
});

const ALL = MOUNTS.flatMap(({ base, routes }) => routes.map((route) => ({ route, path: base + route.path })));
const WORDS: Readonly<Record<string, string>> = {
  collection: "notes",
  key: "a",
  branch: "main",
  name: "n",
  form: "json",
};
function filled(path: string, db: string): string {
  return path.replaceAll(/:(\w+)/g, (_, name: string) => (name === "db" ? db : (WORDS[name] ?? "x")));
}
const bodyOf = ({ body }: Route): How =>
  body ? { headers: { "content-type": Object.keys(body.types)[0] as string }, body: {} } : {};

describe("headers", () => {
  const expectAll = ({ headers }: Got, what: string): void => {
    const found: Record<string, unknown> = { what };
    const wanted: Record<string, unknown> = { what };
    for (let i = 0; i < ALWAYS.length; i += 2) {
      const name = ALWAYS[i] as string;
      found[name] = headers[name];
      wanted[name] = ALWAYS[i + 1];
    }
    expect(found).toEqual(wanted);
    expect(headers["content-security-policy"]).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
    expect(headers["cache-control"] ?? "").toMatch(/no-store|private|public|immutable|max-age/);
    expect(headers).not.toHaveProperty("x-powered-by");
  };

  test.each(ALL.map(({ route, path }) => [`${route.method} ${path}`, route, path] as const))(
    "of security are on what %s answers, to whoever may and to whoever may not",
    async (name, route, path) => {
      // What takes the db away is asked of one that is not there.
      const db = route.method === "DELETE" || /import|merge|erase|rebuild/.test(path) ? "none" : "shop";
      const url = filled(path, db);
      expectAll(await ask(route.method, url, { ...bodyOf(route), from: "192.0.2.77" }), name);
      expectAll(await ask(route.method, url, { ...bodyOf(route), local: true }), name);
    },
  );

  test("are on what no route answers", async () => {
    for (const [method, path] of [
      ["GET", "/nowhere"],
      ["PATCH", "/status"],
      ["OPTIONS", "/status"],
      ["GET", "/%zz"],
      ["GET", `/${"x".repeat(9000)}`],
      ["HEAD", "/status"],
    ] as const)
      expectAll(await ask(method, path, { from: "192.0.2.77" }), `${method} ${path.slice(0, 20)}`);
  });

  test("are on what the parser refuses", async () => {
    expectAll(
      await ask("GET", "/status", { headers: { a: "x".repeat(20_000) } }),
      "a head that is too large",
    );
  });

  test("say that TLS stays only where the proxy says that there is TLS", async () => {
    expect((await ask("GET", "/healthz")).headers).not.toHaveProperty("strict-transport-security");
    const secure = await ask("GET", "/healthz", { headers: { "x-forwarded-proto": "https" } });
    expect(secure.headers["strict-transport-security"]).toMatch(/^max-age=\d{8}$/);
  });
});

describe("rates", () => {
  const limited = ({ status, headers, json }: Got, policy: string): void => {
    expect({ status, code: json["code"], policy: json["policy"] }).toEqual({
      status: 429,
      code: "RATE_LIMITED",
      policy,
    });
    expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(1);
    expect(json["retry_after"]).toBe(Number(headers["retry-after"]));
  };

  test("a token has so many requests a minute, hears how many are left, and others go on", async () => {
    const [mine, other] = [await mint(["*:*"]), await mint(["*:*"])];
    for (let i = 1; i <= RATE; i += 1) {
      const { status, headers } = await ask("GET", `${API}/db/shop`, {
        token: mine,
        from: `198.51.100.${i}`,
      });
      expect({ status, policy: headers["ratelimit-policy"] }).toEqual({
        status: 200,
        policy: `"token";q=${RATE};w=60`,
      });
      const [, left] = /^"token";r=(\d+);t=\d+$/.exec(String(headers["ratelimit"])) ?? [];
      // What comes back meanwhile is one in a second and a half.
      expect(Number(left)).toBeGreaterThanOrEqual(RATE - i);
    }
    let last: Got;
    do last = await ask("GET", `${API}/db/shop`, { token: mine, from: "198.51.100.99" });
    while (last.status === 200);
    limited(last, "token");
    expect((await ask("GET", `${API}/db/shop`, { token: other })).status).toBe(200);
    // The hot way and a socket are of the same rate.
    limited(await ask("GET", `${API}/db/shop/docs/notes/a`, { token: mine }), "token");
    const ws = new WebSocket(`ws://127.0.0.1:${port}${API}/db/shop/changes`, {
      headers: { authorization: `Bearer ${mine}` },
    });
    const status = await new Promise((resolve) => {
      ws.on("unexpected-response", (_, res) => resolve(res.statusCode));
      ws.on("error", () => {});
    });
    expect(status).toBe(429);
  });

  test("messages on a socket count as a tenth, and too many end it", async () => {
    const token = await mint(["shop:*"]);
    const ws = new WebSocket(`ws://127.0.0.1:${port}${API}/db/shop/branches/main/tx`, "skald.tx.1", {
      headers: { authorization: `Bearer ${token}`, "x-forwarded-for": "192.0.2.3" },
    });
    await new Promise((resolve) => ws.on("open", resolve));
    const closed = new Promise<number>((resolve) => ws.on("close", resolve));
    for (let i = 0; i < RATE * 10 + 100; i += 1) ws.send(Buffer.alloc(0));
    expect(await closed).toBe(1013);
    limited(await ask("GET", `${API}/db/shop`, { token }), "token");
  });

  test("credentials that do not hold are few for an address, and never keep good ones out", async () => {
    const bad = { token: `skald_${"A".repeat(43)}`, from: "192.0.2.4" };
    for (let i = 0; i < 5; i += 1) expect((await ask("GET", "/status", bad)).status).toBe(401);
    limited(await ask("GET", "/status", bad), "refused");
    limited(await ask("GET", `${API}/db/shop/changes?ticket=skt_x&feed=sse`, { from: bad.from }), "refused");
    expect((await ask("GET", "/status", { token: await mint(["*:*"]), from: bad.from })).status).toBe(200);
    // Who shows nothing guesses nothing.
    expect((await ask("GET", "/status", { from: bad.from })).status).toBe(401);
    expect((await ask("GET", "/status", { ...bad, from: "192.0.2.5" })).status).toBe(401);
  });

  test("an address has so many before anything is known, and an IPv6 network is one address", async () => {
    const from = (i: number): string => `2001:db8:7:7::${i.toString(16)}`;
    const first = await ask("GET", "/nowhere", { from: from(1) });
    expect(first.status).toBe(404);
    let got: Got = first;
    for (let i = 0; got.status === 404 && i < 2000; i += 1)
      got = await ask("GET", "/nowhere", { from: from(i) });
    limited(got, "address");
    limited(await ask("GET", "/docs", { from: from(5000) }), "address");
    expect((await ask("GET", "/healthz", { from: from(1) })).status).toBe(200);
    expect((await ask("GET", "/nowhere", { from: "2001:db8:7:8::1" })).status).toBe(404);
  });

  test("the operator is not counted", async () => {
    for (let i = 0; i < RATE + 5; i += 1) expect((await operator("GET", "/status")).status).toBe(200);
    expect((await operator("GET", "/status")).headers).not.toHaveProperty("ratelimit");
  });
});

describe("the audit log", () => {
  const list = async (query = "", how: How = { token: auditor }): Promise<Record<string, unknown>[]> => {
    const got = await ask("GET", `${API}/audit${query}`, how);
    expect(got.status).toBe(200);
    return got.json["entries"] as Record<string, unknown>[];
  };

  test("has what was done before its answer was out, by whom and from where", async () => {
    const token = await mint(["*:*"]);
    const headers = { "x-request-id": "my-request" };
    await ask("PUT", `${API}/db/made`, { token, headers, from: "192.0.2.44" });
    await ask("POST", `${API}/db/made/branches`, { token, body: { name: "b" } });
    await ask("DELETE", `${API}/db/made/branches/b`, { token });
    await ask("DELETE", `${API}/db/made?confirm=made`, { token });
    const [deleted, branch, made] = await list("?db=made");
    expect(made).toMatchObject({ action: "db.create", address: "192.0.2.44", request_id: "my-request" });
    expect(made?.["who"]).toMatch(/^tok_/);
    expect(branch).toMatchObject({ action: "branch.delete", detail: "b" });
    expect(deleted).toMatchObject({ action: "db.delete", count: 1 });
    const local = await list("?who=local&action=token.create&limit=1");
    expect(local[0]).toMatchObject({ who: "local", subject: "operator", address: "local" });
    expect(JSON.stringify(await list("?limit=1000"))).not.toContain("skald_");
  });

  test("is told as JSON by pages, as NDJSON and as CSV in one piece", async () => {
    const token = await mint(["*:admin.audit"]);
    const all = await list("?limit=1000");
    const paged: unknown[] = [];
    for (let path: string | undefined = `${API}/audit?limit=3`; path !== undefined;) {
      const got: Got = await ask("GET", path, { token: auditor, from: "192.0.2.60" });
      paged.push(...(got.json["entries"] as unknown[]));
      path = /<(.*)>; rel="next"/.exec(String(got.headers["link"]))?.[1];
      if (paged.length > 20) break;
    }
    expect(paged).toEqual(all.slice(0, paged.length));
    const lines = await ask("GET", `${API}/audit`, {
      token,
      headers: { accept: "application/x-ndjson" },
    });
    expect(
      lines.text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(all);
    await operator("POST", `${API}/admin/tokens`, { label: '=cmd|"x"', scopes: ["a:*"] });
    const csv = await operator("GET", `${API}/audit?action=token.create&limit=1`);
    expect(csv.status).toBe(200);
    const { text } = await ask("GET", `${API}/audit?action=token.create&limit=1`, {
      local: true,
      headers: { accept: "text/csv" },
    });
    expect(text.split("\r\n")[0]).toBe("time,who,subject,action,db,detail,address,request_id,count,id");
    expect(text).toContain('"" a:*"');
  });

  test("asks for times, and refuses what is none", async () => {
    const now = new Date(Date.now() + 60_000).toISOString();
    expect(await list(`?since=${now}`)).toEqual([]);
    for (const query of ["?since=yesterday", "?until=2026-02-31T00:00:00Z", "?limit=0", "?cursor=x", "?a=b"])
      expect((await operator("GET", `${API}/audit${query}`)).status).toBe(400);
  });

  test("is read by whoever has admin.audit, by the routes of every db, and by nobody else", async () => {
    for (const path of [
      "/audit",
      `/db/${AUDIT_DB}`,
      `/db/${AUDIT_DB}/docs`,
      `/db/${AUDIT_DB}/commits`,
      `/db/${AUDIT_DB}/changes`,
      `/db/${AUDIT_DB}/verify`,
      `/db/${AUDIT_DB}/archive`,
    ]) {
      expect({ path, status: (await ask("GET", API + path, { token: auditor })).status }).toEqual({
        path,
        status: 200,
      });
      expect({ path, status: (await ask("GET", API + path, { token: reader })).status }).toEqual({
        path,
        status: 403,
      });
    }
    expect((await ask("GET", `${API}/db/shop`, { token: auditor })).status).toBe(403);
    const sql = { sql: "SELECT count(*) FROM documents" };
    const exec = `${API}/db/${AUDIT_DB}/query/exec`;
    expect((await operator("POST", exec, sql)).status).toBe(200);
    expect((await ask("POST", exec, { token: reader, body: sql })).status).toBe(403);
    const dbs = async (query: string): Promise<unknown> =>
      ((await operator("GET", `${API}/db${query}`)).json["dbs"] as { db: string }[]).map(({ db }) => db);
    expect(await dbs("")).toEqual(["shop"]);
    expect(await dbs("?own=true")).toEqual([AUDIT_DB, "shop"]);
  });

  test("is written by no route and no socket, not by an administrator, not by the operator", async () => {
    const head = (): Promise<number> => service.engine.use(AUDIT_DB, ({ log }) => log.head().seq);
    const [entry] = await list("?limit=1");
    const before = await head();
    const writing = ALL.filter(({ route, path }) => path.includes("/:db") && route.method !== "GET");
    expect(writing.length).toBeGreaterThan(30);
    const taken: string[] = [];
    for (const { route, path } of writing) {
      const url = filled(path, AUDIT_DB)
        .replace("/notes/a", `/entries/${String(entry?.["id"])}`)
        .replace(/\/db\/_audit$/, "/db/_audit?confirm=_audit");
      const got = await ask(route.method, url, { local: true, ...bodyOf(route) });
      if (got.status !== 403) taken.push(`${route.method} ${route.path} ${got.status}`);
    }
    // What these do is read, or make what is derived anew; with a body that asks for nothing.
    expect(taken.toSorted()).toEqual([
      "DELETE /db/:db/subscriptions/:name 204",
      "POST /db/:db/backup 200",
      "POST /db/:db/compact 200",
      "POST /db/:db/query/exec 400",
      "POST /db/:db/query/graph 400",
      "POST /db/:db/query/graph/watch 400",
      "POST /db/:db/query/watch 400",
      "POST /db/:db/rebuild 200",
      "POST /db/:db/snapshots/:name/verify 404",
      "POST /db/:db/subscriptions/:name/ack 404",
      "POST /db/:db/subscriptions/:name/nack 400",
      "POST /db/:db/subscriptions/:name/parked 400",
      "POST /db/:db/verify 400",
      "PUT /db/:db/subscriptions/:name 201",
      "QUERY /db/:db/query 400",
    ]);
    for (const sql of ["DELETE FROM documents", "CREATE TABLE t (a)", "INSERT INTO entries VALUES (1)"])
      expect((await operator("POST", `${API}/db/${AUDIT_DB}/query/exec`, { sql })).status).toBe(403);
    for (const socket of ["sync", "branches/main/tx"]) {
      const ws = new WebSocket(`ws+unix://${service.socket}:${API}/db/${AUDIT_DB}/${socket}`, "skald.tx.1");
      const status = await new Promise((resolve) => {
        ws.on("unexpected-response", (_, res) => resolve(res.statusCode));
        ws.on("open", () => resolve(101));
        ws.on("error", () => {});
      });
      expect({ socket, status }).toEqual({ socket, status: 403 });
    }
    expect(await head()).toBe(before);
    expect((await operator("PUT", `${API}/db/_mine`)).json).toMatchObject({ code: "NAME_INVALID" });
    expect((await operator("GET", `${API}/db/${AUDIT_DB}/verify`)).text).toMatch(/"verdict":"sound"/);
  });
});
