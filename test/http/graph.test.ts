import { LIMITS } from "../../src/limits.ts";
import { automergeUrl } from "../../src/log/automerge-ids.ts";
import { tempDir } from "../support/temp-dir.ts";
import { openEvents, type EventStream } from "./feed-client.ts";
import { API, problem, startHttp, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/g`;
const GRAPH = `${DB}/query/graph`;
const put = async (doc: string, body: object, query = ""): Promise<Record<string, unknown>> => {
  const reply = await ask("PUT", `${DB}/docs/${doc}${query}`, { body });
  expect(reply.status).toBeLessThan(300);
  return reply.json;
};
const link = (id: string, path?: string | (string | number)[]) => ({
  "/": { "link@1": { id, ...(path === undefined ? {} : { path }) } },
});
const graph = (body: object, token?: string): Promise<Reply> =>
  ask("POST", GRAPH, { body, ...(token === undefined ? {} : { token }) });

const PROJECT = {
  doc: "p/one",
  schema: {
    required: ["tasks"],
    properties: {
      name: { type: "string" },
      tasks: { items: { $ref: "#/$defs/task" } },
      owner: { type: "object", properties: { name: true } },
    },
    $defs: {
      task: { type: "object", properties: { done: { const: true }, after: { $ref: "#/$defs/task" } } },
    },
  },
};

beforeAll(async () => {
  for (const db of [DB, `${API}/db/g2`]) await ask("PUT", db);
  await put("p/one", {
    name: "One",
    secret: 1,
    tasks: [link("t/1"), link("t/2", [])],
    owner: link("u/all", ["people", 1]),
  });
  await put("t/1", { done: true, after: link("t/2", ""), hours: 3 });
  await put("t/2", { done: true, after: link("t/1") });
  await put("u/all", { people: [{ name: "Ada" }, { name: "Emmy", phone: 1 }] });
});

describe("a query", () => {
  test("walks a document and what it links to, in circles too, and gives what it looked at", async () => {
    const reply = await graph(PROJECT);
    expect(reply.status).toBe(200);
    expect(reply.headers["skald-cursor"]).toBe(reply.json["cursor"]);
    expect(reply.json).toMatchObject({
      seq: 4,
      branch: "main",
      verdict: "yes",
      docs: [
        {
          doc: "p/one",
          path: "",
          seq: 1,
          value: {
            name: "One",
            tasks: [link("t/1"), link("t/2", [])],
            owner: link("u/all", ["people", 1]),
          },
        },
        { doc: "t/1", path: "", seq: 2, value: { done: true, after: link("t/2", "") } },
        { doc: "t/2", path: "", seq: 3, value: { done: true, after: link("t/1") } },
        { doc: "u/all", path: "/people/1", seq: 4, value: { name: "Emmy" } },
      ],
      missing: [],
      links: { followed: 5, exceeded: 0 },
      reasons: [],
    });
    expect(JSON.stringify(reply.json["docs"])).not.toMatch(/secret|hours|Ada|phone/);
    const places = (reply.json["touched"] as { doc: string; path: string }[]).map(
      ({ doc, path }) => `${doc} ${path}`,
    );
    expect(places).toEqual([
      ...["", "/name", "/owner", "/tasks", "/tasks/0", "/tasks/1"].map((path) => `p/one ${path}`),
      ...["t/1", "t/2"].flatMap((doc) => ["", "/after", "/done"].map((path) => `${doc} ${path}`)),
      ...["/people/1", "/people/1/name"].map((path) => `u/all ${path}`),
    ]);
  });

  test("says no and why, and maybe where links are too many", async () => {
    const no = await graph({ ...PROJECT, schema: { ...PROJECT.schema, required: ["tasks", "due"] } });
    expect(no.json).toMatchObject({
      verdict: "no",
      reasons: [{ doc: "p/one", path: "", schema_path: "/required", message: "needs tasks, due" }],
    });
    const maybe = await graph({ ...PROJECT, max_link_depth: 0 });
    expect(maybe.json).toMatchObject({
      verdict: "maybe exceeded depth",
      links: { followed: 0, exceeded: 3 },
    });
  });

  test("is of any point and any branch, all its documents of the same", async () => {
    const before = (await graph(PROJECT)).json;
    await put("t/2", { done: false });
    expect((await graph(PROJECT)).json).toMatchObject({
      verdict: "no",
      reasons: [{ doc: "t/2", path: "/done", schema_path: "/$defs/task/properties/done/const" }],
    });
    expect((await graph({ ...PROJECT, at: "4" })).json).toEqual(before);
    expect((await graph({ ...PROJECT, at: "1" })).json).toMatchObject({
      seq: 1,
      verdict: "no",
      missing: ["t/1", "t/2", "u/all"].map((doc) => ({ doc, reason: "missing" })),
    });
    await ask("POST", `${DB}/branches`, { body: { name: "draft", from: { branch: "main", at: "4" } } });
    expect((await graph({ ...PROJECT, branch: "draft" })).json).toMatchObject({ verdict: "yes" });
    await put("t/2", { done: true, after: link("t/1") });
  });

  test("follows automerge URLs and ids", async () => {
    const listed = await ask("GET", `${DB}/docs?collection=t`);
    const url = (listed.json["docs"] as { automerge_url: string }[])[0]?.automerge_url ?? "";
    for (const id of [url, url.replace("automerge:", "")]) {
      await put("l/url", { to: link(id, "/hours") });
      const found = await graph({ doc: "l/url", schema: { properties: { to: { const: 3 } } } });
      expect(found.json).toMatchObject({
        verdict: "yes",
        docs: [{ doc: "l/url" }, { doc: "t/1", value: 3 }],
      });
    }
  });

  test("what is not there is what no type is", async () => {
    await put("m/gone", { n: 1 });
    await ask("DELETE", `${DB}/docs/m/gone`);
    await put("m/erased", { n: 1 });
    await ask("POST", `${DB}/docs/m/erased/erase`, { body: { confirm: "m/erased" } });
    const links = [link("m/gone"), link("m/none"), link("t/1", "/no"), link("no name"), link("m/none", "no")];
    await put("m/all", { links });
    const found = await graph({ doc: "m/all", schema: { properties: { links: { items: true } } } });
    expect(found.json).toMatchObject({ verdict: "yes" });
    expect(found.json["missing"]).toEqual([
      { doc: "m/all", path: "/links/3", reason: "link" },
      { doc: "m/all", path: "/links/4", reason: "link" },
      { doc: "m/gone", path: "", reason: "deleted" },
      { doc: "m/none", path: "", reason: "missing" },
      { doc: "t/1", path: "/no", reason: "path" },
    ]);
    for (const [items, verdict] of [
      [{ type: ["object", "null", "string"] }, "no"],
      [{ not: { type: ["object", "null"] } }, "yes"],
      [{ const: null }, "no"],
      [{ minLength: 3, properties: { a: false } }, "yes"],
    ] as const)
      expect(
        (await graph({ doc: "m/all", schema: { properties: { links: { items } } } })).json,
      ).toMatchObject({
        verdict,
      });
  });

  test("a token sees through it what it may read, and nothing of the rest is told", async () => {
    const { token } = await ask.token(["g:doc.read:p/", "g:doc.read:t/1"]);
    const found = await graph(PROJECT, token);
    expect(found.json["missing"]).toEqual([
      { doc: "t/2", path: "", reason: "missing" },
      { doc: "u/all", path: "/people/1", reason: "missing" },
    ]);
    expect(found.text).not.toContain("Emmy");
    const other = await ask.token(["g:doc.write"]);
    problem(await graph(PROJECT, other.token), 403, "FORBIDDEN");
    // One that was deleted is as one that never was.
    const hidden = await graph({ doc: "m/gone", schema: true }, token);
    expect(hidden.json).toMatchObject({
      docs: [],
      missing: [{ doc: "m/gone", path: "", reason: "missing" }],
    });
  });

  test("what is asked wrongly is refused with what is wrong", async () => {
    const refused = async (body: object, status: number, code: string): Promise<Record<string, unknown>> =>
      problem(await graph(body), status, code);
    await refused({ doc: "p/one" }, 400, "BAD_REQUEST");
    await refused({ doc: "none", schema: true }, 400, "NAME_INVALID");
    await refused({ doc: "p/one", schema: true, path: "a" }, 400, "PATH_INVALID");
    await refused({ doc: "p/one", schema: true, at: "999" }, 400, "POINT_IN_FUTURE");
    await refused({ doc: "p/one", schema: true, branch: "none" }, 404, "BRANCH_NOT_FOUND");
    expect(
      await refused(
        { doc: "p/one", schema: { properties: { "a/b": { pattern: "(a+)+$" } } } },
        422,
        "JSON_SCHEMA_INVALID",
      ),
    ).toMatchObject({ keyword: "pattern", pointer: "#/properties/a~1b/pattern" });
    await refused({ doc: "p/one", schema: { $ref: "https://example.org/a" } }, 422, "JSON_SCHEMA_INVALID");
    await refused({ doc: "p/one", schema: { $ref: "#/$defs/none" } }, 422, "JSON_SCHEMA_INVALID");
    const deep = JSON.parse('{"not":'.repeat(70) + "true" + "}".repeat(70)) as object;
    expect(await refused({ doc: "p/one", schema: deep }, 422, "QUERY_LIMIT")).toMatchObject({
      limit: "schemaLevels",
      max: LIMITS.graph.schemaLevels.value,
    });
  });
});

describe("a watch", () => {
  const q = (body: object, more = ""): string =>
    `${GRAPH}/watch?q=${encodeURIComponent(JSON.stringify(body))}${more}`;
  const named = (stream: EventStream, name: string) => stream.events.filter(({ event }) => event === name);
  const verdicts = (stream: EventStream): unknown[] =>
    stream.events.filter(({ event }) => event !== "heartbeat").map(({ data }) => data["verdict"]);

  test("gives the answer, and another whenever it is another", async () => {
    const streams = [
      await openEvents(ask.port, q(PROJECT), ask.admin),
      await openEvents(ask.port, `${GRAPH}/watch`, ask.admin, {}, PROJECT),
    ];
    for (const stream of streams) {
      await stream.until(() => stream.events.length === 1);
      expect(stream.headers["content-type"]).toBe("text/event-stream");
      expect(stream.events[0]?.data).toEqual((await graph(PROJECT)).json);
    }
    // Nothing of this is looked at.
    await put("t/1", { done: true, after: link("t/2", ""), hours: 4 });
    await put("x/1", { done: false });
    const { seq } = await put("t/2", { done: false });
    for (const stream of streams) {
      await stream.until(() => stream.events.length === 2);
      expect(named(stream, "update")[0]?.data).toMatchObject({ seq, verdict: "no" });
    }
    await put("t/2", { done: true, after: link("t/1") });
    for (const stream of streams) {
      await stream.until(() => stream.events.length === 3);
      expect(verdicts(stream)).toEqual(["yes", "no", "yes"]);
      expect(stream.events[2]?.data["result_hash"]).toBe(stream.events[0]?.data["result_hash"]);
      stream.close();
    }
  });

  test("hears of a document that was missing, by its name and by its id", async () => {
    const { uid } = (await ask("GET", DB)).json as { uid: string };
    for (const [doc, id] of [
      ["w/1", "w/1"],
      ["w/2", automergeUrl(Buffer.from(uid, "hex"), "w/2")],
    ] as const) {
      const query = { doc: `l/${doc}`, schema: { properties: { to: { type: "object" } } } };
      await put(query.doc.replace("w/", "w%2F"), { to: link(id) });
      const stream = await openEvents(ask.port, q(query), ask.admin);
      await stream.until(() => stream.events.length === 1);
      await put(doc, { n: 1 });
      await stream.until(() => stream.events.length === 2);
      await ask("DELETE", `${DB}/docs/${doc}`);
      await stream.until(() => stream.events.length === 3);
      expect(verdicts(stream)).toEqual(["no", "yes", "no"]);
      expect(stream.events.map(({ data }) => data["missing"])).toMatchObject([
        [{ reason: "missing" }],
        [],
        [{ doc, reason: "deleted" }],
      ]);
      stream.close();
    }
  });

  test("goes on where its client left it: silent when nothing is another, with a snapshot when it is", async () => {
    const first = await openEvents(ask.port, q(PROJECT, "&heartbeat=100"), ask.admin);
    await first.until(() => named(first, "heartbeat").length > 0);
    const id = first.lastId() as string;
    expect(named(first, "heartbeat")[0]?.data).toEqual({
      seq: expect.any(Number) as number,
      cursor: id.split(".")[0],
      result_hash: id.split(".")[1],
    });
    first.close();
    const same = await openEvents(ask.port, q(PROJECT, "&heartbeat=100"), ask.admin, { "last-event-id": id });
    await same.until(() => same.events.length > 0);
    expect(same.events[0]?.event).toBe("heartbeat");
    same.close();
    await put("t/2", { done: false });
    const other = await openEvents(ask.port, q(PROJECT), ask.admin, { "last-event-id": id });
    await other.until(() => other.events.length > 0);
    expect(other.events[0]).toMatchObject({ event: "snapshot", data: { verdict: "no" } });
    other.close();
    await put("t/2", { done: true, after: link("t/1") });
    problem(await ask("GET", q(PROJECT), { headers: { "last-event-id": "x" } }), 400, "CURSOR_INVALID");
  });

  test("is asked for like a query, and refused before it begins", async () => {
    problem(await ask("GET", q({ ...PROJECT, at: "1" })), 400, "BAD_REQUEST");
    problem(await ask("GET", q({ ...PROJECT, branch: "none" })), 404, "BRANCH_NOT_FOUND");
    problem(await ask("GET", `${GRAPH}/watch?q=x`), 400, "BAD_JSON");
    problem(await ask("GET", `${GRAPH}/watch`), 400, "BAD_REQUEST");
    problem(
      await ask("GET", q({ doc: "a/b", schema: { format: 1, pattern: "a" } })),
      422,
      "JSON_SCHEMA_INVALID",
    );
    problem(
      await ask(
        "GET",
        `${API}/db/none/query/graph/watch?q=${encodeURIComponent('{"doc":"a/b","schema":true}')}`,
      ),
      404,
      "DB_NOT_FOUND",
    );
    expect((await ask("HEAD", q(PROJECT))).status).toBe(200);
  });

  test("ends with its token, and with its db", async () => {
    const { token, id } = await ask.token(["g:doc.read:p/"]);
    const made = await ask("POST", `${API}/tickets`, { body: { db_id: "g", action: "doc.read" }, token });
    const stream = await openEvents(
      ask.port,
      q(PROJECT, `&ticket=${String(made.json["ticket"])}`),
      undefined,
    );
    await stream.until(() => stream.events.length === 1);
    expect(stream.events[0]?.data["missing"]).toMatchObject([
      { doc: "t/1" },
      { doc: "t/2" },
      { doc: "u/all" },
    ]);
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    await stream.ended();
    expect(stream.events.at(-1)).toMatchObject({ event: "error", data: { code: "UNAUTHENTICATED" } });
    const other = await openEvents(
      ask.port,
      `${API}/db/g2/query/graph/watch?q=${encodeURIComponent('{"doc":"a/b","schema":true}')}`,
      ask.admin,
    );
    await other.until(() => other.events.length === 1);
    await ask("DELETE", `${API}/db/g2?confirm=g2`);
    await other.ended();
    expect(other.events.at(-1)).toMatchObject({ event: "error", data: { code: "UNAVAILABLE", seq: 0 } });
  });
});
