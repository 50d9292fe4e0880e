import { once } from "node:events";
import { WebSocket } from "ws";
import { openEvents, type Event, type EventStream } from "./feed-client.ts";
import { API, problem, startHttp, type Client } from "./fixture.ts";
import { tempDir } from "../support/temp-dir.ts";

const { ask, server } = await startHttp(tempDir());
const DB = `${API}/db/shop`;
const WATCH = `${DB}/query/watch`;

const exec = async (sql: string, args: unknown[] = []): Promise<number> => {
  const reply = await ask("POST", `${DB}/query/exec`, { body: { sql, args } });
  if (reply.status !== 200) throw new Error(reply.text);
  return reply.json["seq"] as number;
};
const url = (query: Readonly<Record<string, string>>): string =>
  `${WATCH}?${Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&")}`;
const watch = (query: Readonly<Record<string, string>>, token: string = ask.admin): Promise<EventStream> =>
  openEvents(ask.port, url(query), token);
const named = (stream: EventStream, name: string) => stream.events.filter(({ event }) => event === name);
const next = (stream: EventStream, name: string, count = 1): Promise<void> =>
  stream.until(() => named(stream, name).length >= count);

beforeAll(async () => {
  await ask("PUT", DB);
  await exec("CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, price REAL)");
  await exec("INSERT INTO items VALUES ('a', 'Apple', 1), ('b', 'Bread', 2.5)");
}, 60_000);

test("a watch begins with the result and goes on with what becomes of it, each with seq, hash and cursor", async () => {
  const stream = await watch({ sql: "SELECT id, price FROM items WHERE price < ? ORDER BY id", args: "[3]" });
  expect(stream.status).toBe(200);
  expect(stream.headers["content-type"]).toBe("text/event-stream");
  await next(stream, "snapshot");
  const { id, data } = stream.events[0] as Event;
  expect(data).toMatchObject({ columns: ["id", "price"], types: ["TEXT", "REAL"], row_count: 2 });
  expect(data["rows"]).toEqual([
    ["a", 1],
    ["b", 2.5],
  ]);
  expect(data["result_hash"]).toMatch(/^[0-9a-f]{64}$/);
  expect(data["cursor"]).toBe(id);
  const seq = await exec("UPDATE items SET price = 2 WHERE id = 'a'");
  await next(stream, "update");
  expect(named(stream, "update")[0]?.data).toMatchObject({
    seq,
    rows: [
      ["a", 2],
      ["b", 2.5],
    ],
  });
  expect(named(stream, "update")[0]?.data["result_hash"]).not.toBe(data["result_hash"]);
  stream.close();
});

test("with delta an update is what leads to it, and the hash is that of the whole", async () => {
  await exec("DELETE FROM items WHERE id > 'b'");
  for (let i = 0; i < 20; i += 1) await exec("INSERT INTO items VALUES (?, 'row', ?)", [`r${10 + i}`, i]);
  const sql = "SELECT id, price FROM items WHERE id >= 'r' ORDER BY price, id";
  const reply = await ask("POST", WATCH, { body: { sql: "SELEC 1" } });
  problem(reply, 400, "SQL_ERROR");
  const stream = await watch({ sql, delta: "true" });
  const whole = await watch({ sql });
  await Promise.all([next(stream, "snapshot"), next(whole, "snapshot")]);
  await exec("UPDATE items SET price = 7.5 WHERE id = 'r12'");
  await Promise.all([next(stream, "update"), next(whole, "update")]);
  const { data } = named(stream, "update")[0] as { data: Record<string, unknown> };
  expect(data).toMatchObject({
    from: stream.events[0]?.data["result_hash"],
    row_count: 20,
    changed: [],
    removed: [[2, ["r12", 2]]],
    added: [[7, ["r12", 7.5]]],
    result_hash: named(whole, "update")[0]?.data["result_hash"],
  });
  stream.close();
  whole.close();
});

test("it goes on from a cursor: with nothing when nothing changed, else with what did, also after the changes of others", async () => {
  const sql = "SELECT id, price FROM items WHERE id < 'c' ORDER BY id";
  const first = await watch({ sql });
  await next(first, "snapshot");
  const cursor = first.lastId() as string;
  first.close();
  await exec("UPDATE items SET price = 100 WHERE id = 'r11'");
  const same = await watch({ sql, since: cursor });
  await next(same, "resumed");
  expect(same.events).toHaveLength(1);
  expect(same.events[0]?.data["result_hash"]).toBe(first.events[0]?.data["result_hash"]);
  same.close();
  const seq = await exec("UPDATE items SET name = 'x', price = 9 WHERE id = 'a'");
  const changed = await openEvents(ask.port, url({ sql }), ask.admin, { "last-event-id": cursor });
  await next(changed, "update");
  expect(changed.events[0]?.data).toMatchObject({ seq, row_count: 2 });
  changed.close();
  // What it was is looked up where the db was.
  const wide = { sql: "SELECT id, name, price FROM items WHERE id >= 'r' ORDER BY id", delta: "true" };
  const before = await watch(wide);
  await next(before, "snapshot");
  before.close();
  await exec("UPDATE items SET price = -1 WHERE id = 'r15'");
  const step = await watch({ ...wide, since: before.lastId() as string });
  await next(step, "update");
  expect(step.events[0]?.data).toMatchObject({
    from: before.events[0]?.data["result_hash"],
    changed: [[5, ["r15", "row", -1]]],
  });
  step.close();
  const place = await ask("POST", `${DB}/query/exec`, { body: { sql } });
  const known = await watch({ sql, since: place.json["cursor"] as string });
  await next(known, "resumed");
  known.close();
  problem(await ask("GET", url({ sql, since: "x" })), 400, "CURSOR_INVALID");
});

