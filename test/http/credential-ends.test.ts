import { once } from "node:events";
import { request, type ClientRequest } from "node:http";
import { WebSocket } from "ws";
import { Vigil } from "../../src/auth/vigil.ts";
import { readConfig } from "../../src/config.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { SOCKETS } from "../../src/http/upgrade.ts";
import { startService, type Service } from "../../src/service.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API } from "./fixture.ts";

/**
 * Everything that a client can have open, idle, by every way in which what it came with ends. Nothing happens in the
 * db meanwhile, and heartbeats are a minute apart: what ends is ended because somebody saw to it.
 */
const DB = `${API}/db/notes`;
const BEAT = "heartbeat=60000";
const SQL = "SELECT 1 AS n";
const GRAPH = { doc: "k/a", schema: true };
const HANG = 30_000;

interface Held {
  readonly kind: string;
  /** How it ended: the code that its client was given. */
  readonly ended: Promise<string>;
  readonly close: () => void;
}
type Open = (token: string) => Promise<Held>;

let service: Service;
let port: number;
let admin: string;

async function api(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const reply = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { authorization: `Bearer ${admin}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${text}`);
  return (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
}

function asked(
  method: string,
  path: string,
  token: string,
  more: Record<string, string> = {},
): ClientRequest {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", ...more };
  return request({ host: "127.0.0.1", port, method, path, headers });
}

/** Long polls that wait now, as the server says, and how many there are to be. */
let polls = 0;
async function waits(): Promise<number> {
  const headers = { authorization: `Bearer ${admin}` };
  const reply = await fetch(`http://127.0.0.1:${port}/metrics`, { headers });
  return Number(/kind="longpoll"\} (\d+)/.exec(await reply.text())?.[1]);
}

/** An event stream, after its first bytes; its code is that of its last event. */
const stream =
  (kind: string, method: "GET" | "POST", path: string, body?: object): Open =>
  async (token) => {
    const req = asked(method, path, token, { accept: "text/event-stream" });
    req.end(body && JSON.stringify(body));
    const [res] = (await once(req, "response")) as [NodeJS.ReadableStream & { statusCode: number }];
    if (res.statusCode !== 200) throw new Error(`${kind}: ${res.statusCode}`);
    let text = "";
    res.setEncoding("utf8");
    const ended = new Promise<string>((resolve) => {
      res.on("data", (part: string) => (text += part));
      res.on("error", () => {});
      res.on("close", () => resolve(/"code":"(\w+)"/.exec(text)?.[1] ?? `broke off after ${text}`));
    });
    await once(res, "data");
    return { kind, ended, close: () => req.destroy() };
  };

/** A request that waits for something that does not come. */
const waiting =
  (kind: string, path: string): Open =>
  async (token) => {
    polls += 1;
    const req = asked("GET", path, token);
    const ended = new Promise<string>((resolve) => {
      req.on("error", () => resolve("broke off"));
      req.on("response", (res) => {
        let text = "";
        res.setEncoding("utf8").on("data", (part: string) => (text += part));
        res.on("close", () => resolve(/"code":"(\w+)"/.exec(text)?.[1] ?? text));
      });
    });
    req.end();
    while ((await waits()) < polls);
    return { kind, ended, close: () => req.destroy() };
  };

/** A WebSocket, once it is open and has said what it says at first. */
const socket =
  (kind: string, path: string, protocol?: string, speaks = true): Open =>
  async (token) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocol === undefined ? [] : [protocol], {
      headers: { authorization: `Bearer ${token}` },
    });
    const ended = once(ws, "close").then(([code, reason]) => {
      const text = String(reason as Buffer).split(" ")[0] as string;
      return code === 1008 ? text : `${String(code)} ${text}`;
    });
    await once(ws, speaks ? "message" : "open");
    return { kind, ended, close: () => ws.terminate() };
  };

/** An upload of which only the beginning comes. */
const upload =
  (kind: string, path: string, type: string): Open =>
  async (token) => {
    const req = asked("POST", path, token, { "content-type": type, "transfer-encoding": "chunked" });
    const ended = new Promise<string>((resolve) => {
      req.on("error", () => resolve("broke off"));
      req.on("response", (res) => resolve(String(res.statusCode)));
    });
    // The length of an archive's header, of which nothing follows.
    req.write(Buffer.of(0x3a));
    // Its head has been taken in when a later request on the same server is answered.
    await api("GET", DB);
    return { kind, ended, close: () => req.destroy() };
  };

const EVENTS = `${DB}/subscriptions/mailer`;
/** By `method path` of a route that stays; a route may be open in several ways. */
const STREAMS: Readonly<Record<string, readonly Open[]>> = {
  "GET /db/:db/changes": [
    stream("feed", "GET", `${DB}/changes?${BEAT}`),
    waiting("long poll", `${DB}/changes?feed=longpoll&since=now&timeout=60000`),
  ],
  "GET /db/:db/subscriptions/:name/events": [
    stream("subscription", "GET", `${EVENTS}/events?${BEAT}&consumer=a`),
    waiting("subscription's long poll", `${EVENTS}-2/events?feed=longpoll&timeout=60000`),
  ],
  "GET /db/:db/query/watch": [
    stream("watch by GET", "GET", `${DB}/query/watch?${BEAT}&sql=${encodeURIComponent(SQL)}`),
  ],
  "POST /db/:db/query/watch": [
    stream("watch by POST", "POST", `${DB}/query/watch`, { sql: SQL, heartbeat: 60_000 }),
  ],
  "GET /db/:db/query/graph/watch": [
    stream(
      "graph watch by GET",
      "GET",
      `${DB}/query/graph/watch?${BEAT}&q=${encodeURIComponent(JSON.stringify(GRAPH))}`,
    ),
  ],
  "POST /db/:db/query/graph/watch": [
    stream("graph watch by POST", "POST", `${DB}/query/graph/watch?${BEAT}`, GRAPH),
  ],
};

