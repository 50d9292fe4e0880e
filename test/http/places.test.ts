import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;

beforeAll(async () => {
  await ask("PUT", DB);
});

const put = (doc: string, body: object): Promise<Reply> => ask("PUT", `${DB}/docs/${doc}`, { body });
const get = (doc: string, more: Ask = {}): Promise<Reply> => ask("GET", `${DB}/docs/${doc}`, more);

describe("points in time", () => {
  test("`at` takes a seq, a commit and a time, and names the point it answers for", async () => {
    const one = await put("t/a", { n: 1 });
    const two = await put("t/a", { n: 2 });
    const at = (point: unknown): Promise<Reply> => get(`t/a?at=${encodeURIComponent(String(point))}`);
    expect((await at(one.json["seq"])).json).toEqual({ n: 1 });
    expect((await at(one.json["commit"])).json).toEqual({ n: 1 });
    expect((await at(two.json["time"])).json).toEqual({ n: 2 });
    const past = await at(one.json["seq"]);
    expect([past.headers["skald-seq"], past.headers["skald-commit"]]).toEqual([
      String(one.json["seq"]),
      one.json["commit"],
    ]);
    expect(past.headers.etag).toBe(one.headers.etag);
    const zoned = (two.json["time"] as string).replace("Z", "+00:00");
    // A plus that nobody escaped arrives as a space.
    expect((await get(`t/a?at=${zoned}`)).json).toEqual({ n: 2 });
    problem(await at((one.json["seq"] as number) - 1), 404, "DOC_NOT_FOUND");
    problem(await at(0), 404, "DOC_NOT_FOUND");
    expect((await ask("GET", `${DB}/docs?at=0`)).json).toEqual({ docs: [], seq: 0, cursor: null });
  });

  test.each<[string, string]>([
    ["999999999", "POINT_IN_FUTURE"],
    ["2999-01-01T00:00:00Z", "POINT_IN_FUTURE"],
    ["-1", "POINT_INVALID"],
    ["1.5", "POINT_INVALID"],
    ["yesterday", "POINT_INVALID"],
    ["2024-02-31T00:00:00Z", "POINT_INVALID"],
    ["2024-02-29T24:00:00Z", "POINT_INVALID"],
    ["2024-01-01T00:00:00", "POINT_INVALID"],
    ["2024-01-01", "POINT_INVALID"],
    ["99999999999999999", "POINT_INVALID"],
    ["%00", "POINT_INVALID"],
    ["", "POINT_INVALID"],
  ])("at=%s is %s", async (at, code) => {
    await put("t/b", { n: 1 });
    problem(await get(`t/b?at=${at}`), 400, code);
  });

  test("an address that is no commit of this db is refused", async () => {
    await put("t/c", { n: 1 });
    problem(
      await get("t/c?at=bafyr4iagboodywfitjihwopdyntnpn5yuxq7wqrvmjdbqrgovv7hgd2kqe"),
      404,
      "COMMIT_NOT_FOUND",
    );
    problem(await get("t/c?at=bafy"), 400, "POINT_INVALID");
  });

  test("a branch other than main is not there", async () => {
    await put("t/c", { n: 1 });
    problem(await get("t/c?branch=draft"), 404, "BRANCH_NOT_FOUND");
    expect((await get("t/c?branch=main")).status).toBe(200);
  });

  test("diff gives a JSON patch between two points", async () => {
    const one = await put("t/diff", { n: 1, gone: true });
    const two = await put("t/diff", { n: 2 });
    const reply = await get(`t/diff/diff?from=${one.json["seq"] as number}&to=${two.json["seq"] as number}`);
    expect(reply.json).toEqual({
      from: one.json["seq"],
      to: two.json["seq"],
      patch: [
        { op: "remove", path: "/gone" },
        { op: "replace", path: "/n", value: 2 },
      ],
    });
    problem(await get("t/none/diff"), 404, "DOC_NOT_FOUND");
  });
});

