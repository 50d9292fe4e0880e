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
      "cache-control": "private, no-cache",
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
    const other = await ask.token(["*:doc.write"]);
    for (const [i, body] of changes.entries()) {
      await ask("PATCH", `${DB}/docs/f/conflict`, {
        headers: { "content-type": "application/automerge" },
        body,
        ...(i === 0 ? { token: other.token } : {}),
      });
    }
    const read = await get("f/conflict?conflicts=1");
    expect(read.json["value"]).toEqual({ n: 22 });
    expect(read.json["conflicts"]).toMatchObject([
      {
        path: "/n",
        values: [
          { value: 22, author: "admin" },
          { value: 11, author: other.id },
        ],
      },
    ]);
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