test("a sign of life names how far the db got without a change", async () => {
  const stream = await watch({ sql: "SELECT count(*) FROM items WHERE id = 'zz'", heartbeat: "100" });
  await next(stream, "snapshot");
  const seq = await exec("UPDATE items SET price = price + 1 WHERE id = 'a'");
  await stream.until(() => named(stream, "heartbeat").some(({ data }) => data["seq"] === seq));
  expect(named(stream, "update")).toEqual([]);
  stream.close();
});

test("a POST is watched alike, with its arguments exact", async () => {
  const response = await fetch(`${server.url}${WATCH}`, {
    method: "POST",
    headers: { authorization: `Bearer ${ask.admin}`, "content-type": "application/json" },
    body: '{"sql": "SELECT :n AS n, :b AS b", "args": {"n": 9007199254740993, "b": {"/": {"bytes": "AQI"}}}}',
  });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let text = "";
  while (!text.includes("\n\nevent: snapshot") || !text.endsWith("\n\n"))
    text += Buffer.from((await reader.read()).value as Uint8Array).toString();
  expect(text).toContain('"rows":[[9007199254740993,{"/":{"bytes":"AQI"}}]]');
  await reader.cancel();
});

test("a WebSocket has the same events as text frames", async () => {
  const ws = new WebSocket(
    `ws://127.0.0.1:${ask.port}${url({ sql: "SELECT price FROM items WHERE id = 'b'" })}`,
    {
      headers: { authorization: `Bearer ${ask.admin}` },
    },
  );
  const events: Record<string, unknown>[] = [];
  ws.on("message", (data: Buffer) => events.push(JSON.parse(data.toString()) as Record<string, unknown>));
  await once(ws, "message");
  const seq = await exec("UPDATE items SET price = 4 WHERE id = 'b'");
  while (events.length < 2) await once(ws, "message");
  expect(events).toMatchObject([
    { event: "snapshot", rows: [[2.5]] },
    { event: "update", seq, rows: [[4]] },
  ]);
  ws.close();
  await once(ws, "close");
});

test("a watch ends when its statement is none any more, and says why", async () => {
  await exec("CREATE TABLE gone (id TEXT PRIMARY KEY)");
  const stream = await watch({ sql: "SELECT * FROM gone" });
  await next(stream, "snapshot");
  await exec("DROP TABLE gone");
  await stream.ended();
  expect(named(stream, "error")[0]?.data).toMatchObject({
    code: "SQL_ERROR",
    status: 400,
    result_hash: stream.events[0]?.data["result_hash"],
  });
});

test("a watch of a branch sees its commits, and ends with it", async () => {
  await ask("POST", `${DB}/branches`, { body: { name: "draft" } });
  const sql = "SELECT price FROM items WHERE id = 'b'";
  const draft = await watch({ sql, branch: "draft" });
  const main = await watch({ sql });
  await Promise.all([next(draft, "snapshot"), next(main, "snapshot")]);
  const reply = await ask("POST", `${DB}/query/exec`, {
    body: { sql: "UPDATE items SET price = 77 WHERE id = 'b'", branch: "draft" },
  });
  expect(reply.status).toBe(200);
  await next(draft, "update");
  expect(named(draft, "update")[0]?.data).toMatchObject({ seq: reply.json["seq"], rows: [[77]] });
  expect(named(main, "update")).toEqual([]);
  await ask("DELETE", `${DB}/branches/draft`);
  await draft.ended();
  expect(named(draft, "error")[0]?.data).toMatchObject({ code: "WATCH_ENDED" });
  main.close();
  problem(await ask("GET", url({ sql, branch: "none" })), 404, "BRANCH_NOT_FOUND");
});

