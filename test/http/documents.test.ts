import * as A from "@automerge/automerge";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;
const JSON_TYPE = { "content-type": "application/json" };

beforeAll(async () => {
  await ask("PUT", DB);
});

const put = (doc: string, body: object, ask_: Ask = {}): Promise<Reply> =>
  ask("PUT", `${DB}/docs/${doc}`, { body, ...ask_ });
const get = (doc: string, more: Ask = {}): Promise<Reply> => ask("GET", `${DB}/docs/${doc}`, more);

describe("writing and reading", () => {
  test("PUT makes a document, replaces it, and sees when nothing changes", async () => {
    const made = await put("w/a", { n: 1, list: [1, { deep: "é" }] });
    expect(made.status).toBe(201);
    expect(made.json).toMatchObject({ duplicate: false, heads: { "w/a": [expect.any(String)] } });
    expect(made.headers.etag).toBe(`"${(made.json["heads"] as Record<string, string[]>)["w/a"]?.[0]}"`);
    const replaced = await put("w/a", { n: 2 });
    expect([replaced.status, replaced.json["duplicate"]]).toEqual([200, false]);
    const same = await put("w/a", { n: 2 });
    expect([same.status, same.json["duplicate"], same.json["seq"]]).toEqual([
      200,
      true,
      replaced.json["seq"],
    ]);
    const read = await get("w/a");
    expect(read.status).toBe(200);
    expect(read.json).toEqual({ n: 2 });
    expect(read.headers).toMatchObject({
      etag: replaced.headers.etag,
      "skald-seq": String(replaced.json["seq"]),
      "skald-commit": replaced.json["commit"],
      "skald-cursor": replaced.json["cursor"],
      vary: "accept",
      "cache-control": "no-cache",
      "automerge-url": expect.stringMatching(/^automerge:[1-9A-HJ-NP-Za-km-z]{20,}$/) as string,
    });
  });

  test("HEAD answers like GET without the body", async () => {
    await put("w/head", { n: 1 });
    for (const path of [
      `${DB}/docs/w/head`,
      DB,
      `${DB}/docs`,
      `${API}/db`,
      `${DB}/commits`,
      "/docs",
      "/healthz",
    ]) {
      const full = await ask("GET", path);
      const head = await ask("HEAD", path);
      expect([head.status, head.bytes.length]).toEqual([full.status, 0]);
      const { date: _a, "x-request-id": _b, ...same } = full.headers;
      const { date: _c, "x-request-id": _d, ...headers } = head.headers;
      expect(headers).toEqual(same);
    }
    expect((await ask("HEAD", `${DB}/verify`)).status).toBe(200);
    const missing = await ask("HEAD", `${API}/db/missing/verify`);
    expect([missing.status, missing.bytes.length]).toEqual([404, 0]);
  });

  test("If-None-Match gives 304 while the document is what it names", async () => {
    const made = await put("w/cond", { n: 1 });
    const etag = made.headers.etag as string;
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const reply = await get("w/cond", { headers: { "if-none-match": tag } });
      expect([reply.status, reply.bytes.length, reply.headers.etag]).toEqual([304, 0, etag]);
    }
    await put("w/cond", { n: 2 });
    expect((await get("w/cond", { headers: { "if-none-match": etag } })).status).toBe(200);
  });

  test("If-Match writes only what is still as it was", async () => {
    const first = (await put("w/match", { n: 1 })).headers.etag as string;
    const second = await put("w/match", { n: 2 }, { headers: { "if-match": first } });
    expect(second.status).toBe(200);
    const late = problem(
      await put("w/match", { n: 3 }, { headers: { "if-match": first } }),
      412,
      "PRECONDITION_FAILED",
    );
    expect(late["current_heads"]).toEqual((second.json["heads"] as Record<string, unknown>)["w/match"]);
    problem(await put("w/none", { n: 3 }, { headers: { "if-match": "*" } }), 412, "PRECONDITION_FAILED");
    problem(
      await ask("DELETE", `${DB}/docs/w/match`, { headers: { "if-match": first } }),
      412,
      "PRECONDITION_FAILED",
    );
    expect((await get("w/match")).json).toEqual({ n: 2 });
  });

  test("If-None-Match: * only makes documents", async () => {
    const only = { headers: { "if-none-match": "*" } };
    expect((await put("w/new", { n: 1 }, only)).status).toBe(201);
    problem(await put("w/new", { n: 2 }, only), 412, "PRECONDITION_FAILED");
    await ask("DELETE", `${DB}/docs/w/new`);
    expect((await put("w/new", { n: 3 }, only)).status).toBe(201);
  });

  test("of many that make one document at once, one does", async () => {
    const replies = await Promise.all(
      Array.from({ length: 8 }, (_, n) => put("w/race", { n }, { headers: { "if-none-match": "*" } })),
    );
    expect(replies.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      201, 412, 412, 412, 412, 412, 412, 412,
    ]);
  });

  test("DELETE leaves a tombstone, and PUT brings the document back with its history", async () => {
    await put("w/gone", { n: 1 });
    const gone = await ask("DELETE", `${DB}/docs/w/gone`);
    expect([gone.status, gone.headers.etag]).toEqual([200, undefined]);
    expect(problem(await get("w/gone"), 404, "DOC_NOT_FOUND")["deleted"]).toBe(true);
    problem(await ask("DELETE", `${DB}/docs/w/gone`), 404, "DOC_NOT_FOUND");
    problem(await ask("DELETE", `${DB}/docs/w/never`), 404, "DOC_NOT_FOUND");
    expect((await put("w/gone", { n: 2 })).status).toBe(201);
    expect((await get("w/gone")).json).toEqual({ n: 2 });
    const { history } = (await get("w/gone/history")).json as { history: { deleted: boolean }[] };
    expect(history.map(({ deleted }) => deleted)).toEqual([false, true, false]);
  });

  test("a repeat under the same Idempotency-Key gets the first receipt, whatever came in between", async () => {
    const key = (n: string): Ask => ({ headers: { "idempotency-key": n } });
    const made = await put("w/idem", { n: 1 }, key("k1"));
    await put("w/idem", { n: 2 });
    const again = await put(
      "w/idem",
      { n: 1 },
      { headers: { "idempotency-key": '"k1"', "if-none-match": "*" } },
    );
    expect([again.status, again.json]).toEqual([200, { ...made.json, duplicate: true }]);
    expect(again.headers.etag).toBe(made.headers.etag);
    expect((await get("w/idem")).json).toEqual({ n: 2 });
    const gone = await ask("DELETE", `${DB}/docs/w/idem`, key("k2"));
    expect((await ask("DELETE", `${DB}/docs/w/idem`, key("k2"))).json).toEqual({
      ...gone.json,
      duplicate: true,
    });
    problem(await put("w/idem2", { n: 1 }, key("k1")), 409, "TX_ID_REUSED");
    problem(await put("w/idem2", { n: 1 }, key("a b")), 400, "NAME_INVALID");
  });

  test("a dry run answers as the write would and keeps nothing", async () => {
    const before = (await ask("GET", DB)).json["seq"];
    const dry = await ask("PUT", `${DB}/docs/w/dry?dry_run=true`, { body: { n: 1 } });
    expect([dry.status, dry.json["seq"]]).toEqual([201, (before as number) + 1]);
    problem(await get("w/dry"), 404, "DOC_NOT_FOUND");
    expect((await ask("GET", DB)).json["seq"]).toBe(before);
  });
});