describe("names", () => {
  test.each([
    "a/b/c",
    "ключ",
    "a b",
    "100%",
    "a+b",
    "..",
    ".",
    "...",
    "x?y#z",
    "😀",
    "é".repeat(256),
    "c:/d",
    "%2F",
    "'\"",
  ])("a key may be %j", async (key) => {
    const path = `${DB}/docs/names/${encodeURIComponent(key).replaceAll(".", "%2E")}`;
    expect((await ask("PUT", path, { body: { key } })).status).toBe(201);
    expect((await ask("GET", path)).json).toEqual({ key });
    const listed = await ask("GET", `${DB}/docs?collection=names&prefix=${encodeURIComponent(key)}&limit=1`);
    expect(listed.json["docs"]).toMatchObject([{ doc: `names/${key}`, collection: "names", key }]);
    const { history, doc } = (await ask("GET", `${path}/history?limit=1`)).json as Record<string, unknown[]>;
    expect([doc, history?.length]).toEqual([`names/${key}`, 1]);
  });

  test.each<[string, number, string]>([
    ["docs/names/%00", 400, "NAME_INVALID"],
    ["docs/names/a%0d%0ab", 400, "NAME_INVALID"],
    [`docs/names/${"k".repeat(513)}`, 400, "NAME_INVALID"],
    ["docs/-x/key", 400, "NAME_INVALID"],
    ["docs/%2e%2e/key", 400, "NAME_INVALID"],
    ["docs/a%2Fb/key", 400, "NAME_INVALID"],
    ["docs/names/%ff", 400, "BAD_REQUEST"],
    ["docs/names/%zz", 400, "BAD_REQUEST"],
    ["docs/names/a/b", 404, "NOT_FOUND"],
    ["docs//key", 404, "NOT_FOUND"],
    ["../../db", 404, "NOT_FOUND"],
  ])("%s is refused", async (path, status, code) => {
    problem(await ask("GET", `${DB}/${path}`), status, code);
  });

  test.each([".", "..", "a%2Fb", "a%20b", "%00", "x".repeat(129)])("%j is no db id", async (id) => {
    problem(await ask("PUT", `${API}/db/${id.replaceAll(".", "%2e")}`), 400, "NAME_INVALID");
  });

  test("a slash at the end of a path changes nothing", async () => {
    await put("names/slash", { n: 1 });
    expect((await get("names/slash/")).json).toEqual({ n: 1 });
    expect((await ask("GET", `${API}/db/`)).status).toBe(200);
  });
});

describe("lists", () => {
  const LIST = `${API}/db/lists`;
  const names = (reply: Reply): string[] => (reply.json["docs"] as { doc: string }[]).map(({ doc }) => doc);

  beforeAll(async () => {
    await ask("PUT", LIST);
    const writes = ["a/1", "a/2", "a/3", "ab/1", "b/x1", "b/x2", "b/y"].map((doc) => ({
      doc,
      value: { doc },
    }));
    await ask("POST", `${LIST}/branches/main/tx`, { body: { writes } });
    await ask("DELETE", `${LIST}/docs/a/2`);
  });

  test("documents in order of their names, without deleted ones, by collection and prefix", async () => {
    expect(names(await ask("GET", `${LIST}/docs`))).toEqual(["a/1", "a/3", "ab/1", "b/x1", "b/x2", "b/y"]);
    expect(names(await ask("GET", `${LIST}/docs?collection=a`))).toEqual(["a/1", "a/3"]);
    expect(names(await ask("GET", `${LIST}/docs?collection=b&prefix=x`))).toEqual(["b/x1", "b/x2"]);
    expect(names(await ask("GET", `${LIST}/docs?at=1&collection=a`))).toEqual(["a/1", "a/2", "a/3"]);
    problem(await ask("GET", `${LIST}/docs?prefix=x`), 400, "BAD_REQUEST");
  });

  test("pages follow each other by Link and by cursor, all of one point", async () => {
    const seen: string[] = [];
    let path: string | undefined = `${LIST}/docs?limit=2&values=true`;
    let pages = 0;
    while (path !== undefined) {
      const page: Reply = await ask("GET", path);
      seen.push(...names(page));
      pages += 1;
      // Another document between the pages is of a later point and stays out.
      if (pages === 1) await ask("PUT", `${LIST}/docs/b/later`, { body: {} });
      expect(page.json["seq"]).toBe(2);
      expect(page.json["docs"]).toMatchObject(names(page).map((doc) => ({ doc, value: { doc } })));
      path = /^<(.+)>; rel="next"$/.exec(String(page.headers.link))?.[1];
      expect(page.json["cursor"] === null).toBe(path === undefined);
    }
    expect([pages, seen]).toEqual([3, ["a/1", "a/3", "ab/1", "b/x1", "b/x2", "b/y"]]);
    const first = await ask("GET", `${LIST}/docs?limit=5`);
    expect(names(await ask("GET", `${LIST}/docs?cursor=${first.json["cursor"] as string}`))).toEqual([
      "b/x2",
      "b/y",
    ]);
  });

  test("commits after a point, and history, page by page", async () => {
    await ask("PUT", `${API}/db/pages`);
    for (let n = 1; n <= 5; n += 1) await ask("PUT", `${API}/db/pages/docs/c/d`, { body: { n } });
    const walk = async (start: string, list: string): Promise<number[][]> => {
      const pages: number[][] = [];
      for (let path: string | undefined = start; path !== undefined;) {
        const page: Reply = await ask("GET", path);
        pages.push((page.json[list] as { seq: number }[]).map(({ seq }) => seq));
        path = /^<(.+)>; rel="next"$/.exec(String(page.headers.link))?.[1];
      }
      return pages;
    };
    expect(await walk(`${API}/db/pages/commits?limit=2`, "commits")).toEqual([[1, 2], [3, 4], [5]]);
    expect(await walk(`${API}/db/pages/commits?since=3`, "commits")).toEqual([[4, 5]]);
    expect(await walk(`${API}/db/pages/docs/c/d/history?limit=2`, "history")).toEqual([[5, 4], [3, 2], [1]]);
    const end = await ask("GET", `${API}/db/pages/commits?since=5`);
    expect([end.json["commits"], typeof end.json["cursor"]]).toEqual([[], "string"]);
  });

  test("a cursor of another list, of another db or made up is refused", async () => {
    const docs = (await ask("GET", `${LIST}/docs?limit=1`)).json["cursor"] as string;
    const dbs = (await ask("GET", `${API}/db?limit=1`)).json["cursor"] as string;
    const log = (await ask("GET", `${LIST}/commits`)).json["cursor"] as string;
    const future = Buffer.from(Buffer.from(log, "base64url").toString().replace(/\d+$/, "99")).toString(
      "base64url",
    );
    for (const [path, cursors] of [
      [`${LIST}/docs`, [dbs, log, "x", "!", ""]],
      [`${API}/db`, [docs, log, "notes"]],
      [`${LIST}/commits`, [docs, dbs, "x"]],
      [`${DB}/commits`, [log]],
    ] as const) {
      for (const cursor of cursors)
        problem(await ask("GET", `${path}?cursor=${cursor}`), 400, "CURSOR_INVALID");
    }
    problem(await ask("GET", `${LIST}/commits?cursor=${future}`), 409, "CURSOR_FUTURE");
  });

  test.each(["0", "1001", "-1", "1.5", "1e2", "0x10", "", "%20", "ten", "5&limit=6"])(
    "limit=%s is refused",
    async (limit) => {
      const wrong = problem(await ask("GET", `${LIST}/docs?limit=${limit}`), 400, "BAD_REQUEST");
      expect(wrong["errors"]).toMatchObject([{ pointer: "/limit" }]);
    },
  );

  test("dbs, page by page", async () => {
    const first = await ask("GET", `${API}/db?limit=1`);
    const second = await ask("GET", `${API}/db?limit=1&cursor=${first.json["cursor"] as string}`);
    expect([first, second].map(({ json }) => (json["dbs"] as { db: string }[])[0]?.db)).toEqual([
      "lists",
      "notes",
    ]);
  });
});