/** By the path of a socket's pattern. */
const WEBSOCKETS: Readonly<Record<string, Open>> = {
  [`${DB}/branches/main/tx`]: socket("tx socket", `${DB}/branches/main/tx`, "skald.tx.1", false),
  [`${DB}/changes`]: socket("feed socket", `${DB}/changes?${BEAT}`),
  [`${EVENTS}/events`]: socket("subscription socket", `${EVENTS}-3/events`, "skald.subscription.1"),
  [`${DB}/query/watch`]: socket("watch socket", `${DB}/query/watch?${BEAT}&sql=${encodeURIComponent(SQL)}`),
  [`${DB}/sync`]: socket("sync socket", `${DB}/sync`, undefined, false),
  "/": socket("sync root", "/", undefined, false),
};

/** Requests that are not answered because their body does not come. */
const UPLOADS: readonly Open[] = [
  upload("import", `${DB.replace("notes", "copy")}/import`, "application/vnd.ipld.car"),
];

const EVERYTHING = [...Object.values(STREAMS).flat(), ...Object.values(WEBSOCKETS), ...UPLOADS];
const REFUSED = new Set(["UNAUTHENTICATED", "broke off"]);

beforeAll(async () => {
  const config = readConfig(
    { dir: tempDir(), port: "0", logLevel: "silent", workers: "1", queryProcesses: "1", syncRoot: "notes" },
    {},
  );
  service = await startService(config, { listen: true });
  port = Number(new URL(service.url as string).port);
  admin = service.firstToken as string;
  await api("PUT", `${DB}/docs/k/a`, { n: 1 });
  for (const name of ["mailer", "mailer-2", "mailer-3"])
    await api("PUT", `${DB}/subscriptions/${name}`, { from: "now" });
}, HANG);

afterAll(() => service.stop("the tests are over"));

async function tokenOf(more: object = {}): Promise<{ id: string; token: string }> {
  const made = await api("POST", `${API}/admin/tokens`, {
    label: "t",
    scopes: ["*:*"],
    subject: "admin",
    ...more,
  });
  return made as unknown as { id: string; token: string };
}

async function openAll(token: string): Promise<Held[]> {
  const held: Held[] = [];
  polls = 0;
  while ((await waits()) > 0);
  for (const open of EVERYTHING) held.push(await open(token));
  return held;
}

test("every route whose answer stays, and every socket, is among what is opened here", () => {
  const routes = MOUNTS.flatMap(({ routes }) => routes).filter(({ stays }) => stays);
  expect(routes.map(({ method, path }) => `${method} ${path}`).toSorted()).toEqual(
    Object.keys(STREAMS).toSorted(),
  );
  for (const { pattern } of SOCKETS)
    expect([pattern.source, Object.keys(WEBSOCKETS).some((path) => pattern.test(path))]).toEqual([
      pattern.source,
      true,
    ]);
  expect(Object.keys(WEBSOCKETS)).toHaveLength(SOCKETS.length);
});

test.each<[string, (token: { id: string; token: string }) => Promise<unknown>, object?]>([
  ["its token is revoked", ({ id }) => api("DELETE", `${API}/admin/tokens/${id}`)],
  [
    "its token was replaced and the overlap is over",
    ({ id }) => api("POST", `${API}/admin/tokens/${id}/rotate`, { overlap_seconds: 1 }),
  ],
])(
  "whatever is open and idle ends when %s",
  async (_, end) => {
    const made = await tokenOf();
    const held = await openAll(made.token);
    await end(made);
    const codes = await Promise.all(held.map(async ({ kind, ended }) => [kind, await ended] as const));
    expect(codes.filter(([, code]) => !REFUSED.has(code))).toEqual([]);
    // Streams and sockets say why.
    const said = codes.filter(([, code]) => code === "UNAUTHENTICATED");
    expect(said.length).toBe(EVERYTHING.length - UPLOADS.length);
  },
  HANG,
);

test(
  "the net is seen to hold: without the vigil all of it stays open after the token has gone",
  async () => {
    const { add } = Object.getOwnPropertyDescriptors(Vigil.prototype);
    const made = await tokenOf();
    Vigil.prototype.add = () => () => {};
    try {
      const held = await openAll(made.token);
      await api("DELETE", `${API}/admin/tokens/${made.id}`);
      const early: string[] = [];
      for (const { kind, ended } of held) void ended.then((code) => early.push(`${kind}: ${code}`));
      await once(AbortSignal.timeout(1500), "abort");
      expect(early).toEqual([]);
      for (const { close } of held) close();
      await Promise.all(held.map(({ ended }) => ended));
    } finally {
      Object.defineProperty(Vigil.prototype, "add", add);
    }
  },
  HANG,
);