describe("PATCH", () => {
  const patch = (doc: string, type: string, body: string | Uint8Array): Promise<Reply> =>
    ask("PATCH", `${DB}/docs/${doc}`, { headers: { "content-type": type }, body });

  test("takes a merge patch, a JSON patch and Automerge changes", async () => {
    await put("p/a", { keep: 1, drop: 2, list: [1] });
    expect((await patch("p/a", "application/merge-patch+json", '{"drop":null,"new":{"x":[]}}')).status).toBe(
      200,
    );
    expect(
      (await patch("p/a", "application/json-patch+json", '[{"op":"add","path":"/list/-","value":2}]')).status,
    ).toBe(200);
    const saved = await get("p/a", { headers: { accept: "application/automerge" } });
    const mine = A.load<Record<string, unknown>>(saved.bytes, { actor: "ab".repeat(16) });
    const changed = A.change(mine, { time: 0 }, (doc) => {
      doc["mine"] = true;
    });
    expect(
      (await patch("p/a", "application/automerge", A.getLastLocalChange(changed) as Uint8Array)).status,
    ).toBe(200);
    expect((await get("p/a")).json).toEqual({ keep: 1, list: [1, 2], new: { x: [] }, mine: true });
  });

  test("a merge patch makes a document that is not there; a JSON patch needs one", async () => {
    expect((await patch("p/new", "application/merge-patch+json", '{"a":1}')).status).toBe(201);
    problem(await patch("p/none", "application/json-patch+json", "[]"), 404, "DOC_NOT_FOUND");
  });

  test.each<[string, string, number, string]>([
    ["application/json-patch+json", '[{"op":"remove","path":"/none"}]', 409, "PATCH_FAILED"],
    ["application/json-patch+json", '[{"op":"boil","path":"/a"}]', 400, "PATCH_INVALID"],
    ["application/json-patch+json", "{}", 400, "PATCH_INVALID"],
    ["application/json-patch+json", "[", 400, "BAD_JSON"],
    ["application/merge-patch+json", '{"a":', 400, "BAD_JSON"],
    ["application/merge-patch+json", '{"a":"\\ud800"}', 422, "VALUE_INVALID"],
    ["application/automerge", "nonsense", 400, "CHANGE_MALFORMED"],
    ["application/json", "{}", 415, "UNSUPPORTED_MEDIA_TYPE"],
  ])("%s %s is refused", async (type, body, status, code) => {
    await put("p/bad", { a: 1 });
    problem(await patch("p/bad", type, body), status, code);
    expect((await get("p/bad")).json).toEqual({ a: 1 });
  });
});