test("an erased document is gone from what is watched", async () => {
  await ask("PUT", `${DB}/docs/people/ann`, { body: { name: "Ann" } });
  const stream = await watch({ sql: "SELECT key FROM documents WHERE collection = 'people'" });
  await next(stream, "snapshot");
  expect(stream.events[0]?.data["rows"]).toEqual([["ann"]]);
  expect((await ask("POST", `${DB}/docs/people/ann/erase`, { body: {} })).status).toBe(200);
  await stream.until(() => named(stream, "update").at(-1)?.data["row_count"] === 0);
  stream.close();
});

test("what cannot be watched is refused before anything is sent", async () => {
  for (const [sql, status, code] of [
    ["INSERT INTO items VALUES ('x', 'x', 1)", 403, "SQL_NOT_ALLOWED"],
    ["SELECT random()", 403, "SQL_NOT_ALLOWED"],
    ["SELECT datetime('now')", 403, "SQL_NOT_ALLOWED"],
    ["SELECT date()", 403, "SQL_NOT_ALLOWED"],
    ["EXPLAIN SELECT 1", 403, "SQL_NOT_ALLOWED"],
    ["SELECT * FROM nothing", 400, "SQL_ERROR"],
    ["SELECT * FROM skald_head", 403, "SQL_NOT_ALLOWED"],
    [
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 6000) SELECT x FROM c",
      422,
      "QUERY_LIMIT",
    ],
  ] as const)
    problem(await ask("GET", url({ sql })), status, code);
  problem(await ask("GET", url({ sql: "SELECT ?", args: "1" })), 400, "BAD_REQUEST");
  problem(await ask("GET", url({ sql: "SELECT 1", at: "1" })), 400, "BAD_REQUEST");
  const { token } = await ask.token(["shop:query.read:items/"]);
  problem(await ask("GET", url({ sql: "SELECT 1" }), { token }), 403, "FORBIDDEN");
  const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${url({ sql: "SELECT 1" })}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const [, response] = (await once(ws, "unexpected-response")) as [unknown, { statusCode: number }];
  expect(response.statusCode).toBe(403);
  ws.on("error", () => {}).terminate();
});

test("it ends within a second of its token, also where nothing happens", async () => {
  const { token, id } = await ask.token(["shop:query.read"]);
  const stream = await watch({ sql: "SELECT 1" }, token);
  await next(stream, "snapshot");
  await ask("DELETE", `${API}/admin/tokens/${id}`);
  await stream.ended();
  expect(named(stream, "error")[0]?.data).toMatchObject({
    code: "UNAUTHENTICATED",
    cursor: stream.events[0]?.id,
  });
  const made = await ask("POST", `${API}/tickets`, { body: { db_id: "shop", action: "query.read" } });
  expect(made.status).toBe(201);
  const byTicket = await openEvents(
    ask.port,
    url({ sql: "SELECT 2", ticket: made.json["ticket"] as string }),
    undefined,
  );
  expect(byTicket.status).toBe(200);
  byTicket.close();
});

test("equal watches of many are one evaluation, and a commit that is none of theirs costs none", async () => {
  const counted = async (of: Client = ask): Promise<number> =>
    Number(/^skald_watch_evaluations_total (\d+)$/m.exec((await of("GET", "/metrics")).text)?.[1]);
  const before = await counted();
  const sql = "SELECT id, name FROM items WHERE id = ?";
  const many = await Promise.all(Array.from({ length: 40 }, () => watch({ sql, args: '["a"]' })));
  const others = await Promise.all(
    Array.from({ length: 40 }, (_, i) => watch({ sql, args: `["r${10 + i}"]` })),
  );
  await Promise.all([...many, ...others].map((stream) => next(stream, "snapshot")));
  expect((await counted()) - before).toBe(41);
  await exec("UPDATE items SET name = 'seen' WHERE id = 'a'");
  await Promise.all(many.map((stream) => next(stream, "update")));
  expect((await counted()) - before).toBe(42);
  await ask("PUT", `${DB}/docs/elsewhere/x`, { body: {} });
  await exec("UPDATE items SET name = 'by' WHERE id = 'b'");
  await exec("SELECT 1");
  expect((await counted()) - before).toBe(42);
  for (const stream of [...many, ...others]) stream.close();
});

test("a db that is deleted, and a server that stops, end their watches with the cursor", async () => {
  await ask("PUT", `${API}/db/short`);
  const short = await openEvents(ask.port, `${API}/db/short/query/watch?sql=SELECT%201`, ask.admin);
  await next(short, "snapshot");
  await ask("DELETE", `${API}/db/short?confirm=short`);
  await short.ended();
  expect(named(short, "error")[0]?.data).toMatchObject({ code: "UNAVAILABLE", cursor: short.lastId() });
  const stream = await watch({ sql: "SELECT count(*) FROM items" });
  await next(stream, "snapshot");
  const stopped = server.stop();
  await stream.ended();
  expect(named(stream, "error")[0]?.data).toMatchObject({
    code: "UNAVAILABLE",
    cursor: stream.events[0]?.id,
  });
  expect(await stopped).toBe(0);
}, 20_000);