describe("the log", () => {
  test("commits and blocks by address, as JSON and as the bytes that hash to it", async () => {
    const made = await put("log/a", { n: 1 });
    const path = `${DB}/commits/${made.json["commit"] as string}`;
    const commit = await ask("GET", path);
    expect(commit.json).toMatchObject({
      cid: made.json["commit"],
      seq: made.json["seq"],
      entries: [{ doc: "log/a" }],
    });
    const bytes = await ask("GET", path, { headers: { accept: "application/vnd.ipld.dag-cbor" } });
    const block = await ask("GET", `${DB}/blocks/${made.json["commit"] as string}`);
    expect(bytes.bytes.equals(block.bytes)).toBe(true);
    expect(bytes.headers.etag).not.toBe(commit.headers.etag);
    for (const reply of [commit, block]) {
      expect(reply.headers["cache-control"]).toBe("private, max-age=31536000, immutable");
    }
    expect(
      (await ask("GET", path, { headers: { "if-none-match": commit.headers.etag as string } })).status,
    ).toBe(304);
    const [change] = (commit.json["entries"] as { changes: string[] }[])[0]?.changes ?? [];
    expect((await ask("GET", `${DB}/blocks/${change}`)).headers["content-type"]).toBe(
      "application/vnd.ipld.raw",
    );
    problem(await ask("GET", `${DB}/commits/${change}`), 404, "COMMIT_NOT_FOUND");
    problem(await get(`log/a?at=${change}`), 404, "COMMIT_NOT_FOUND");
    problem(await ask("GET", `${API}/db/lists/blocks/${change}`), 404, "BLOCK_NOT_FOUND");
    problem(await ask("GET", `${DB}/blocks/none`), 400, "CID_INVALID");
  });

  test("verify streams lines and ends with the verdict; a db that is not there is refused before that", async () => {
    const reply = await ask("GET", `${DB}/verify`);
    expect(reply.headers["content-type"]).toBe("application/x-ndjson");
    const lines = reply.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.at(-1)).toMatchObject({ verdict: "sound", problems: [] });
    problem(await ask("GET", `${API}/db/missing/verify`), 404, "DB_NOT_FOUND");
    problem(await ask("POST", `${API}/db/missing/rebuild`), 404, "DB_NOT_FOUND");
  });

  test("rebuild makes what is derived anew, and the answer's last line says so", async () => {
    const before = await get("log/a");
    const reply = await ask("POST", `${DB}/rebuild`);
    expect(reply.text.trim().split("\n").at(-1)).toBe('{"ok":true}');
    expect((await get("log/a")).text).toBe(before.text);
  });
});