describe("forms and parts of a document", () => {
  test("application/automerge gives bytes that Automerge loads to the same value", async () => {
    await put("f/a", { title: "x", list: [1, { k: null }], t: "text" });
    const json = await get("f/a");
    const bytes = await get("f/a", { headers: { accept: "application/automerge" } });
    expect(bytes.headers["content-type"]).toBe("application/automerge");
    const doc = A.load(bytes.bytes);
    expect(JSON.parse(JSON.stringify(doc))).toEqual(json.json);
    expect(`"${A.getHeads(doc).join(".")}"`).toBe(json.headers.etag);
    expect(bytes.headers.etag).toBe(json.headers.etag?.replace(/"$/, ';automerge"'));
  });

  test.each<[string, string]>([
    ["*/*", "application/json"],
    ["application/*", "application/json"],
    ["text/html, application/xhtml+xml, */*;q=0.8", "application/json"],
    ["application/automerge;q=0.5, application/json", "application/json"],
    ["application/json;q=0.2, application/automerge", "application/automerge"],
    ["application/json;q=0, application/automerge", "application/automerge"],
    ["APPLICATION/AUTOMERGE", "application/automerge"],
  ])("Accept: %s is answered with %s", async (accept, type) => {
    await put("f/accept", { n: 1 });
    expect((await get("f/accept", { headers: { accept } })).headers["content-type"]).toBe(type);
  });

  test.each(["text/html", "application/json;q=0", "image/*"])(
    "Accept: %s cannot be answered",
    async (accept) => {
      await put("f/accept", { n: 1 });
      problem(await get("f/accept", { headers: { accept } }), 406, "NOT_ACCEPTABLE");
    },
  );

  test("`path` picks values by JSON pointer, also those with escapes; a missing one is left out", async () => {
    await put("f/paths", { "a/b": { "~": 1 }, list: ["x", "y"], "": 5 });
    const pick = (...paths: string[]): Promise<Reply> =>
      get(`f/paths?${paths.map((path) => `path=${encodeURIComponent(path)}`).join("&")}`);
    expect((await pick("/a~1b/~0", "/list/1", "/none", "/list/9", "/")).json).toEqual({
      "/a~1b/~0": 1,
      "/list/1": "y",
      "/": 5,
    });
    expect((await pick("")).json).toEqual({ "": { "a/b": { "~": 1 }, list: ["x", "y"], "": 5 } });
    problem(await pick("list"), 400, "PATH_INVALID");
    problem(await pick("/a~2"), 400, "PATH_INVALID");
    problem(await pick(...Array.from({ length: 101 }, () => "/a")), 400, "BAD_REQUEST");
  });

  test("`conflicts=1` gives the concurrent values beside the shown one", async () => {
    await put("f/conflict", { n: 0 });
    const { bytes } = await get("f/conflict", { headers: { accept: "application/automerge" } });
    const changes = ["11", "22"].map((actor) => {
      const doc = A.load<{ n: number }>(bytes, { actor: actor.repeat(16) });
      return A.getLastLocalChange(
        A.change(doc, { time: 0 }, (d) => void (d.n = Number(actor))),
      ) as Uint8Array;
    });
    for (const body of changes) {
      await ask("PATCH", `${DB}/docs/f/conflict`, {
        headers: { "content-type": "application/automerge" },
        body,
      });
    }
    const read = await get("f/conflict?conflicts=1");
    expect(read.json["value"]).toEqual({ n: 22 });
    expect(read.json["conflicts"]).toMatchObject([{ path: "/n", values: [{ value: 22 }, { value: 11 }] }]);
    expect(read.headers.etag?.split(".")).toHaveLength(2);
  });

  test("values are what the client wrote: exact numbers, no prototype, no replaced bytes", async () => {
    const body = '{"e":1e21,"f":1.5,"i":9007199254740991,"u":"\\u00e9"}';
    await ask("PUT", `${DB}/docs/f/values`, { headers: JSON_TYPE, body });
    expect((await get("f/values")).text).toBe('{"e":1e+21,"f":1.5,"i":9007199254740991,"u":"é"}');
  });

  test.each<[string, string | Uint8Array, number, string]>([
    ["invalid UTF-8", Buffer.from('{"a":"\xff"}', "latin1"), 400, "BAD_JSON"],
    ["half a surrogate pair", '{"a":"\\ud83d"}', 422, "VALUE_INVALID"],
    ["an integer beyond 2^53", '{"a":9007199254740993}', 422, "VALUE_INVALID"],
    ["a number beyond a double", '{"a":1e400}', 422, "VALUE_INVALID"],
    ["a list at the root", "[]", 422, "VALUE_INVALID"],
    ["no JSON", "{", 400, "BAD_JSON"],
    ["nothing", "", 400, "BAD_JSON"],
    ["10,000 levels", `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`, 422, "VALUE_INVALID"],
    ["a million lists", `{"a":${"[".repeat(1e6)}${"]".repeat(1e6)}}`, 422, "VALUE_INVALID"],
    ["a __proto__ key", '{"__proto__":{"x":1}}', 422, "VALUE_INVALID"],
  ])("%s is refused", async (_what, body, status, code) => {
    problem(await ask("PUT", `${DB}/docs/f/refused`, { headers: JSON_TYPE, body }), status, code);
    problem(await get("f/refused"), 404, "DOC_NOT_FOUND");
  });
});

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
      [`${LIST}/commits`, [docs, dbs, "x", future]],
      [`${DB}/commits`, [log]],
    ] as const) {
      for (const cursor of cursors)
        problem(await ask("GET", `${path}?cursor=${cursor}`), 400, "CURSOR_INVALID");
    }
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
