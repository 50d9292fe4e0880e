import { writeFileSync } from "node:fs";
import path from "node:path";
import { WebSocket } from "ws";
import { API, openWire, problem, startHttp, type Reply } from "./fixture.ts";
import { SUBS, consume, write, type Event } from "./subscription-fixture.ts";
import { tempDir } from "../support/temp-dir.ts";

const { ask, server } = await startHttp(tempDir());

let names = 0;
/** A subscription of its own. */
async function make(body: object = {}, token?: string): Promise<string> {
  const name = `s${(names += 1)}`;
  const reply = await ask("PUT", `${SUBS}/${name}`, { body, ...(token === undefined ? {} : { token }) });
  expect(reply.status).toBe(201);
  return name;
}
const poll = (name: string, query = ""): Promise<Reply> => ask("GET", `${SUBS}/${name}/events${query}`);
const seqsOf = (reply: Reply): number[] => (reply.json["events"] as Event[]).map(({ seq }) => seq);
const ack = (name: string, body: object): Promise<Reply> => ask("POST", `${SUBS}/${name}/ack`, { body });
const info = async (name: string): Promise<Record<string, unknown>> =>
  (await ask("GET", `${SUBS}/${name}`)).json;

let last = 0;
beforeAll(async () => {
  await ask("PUT", `${API}/db/notes`);
  last = await write(ask, 12, (i) => `${i % 3 === 0 ? "a" : "b"}/d${i}`);
});