describe("dbs", () => {
  test("are made once, read, and deleted only when told twice", async () => {
    expect((await ask("PUT", `${API}/db/Fresh.db-1`)).status).toBe(201);
    const again = await ask("PUT", `${API}/db/Fresh.db-1`);
    expect([again.status, again.json["db"], again.json["seq"]]).toEqual([200, "Fresh.db-1", 0]);
    problem(await ask("DELETE", `${API}/db/Fresh.db-1`), 400, "DB_CONFIRM");
    problem(await ask("DELETE", `${API}/db/Fresh.db-1?confirm=fresh.db-1`), 400, "DB_CONFIRM");
    const gone = await ask("DELETE", `${API}/db/Fresh.db-1?confirm=Fresh.db-1`);
    expect([gone.status, gone.bytes.length]).toEqual([204, 0]);
    problem(await ask("DELETE", `${API}/db/Fresh.db-1?confirm=Fresh.db-1`), 404, "DB_NOT_FOUND");
    problem(await ask("GET", `${API}/db/Fresh.db-1/docs`), 404, "DB_NOT_FOUND");
  });

  test("deleting one under readers and writers answers each of them, and leaves a db that can be made anew", async () => {
    const db = `${API}/db/busy`;
    for (let round = 0; round < 3; round += 1) {
      const { uid } = (await ask("PUT", db)).json;
      const calls = Array.from({ length: 10 }, (_, n) =>
        n % 2 ? ask("GET", `${db}/docs?values=true`) : ask("PUT", `${db}/docs/c/${n}`, { body: { n } }),
      );
      const gone = await ask("DELETE", `${db}?confirm=busy`);
      expect(gone.status).toBe(204);
      for (const { status } of await Promise.all(calls)) expect([200, 201, 404]).toContain(status);
      const made = await ask("PUT", db);
      expect([made.status, made.json["seq"], made.json["uid"] === uid]).toEqual([201, 0, false]);
    }
  });
});

describe("conventions", () => {
  test("X-Request-Id comes back when it is one, and is made otherwise", async () => {
    const id = async (given?: string): Promise<unknown> =>
      (await ask("GET", `${API}/nowhere`, given === undefined ? {} : { headers: { "x-request-id": given } }))
        .json["request_id"];
    expect(await id("abc-1:2.3_x")).toBe("abc-1:2.3_x");
    for (const bad of ["a b", "x".repeat(65), "é", '"', "", undefined]) {
      expect(await id(bad)).toMatch(/^[a-z0-9]+-[a-z0-9]+$/);
    }
  });

  test("a method that a path does not take is 405 with Allow, and OPTIONS tells the methods", async () => {
    for (const [method, path, allow] of [
      ["POST", DB, "PUT, GET, HEAD, DELETE, OPTIONS"],
      ["GET", `${DB}/branches/main/tx`, "POST, OPTIONS"],
      ["TRACE", "/healthz", "GET, HEAD, OPTIONS"],
      ["PROPFIND", `${API}/db`, "GET, HEAD, OPTIONS"],
    ] as const) {
      const reply = await ask(method, path);
      problem(reply, 405, "METHOD_NOT_ALLOWED");
      expect(reply.headers.allow).toBe(allow);
      const options = await ask("OPTIONS", path, { token: null });
      expect([options.status, options.headers.allow]).toEqual([204, allow]);
    }
    problem(await ask("GET", "/nowhere"), 404, "NOT_FOUND");
    problem(await ask("OPTIONS", "/nowhere"), 404, "NOT_FOUND");
    problem(await ask("GET", `${API.toUpperCase()}/db`), 404, "NOT_FOUND");
  });

  test("unknown query parameters and bad values of known ones are refused", async () => {
    problem(await ask("GET", `${DB}?x=1`), 400, "BAD_REQUEST");
    problem(await ask("GET", `${DB}/docs?colection=a`), 400, "BAD_REQUEST");
    problem(await ask("GET", `${DB}/docs?collection=a&collection=b`), 400, "BAD_REQUEST");
    problem(await ask("GET", `${DB}/docs?values=yes`), 400, "BAD_REQUEST");
    problem(await ask("GET", `${DB}/docs?__proto__=1`), 400, "BAD_REQUEST");
  });

  test("a refusal keeps the connection", async () => {
    const reply = await ask("GET", `${API}/db`, { token: null });
    expect([reply.status, reply.headers.connection]).toEqual([401, "keep-alive"]);
  });
});