describe("a durable subscription", () => {
  test("is made once, tuned by a second PUT, listed, shown and deleted", async () => {
    const made = await ask("PUT", `${SUBS}/mine`, { body: { mode: "shared", ack_ms: 5000 } });
    expect(made.status).toBe(201);
    expect(made.json).toMatchObject({
      name: "mine",
      mode: "shared",
      include: "none",
      creator: "admin",
      ack_ms: 5000,
      max_attempts: null,
      seq: 0,
      lag: { commits: last, age_ms: expect.any(Number) as number },
      consumers: [],
    });
    const tuned = await ask("PUT", `${SUBS}/mine`, {
      body: { mode: "shared", max_attempts: 3, from: "now" },
    });
    expect([tuned.status, tuned.json["max_attempts"], tuned.json["ack_ms"], tuned.json["seq"]]).toEqual([
      200, 3, 30_000, 0,
    ]);
    problem(await ask("PUT", `${SUBS}/mine`, { body: { mode: "single" } }), 409, "SUBSCRIPTION_EXISTS");
    problem(
      await ask("PUT", `${SUBS}/mine`, { body: { mode: "shared", collection: "a" } }),
      409,
      "SUBSCRIPTION_EXISTS",
    );
    await ask("PUT", `${SUBS}/other`, { body: {} });
    const first = await ask("GET", `${SUBS}?limit=1`);
    expect(first.json["subscriptions"]).toMatchObject([{ name: "mine" }]);
    const second = await ask("GET", `${SUBS}?limit=1&cursor=${String(first.json["cursor"])}`);
    expect(second.json).toMatchObject({ subscriptions: [{ name: "other" }], cursor: null });
    expect((await ask("DELETE", `${SUBS}/mine`)).status).toBe(204);
    problem(await ask("GET", `${SUBS}/mine`), 404, "SUBSCRIPTION_NOT_FOUND");
    problem(await ask("DELETE", `${SUBS}/mine`), 404, "SUBSCRIPTION_NOT_FOUND");
    problem(await poll("mine"), 404, "SUBSCRIPTION_NOT_FOUND");
    await ask("DELETE", `${SUBS}/other`);
  });

  test.each<[string, string, object, number, string]>([
    ["a name with a slash", "a%2Fb", {}, 400, "NAME_INVALID"],
    ["an unknown field", "x", { modus: 1 }, 400, "BAD_REQUEST"],
    ["a key in single mode", "x", { key: "doc" }, 400, "BAD_REQUEST"],
    ["a prefix without a collection", "x", { prefix: "a" }, 400, "BAD_REQUEST"],
    ["a start in the future", "x", { from: "999999" }, 409, "CURSOR_FUTURE"],
    ["a start that is none", "x", { from: "yesterday" }, 400, "CURSOR_INVALID"],
    ["a branch that is not there", "x", { branch: "draft" }, 400, "BAD_REQUEST"],
  ])("is not made of %s", async (_what, name, body, status, code) => {
    problem(await ask("PUT", `${SUBS}/${name}`, { body }), status, code);
    expect((await ask("GET", SUBS)).json["subscriptions"]).toEqual([]);
  });

  test("begins where it is told, and has what its filter lets through", async () => {
    const all = await make();
    expect(seqsOf(await poll(all))).toEqual(Array.from({ length: last }, (_, i) => i + 1));
    const later = await make({ from: (await ask("GET", `${API}/db/notes/changes?limit=5`)).json["cursor"] });
    expect(seqsOf(await poll(later, "?limit=2"))).toEqual([6, 7]);
    const now = await make({ from: "now" });
    expect((await poll(now)).json).toMatchObject({ events: [], seq: last });
    const some = await make({ collection: "a", include: "json", from: "3" });
    const { events, consumer } = (await poll(some)).json as { events: Event[]; consumer: string };
    expect(events.map(({ seq }) => seq)).toEqual([4, 7, 10]);
    expect(events[0]).toMatchObject({ attempt: 1, docs: [{ doc: "a/d3", value: { i: 3 } }] });
    expect(consumer).toMatch(/^anonymous-/);
    const lines = await ask("GET", `${SUBS}/${some}/events`, { headers: { accept: "application/x-ndjson" } });
    expect(lines.headers["content-type"]).toBe("application/x-ndjson");
    const parsed = lines.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Event & { consumer?: string });
    expect(parsed.map(({ seq }) => seq)).toEqual([4, 7, 10, 3]);
    expect(parsed.at(-1)?.consumer).toMatch(/^anonymous-/);
    for (const name of [all, later, now, some]) await ask("DELETE", `${SUBS}/${name}`);
  });

  test("in single mode gives again what was not acknowledged, and goes on after what was", async () => {
    const name = await make();
    expect(seqsOf(await poll(name, "?limit=3"))).toEqual([1, 2, 3]);
    const again = (await poll(name, "?limit=3")).json["events"] as Event[];
    // The first of them is the one that its consumer failed at.
    expect(again.map(({ seq, attempt }) => [seq, attempt])).toEqual([
      [1, 2],
      [2, 1],
      [3, 1],
    ]);
    const acked = await ack(name, { seq: 2 });
    expect([acked.status, acked.json["seq"]]).toEqual([200, 2]);
    expect(seqsOf(await poll(name, "?limit=2"))).toEqual([3, 4]);
    await ack(name, { cursor: (await poll(name, "?limit=1")).json["cursor"] });
    expect((await info(name))["seq"]).toBe(2);
    expect((await ack(name, { seq: last })).json["seq"]).toBe(last);
    problem(await ack(name, { seq: last + 1 }), 409, "CURSOR_FUTURE");
    problem(await ack(name, { ids: [1] }), 400, "BAD_REQUEST");
    problem(await ack(name, {}), 400, "BAD_REQUEST");
    problem(await ack(name, { seq: 1, ids: [1] }), 400, "BAD_REQUEST");
    expect(await info(name)).toMatchObject({
      seq: last,
      lag: { commits: 0, age_ms: null },
      unacknowledged: 0,
    });
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("is not touched by a HEAD", async () => {
    const name = await make({ mode: "shared" });
    expect((await ask("HEAD", `${SUBS}/${name}/events`)).status).toBe(200);
    expect((await ask("HEAD", `${SUBS}/${name}/events?feed=sse`)).status).toBe(200);
    expect(await info(name)).toMatchObject({ unacknowledged: 0, consumers: [] });
    await ask("DELETE", `${SUBS}/${name}`);
  });
});

describe("shared", () => {
  test("gives each event to one consumer and again after its time, and settles them one by one", async () => {
    const name = await make({ mode: "shared", ack_ms: 600_000 });
    const one = await poll(name, "?consumer=one&limit=7");
    const two = await poll(name, "?consumer=two");
    expect(seqsOf(one)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(seqsOf(two)).toEqual([8, 9, 10, 11, 12]);
    expect(await info(name)).toMatchObject({
      unacknowledged: 12,
      consumers: [
        { consumer: "one", unacknowledged: 7, connected: false },
        { consumer: "two", unacknowledged: 5, connected: false },
      ],
    });
    expect((await ack(name, { ids: [1, 2, 8, 9, 10, 11] })).json["seq"]).toBe(2);
    expect((await ack(name, { seq: 12 })).json["seq"]).toBe(2);
    expect(await info(name)).toMatchObject({ ahead: 1, unacknowledged: 5 });
    const waiting = poll(name, "?feed=longpoll&consumer=three&timeout=120000");
    await ask("PUT", `${SUBS}/${name}`, { body: { mode: "shared", ack_ms: 100 } });
    const late = await waiting;
    const events = late.json["events"] as Event[];
    expect(events.map(({ seq, attempt }) => [seq, attempt])).toEqual([3, 4, 5, 6, 7].map((seq) => [seq, 2]));
    expect((await ack(name, { ids: [3, 4, 5, 6, 7] })).json["seq"]).toBe(last);
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("gives back at once, or after a delay, what its consumer gives back, and only that", async () => {
    const name = await make({ mode: "shared" });
    const nack = (body: object): Promise<Reply> => ask("POST", `${SUBS}/${name}/nack`, { body });
    await poll(name, "?consumer=one&limit=3");
    expect((await nack({ ids: [1, 2, 9], consumer: "two" })).json).toEqual({ returned: 0 });
    problem(await nack({ ids: [1] }), 400, "BAD_REQUEST");
    expect((await nack({ ids: [1], consumer: "one", delay_ms: 3000 })).json).toEqual({ returned: 1 });
    expect((await nack({ ids: [2], consumer: "one" })).json).toEqual({ returned: 1 });
    expect(seqsOf(await poll(name, "?consumer=two&limit=2"))).toEqual([2, 4]);
    // Whenever it comes, it comes once.
    const rest = seqsOf(await poll(name, "?consumer=two"));
    if (!rest.includes(1)) expect(seqsOf(await poll(name, "?feed=longpoll&consumer=two"))).toEqual([1]);
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("parks what came to nothing too often, lists it, tries it again and forgets it on request", async () => {
    const name = await make({ mode: "shared", max_attempts: 2, from: String(last - 2) });
    const nackAll = async (): Promise<void> => {
      const ids = seqsOf(await poll(name, "?consumer=c"));
      await ask("POST", `${SUBS}/${name}/nack`, { body: { ids, consumer: "c" } });
    };
    await nackAll();
    await nackAll();
    const parked = `${SUBS}/${name}/parked`;
    expect((await ask("GET", parked)).json).toEqual({
      parked: [last - 1, last].map((seq) => ({ seq, attempts: 2, reason: "nack", retry: false })),
    });
    expect(await info(name)).toMatchObject({ seq: last, parked: 2 });
    expect(seqsOf(await poll(name, "?consumer=c"))).toEqual([]);
    expect((await ask("POST", parked, { body: { do: "retry", ids: [last] } })).json).toEqual({ count: 1 });
    expect(seqsOf(await poll(name, "?consumer=c"))).toEqual([last]);
    await ack(name, { ids: [last] });
    expect((await ask("GET", parked)).json["parked"]).toHaveLength(1);
    expect((await ask("POST", parked, { body: { do: "drop", ids: "all" } })).json).toEqual({ count: 1 });
    expect((await ask("GET", parked)).json).toEqual({ parked: [] });
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("with a key gives the events of one document to one consumer at a time, in order", async () => {
    const from = String(await write(ask, 1));
    last = await write(ask, 8, (i) => `k/d${i % 2}`);
    const name = await make({ mode: "shared", key: "doc", from });
    const first = seqsOf(await poll(name, "?consumer=one&limit=1"));
    const other = seqsOf(await poll(name, "?consumer=two"));
    expect(other).toEqual([2, 4, 6, 8].map((n) => Number(from) + n));
    expect(first).toEqual([Number(from) + 1]);
    expect(seqsOf(await poll(name, "?consumer=one&limit=1"))).toEqual([Number(from) + 3]);
    await ack(name, { ids: [...first, Number(from) + 3] });
    expect(seqsOf(await poll(name, "?consumer=two"))).toEqual([5, 7].map((n) => Number(from) + n));
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("gives a consumer no more than it may have unacknowledged, and the rest to others", async () => {
    const name = await make({ mode: "shared", max_unacked: 4 });
    expect(seqsOf(await poll(name, "?consumer=one"))).toEqual([1, 2, 3, 4]);
    expect(seqsOf(await poll(name, "?consumer=one"))).toEqual([]);
    expect(seqsOf(await poll(name, "?consumer=two"))).toEqual([5, 6, 7, 8]);
    await ack(name, { ids: [2] });
    expect(seqsOf(await poll(name, "?consumer=one"))).toEqual([9]);
    await ask("DELETE", `${SUBS}/${name}`);
  });
});

describe("a socket", () => {
  test("delivers, acknowledges, and spreads what comes over those who are there", async () => {
    const name = await make({ mode: "shared", from: "now" });
    const [a, b] = [
      await consume(ask, name, { ack: true, query: "?consumer=a" }),
      await consume(ask, name, { ack: true }),
    ];
    const before = last;
    last = await write(ask, 20);
    await a.until(() => a.acked.size + b.acked.size === 20);
    await b.until(() => a.acked.size + b.acked.size === 20);
    const seqs = [...a.events, ...b.events].map(({ seq }) => seq).sort((x, y) => x - y);
    expect(seqs).toEqual(Array.from({ length: 20 }, (_, i) => before + 1 + i));
    expect(Math.min(a.events.length, b.events.length)).toBeGreaterThan(0);
    expect(await info(name)).toMatchObject({ seq: last, lag: { commits: 0 }, unacknowledged: 0 });
    a.ws.close();
    b.ws.close();
    await Promise.all([a.closed, b.closed]);
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("takes a single subscription over: the older consumer is told, the newer goes on from what was acknowledged", async () => {
    const name = await make();
    const older = await consume(ask, name);
    await older.until(() => older.events.length === last);
    older.send({ ack: 5 });
    await older.until(() => older.acked.has(5));
    const newer = await consume(ask, name);
    expect(await older.closed).toEqual([4409, "SUBSCRIPTION_TAKEN"]);
    expect(older.errors).toEqual(["SUBSCRIPTION_TAKEN"]);
    await newer.until(() => newer.events.length === last - 5);
    expect(newer.events.map(({ seq }) => seq)).toEqual(Array.from({ length: last - 5 }, (_, i) => 6 + i));
    newer.send({ nack: 7 });
    await newer.until(() => newer.events.length === 2 * (last - 5) - 1);
    expect(newer.events.slice(last - 5).map(({ seq, attempt }) => [seq, attempt])).toEqual(
      Array.from({ length: last - 6 }, (_, i) => [7 + i, i === 0 ? 2 : 1]),
    );
    expect((await ask("DELETE", `${SUBS}/${name}`)).status).toBe(204);
    expect(await newer.closed).toEqual([4410, "SUBSCRIPTION_DELETED"]);
  });

  test("gives to others at once what a consumer had that is gone", async () => {
    const name = await make({ mode: "shared", max_unacked: 2, ack_ms: 60_000 });
    const a = await consume(ask, name);
    await a.until(() => a.events.length === 2);
    a.ws.terminate();
    const b = await consume(ask, name);
    await b.until(() => b.events.length === 2);
    expect(b.events.map(({ seq, attempt }) => [seq, attempt])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    b.ws.terminate();
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test.each<[string, string | Buffer, number, string]>([
    ["no JSON", "{", 1007, "BAD_REQUEST"],
    ["a list", "[]", 1007, "BAD_REQUEST"],
    ["an unknown field", '{"ack":1,"x":1}', 1007, "BAD_REQUEST"],
    ["nothing to do", "{}", 1007, "BAD_REQUEST"],
    ["half a seq", '{"ack":0.5}', 1007, "BAD_REQUEST"],
    ["a text for a seq", '{"nack":["1"]}', 1007, "BAD_REQUEST"],
    ["an empty list", '{"ack":[]}', 1007, "BAD_REQUEST"],
    ["a negative delay", '{"nack":1,"delay_ms":-1}', 1007, "BAD_REQUEST"],
    ["bytes", Buffer.from("{}"), 1003, "frames are text"],
    ["64 KiB and more", `{"ack":[${"1,".repeat(40_000)}1]}`, 1009, ""],
  ])("closes on a frame of %s", async (_what, frame, code, reason) => {
    const name = await make();
    const line = await consume(ask, name);
    line.ws.send(frame);
    expect(await line.closed).toEqual([code, reason]);
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("tells of an acknowledgement that is refused, and goes on", async () => {
    const name = await make();
    const line = await consume(ask, name);
    line.send({ ack: 1e9 });
    line.send({ ack: 1 });
    await line.until(() => line.acked.has(1));
    expect(line.errors).toEqual(["CURSOR_FUTURE"]);
    line.ws.close();
    await ask("DELETE", `${SUBS}/${name}`);
  });

  test("is refused with a problem where there is no subscription or no right to it", async () => {
    const name = await make();
    const { token } = await ask.token(["notes:doc.read"], { subject: "somebody" });
    const status = (path: string, as: string): Promise<number> =>
      new Promise((resolve) => {
        const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${SUBS}/${path}/events`, "skald.subscription.1", {
          headers: { authorization: `Bearer ${as}` },
        });
        ws.on("error", () => {});
        ws.on("unexpected-response", (_req, res) => resolve(res.statusCode ?? 0));
      });
    expect(await status("nobody", ask.admin)).toBe(404);
    expect(await status(name, token)).toBe(403);
    expect(await status(`${name}?consumer=a%20b`.replace("/events", ""), ask.admin)).toBe(404);
    await ask("DELETE", `${SUBS}/${name}`);
  });
});

describe("who may", () => {
  test("make, use and see a subscription", async () => {
    const ann = (await ask.token(["notes:doc.read"], { subject: "ann" })).token;
    const ann2 = (await ask.token(["notes:doc.read"], { subject: "ann" })).token;
    const bob = (await ask.token(["notes:doc.read"], { subject: "bob" })).token;
    const limited = (await ask.token(["notes:doc.read:a/"], { subject: "ann" })).token;
    const name = await make({}, ann);
    const path = `${SUBS}/${name}`;
    const as = (token: string, method: string, at: string, body?: object): Promise<number> =>
      ask(method, at, { token, ...(body ? { body } : {}) }).then(({ status }) => status);
    expect(await as(bob, "GET", path)).toBe(200);
    for (const [method, at, body] of [
      ["GET", `${path}/events`],
      ["POST", `${path}/ack`, { seq: 1 }],
      ["POST", `${path}/nack`, { ids: [1] }],
      ["GET", `${path}/parked`],
      ["POST", `${path}/parked`, { do: "drop", ids: "all" }],
      ["PUT", path, {}],
      ["DELETE", path],
    ] as const) {
      expect({ method, at, status: await as(bob, method, at, body) }).toEqual({ method, at, status: 403 });
      expect({ method, at, status: await as(limited, method, at, body) }).toEqual({
        method,
        at,
        status: 403,
      });
    }
    expect(await as(ann2, "POST", `${path}/ack`, { seq: 1 })).toBe(200);
    expect(await as(ask.admin, "POST", `${path}/ack`, { seq: 2 })).toBe(200);
    expect(await as(limited, "GET", path)).toBe(403);
    expect((await ask("GET", SUBS, { token: limited })).json["subscriptions"]).toEqual([]);
    // Within its prefix it may.
    expect(await as(limited, "PUT", `${SUBS}/inside`, { collection: "a", prefix: "d" })).toBe(201);
    expect(await as(limited, "PUT", `${SUBS}/outside`, { collection: "b" })).toBe(403);
    expect(await as(limited, "PUT", `${SUBS}/outside`, { docs: ["a/x", "b/x"] })).toBe(403);
    expect((await ask("GET", SUBS, { token: limited })).json["subscriptions"]).toMatchObject([
      { name: "inside" },
    ]);
    expect(await as(ann2, "DELETE", path)).toBe(204);
    expect(await as(limited, "DELETE", `${SUBS}/inside`)).toBe(204);
  });

  test("a token that is revoked ends its consumers", async () => {
    const { token, id } = await ask.token(["notes:doc.read"], { subject: "admin" });
    const name = await make({ from: "now" });
    const line = await consume(ask, name, { token });
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    last = await write(ask, 1);
    expect(await line.closed).toEqual([1008, "UNAUTHENTICATED"]);
    expect(line.events).toEqual([]);
    await ask("DELETE", `${SUBS}/${name}`);
  });
});

describe("server-sent events", () => {
  const events = (name: string) => {
    const wire = openWire(ask.port);
    wire.socket.write(
      `GET ${SUBS}/${name}/events?heartbeat=200 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nauthorization: Bearer ${ask.admin}\r\n\r\n`,
    );
    return wire;
  };

  test("follow with ids and heartbeats, and say why they end", async () => {
    const name = await make({ from: String(last - 1) });
    const wire = events(name);
    const text = await wire.until(/event: change\r?\ndata: .*\n\n/);
    expect(text).toMatch(/content-type: text\/event-stream/);
    expect(text).toMatch(/event: subscription\ndata: \{"consumer":"anonymous-[^"]+","seq":\d+/);
    expect(text).toMatch(new RegExp(`id: \\S+\nevent: change\ndata: \\{"seq":${last},.*"attempt":1\\}\n\n`));
    last = await write(ask, 1);
    await wire.until(new RegExp(`"seq":${last},`));
    await wire.until(/\n:\n\n/);
    const taken = events(name);
    expect(await wire.until(/event: end\n.*\n\n/)).toMatch(
      /event: end\ndata: \{"code":"SUBSCRIPTION_TAKEN","seq":\d+,"cursor":"/,
    );
    await taken.until(/event: change/);
    await ask("DELETE", `${SUBS}/${name}`);
    await taken.until(/"code":"SUBSCRIPTION_DELETED"/);
    for (const { socket } of [wire, taken]) socket.destroy();
  });
});

describe("figures", () => {
  test("of lag, consumers and parked events are in /status and /metrics, without a name", async () => {
    const name = await make({ mode: "shared" });
    const line = await consume(ask, name);
    const status = (await ask("GET", "/status")).json["subscriptions"] as Record<string, number>;
    expect(status).toMatchObject({ subscriptions: 1, consumers: 1, worst: last, lag: last });
    const { text } = await ask("GET", "/metrics");
    expect(text).toMatch(/^skald_subscriptions 1$/m);
    expect(text).toMatch(/^skald_subscription_consumers 1$/m);
    expect(text).toMatch(new RegExp(`^skald_subscription_worst_lag ${last}$`, "m"));
    expect(text).not.toContain(name);
    line.ws.close();
    await line.closed;
    await ask("DELETE", `${SUBS}/${name}`);
  });
});

describe("a db", () => {
  test("that is deleted or rebuilt ends its consumers at once, and takes its subscriptions along or keeps them", async () => {
    await ask("PUT", `${API}/db/other`);
    const path = `${API}/db/other/subscriptions/s`;
    await ask("PUT", path, { body: {} });
    const waiting = ask("GET", `${path}/events?feed=longpoll&timeout=60000`);
    await ask("GET", path);
    expect((await ask("POST", `${API}/db/other/rebuild`)).status).toBe(200);
    problem(await waiting, 503, "UNAVAILABLE");
    expect((await ask("GET", path)).status).toBe(200);
    expect((await ask("DELETE", `${API}/db/other?confirm=other`)).status).toBe(204);
    await ask("PUT", `${API}/db/other`);
    problem(await ask("GET", path), 404, "SUBSCRIPTION_NOT_FOUND");
  });

  test("whose subscriptions are damaged says so, makes no new ones, and serves everything else", async () => {
    await ask("PUT", `${API}/db/hurt`);
    await ask("PUT", `${API}/db/hurt/subscriptions/s`, { body: {} });
    await ask("POST", `${API}/db/hurt/rebuild`);
    const file = path.join(server.dir, "dbs", "hurt", "subscriptions.sqlite");
    // Opening it for the rebuild did not open them.
    const verdict = async (): Promise<unknown> =>
      JSON.parse((await ask("GET", `${API}/db/hurt/verify`)).text.trimEnd().split("\n").at(-1) ?? "");
    expect(await verdict()).toMatchObject({ verdict: "sound", problems: [] });
    writeFileSync(file, "");
    expect(await verdict()).toMatchObject({
      verdict: "damaged",
      problems: [{ what: "subscriptions", where: "The file subscriptions.sqlite is empty." }],
    });
    problem(await ask("GET", `${API}/db/hurt/subscriptions/s`), 503, "SUBSCRIPTIONS_DAMAGED");
    problem(await ask("PUT", `${API}/db/hurt/subscriptions/s`, { body: {} }), 503, "SUBSCRIPTIONS_DAMAGED");
    expect((await ask("PUT", `${API}/db/hurt/docs/c/d`, { body: {} })).status).toBe(201);
    expect((await ask("GET", "/status")).status).toBe(200);
  });
});

test("nothing of this was a failure of the server", () => {
  expect(server.log()).not.toMatch(/Unhandled|TypeError|RangeError/);
});
