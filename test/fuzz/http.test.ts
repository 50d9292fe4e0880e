import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { WebSocket } from "ws";
import { CborWriter, decodeCborSequence } from "../../src/ids/cbor.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { API, TX, openWire, startHttp } from "../http/fixture.ts";
import { seedOf } from "../support/fault-process.ts";
import { runSkald } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { FACTOR, Random } from "./harness.ts";
import { spoilt, spoiltText } from "./mutate.ts";

/** Hostile requests, raw bytes and frames against the real server; after each burst an honest one works. */

const seed = seedOf();
const dir = tempDir();
const { ask, server } = await startHttp(dir);
const random = new Random(seed);
const times = (n: number): number => Math.ceil(n * FACTOR);

beforeAll(async () => {
  expect((await ask("PUT", `${API}/db/notes`)).status).toBe(201);
  expect((await ask("PUT", `${API}/db/notes/docs/c/k`, { body: { a: 1 } })).status).toBe(201);
});

let honest = 0;
/** What must work whatever came before: a write, its value read back, and no failure in the log. */
afterEach(async () => {
  if (server.process.exitCode === 0) return;
  honest += 1;
  const doc = `${API}/db/notes/docs/honest/n`;
  const written = await ask("PUT", doc, { body: { honest } });
  expect([200, 201]).toContain(written.status);
  expect((await ask("GET", doc)).json).toEqual({ honest });
  expect((await ask("GET", "/metrics")).text).toMatch(/^skald_failures_total 0$/m);
  expect(server.process.exitCode).toBeNull();
});

const TEXTS = [
  "notes",
  "c",
  "k",
  "honest",
  "..",
  "%2e%2e",
  "%00",
  "a%2Fb",
  "%F0%9F%98%80",
  "%ff",
  "x".repeat(600),
  "~",
  "0",
  "-1",
];
const VALUES = [
  "1",
  "0",
  "99999",
  "true",
  "main",
  "2026-01-01T00:00:00Z",
  "/a",
  "",
  "%",
  "%ff",
  "[]",
  "__proto__",
  "b".repeat(59),
];
const NAMES = [
  "at",
  "branch",
  "limit",
  "cursor",
  "collection",
  "prefix",
  "values",
  "paths",
  "from",
  "to",
  "dry_run",
  "confirm",
  "x",
];
const BODIES = [
  '{"writes":[{"doc":"c/k","value":{"a":[1,{"b":null}]}}]}',
  '{"writes":[{"doc":"c/k","patch":{"a":{"__proto__":1}}},{"doc":"c/l","delete":true}]}',
  '[{"op":"add","path":"/a","value":1},{"op":"copy","from":"","path":"/b"}]',
  '{"label":"l","scopes":["notes:doc.read"]}',
  '{"a":9007199254740993,"b":"\\ud83d\\ude00"}',
];
const routes = MOUNTS.flatMap(({ base, routes: list }) => list.map((route) => ({ base, route })));
const value = (): string =>
  random.chance(0.3)
    ? encodeURIComponent(spoiltText("abc/d e", random, VALUES).toWellFormed())
    : random.pick(VALUES);

function request(): {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | Uint8Array;
} {
  const { base, route } = random.pick(routes);
  const path = route.path.replaceAll(/:\w+/g, () =>
    random.chance(0.6) ? random.pick(["notes", "c", "k", "main", "1"]) : random.pick(TEXTS),
  );
  const query = Array.from({ length: random.below(4) }, () => `${random.pick(NAMES)}=${value()}`).join("&");
  const types = Object.keys(route.body?.types ?? { "text/plain": 0 });
  const headers: Record<string, string> = { "content-type": random.chance(0.9) ? random.pick(types) : "x/y" };
  if (random.chance(0.2)) headers["if-match"] = random.pick(["*", '"x"', '"', 'W/"a", "b"', '"'.repeat(500)]);
  if (random.chance(0.1))
    headers["idempotency-key"] = random.pick(['"a"', "é".slice(0, 0) + "b", "c d", "x".repeat(300)]);
  if (random.chance(0.1))
    headers["accept"] = random.pick(["*/*", "application/automerge", "text/html;q=2", ",;,"]);
  if (random.chance(0.05)) headers["content-encoding"] = "gzip";
  const text = random.pick(BODIES);
  const body = random.chance(0.3)
    ? text
    : random.chance(0.5)
      ? spoiltText(text, random, BODIES)
      : spoilt(Buffer.from(text), random, []);
  // Without it the client leaves the length out for some methods, and a body is the next request.
  const bare = route.method === "GET" || (route.method === "DELETE" && random.chance(0.8));
  return {
    method: route.method,
    path: `${base}${path}${query ? `?${query}` : ""}`,
    headers: { ...headers, "content-length": String(bare ? 0 : Buffer.byteLength(body)) },
    body: bare ? "" : body,
  };
}

test(`requests of every route, spoilt, are answered with a code (seed ${seed})`, async () => {
  const seen = new Set<number>();
  const bad: unknown[] = [];
  for (let i = 0; i < times(2500); i += 8) {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { method, path, headers, body } = request();
        // Deleting the db and compacting it are honest work; what comes after should find it.
        if (method === "DELETE" && /\/db\/notes(\?|$)/.test(path)) return;
        const reply = await ask(method, path, { headers, body }).catch((error: unknown) => String(error));
        if (typeof reply === "string") {
          bad.push({ method, path, headers, body: String(body), error: reply });
          return;
        }
        seen.add(reply.status);
        const coded = reply.status < 400 || typeof reply.json?.["code"] === "string";
        if (reply.status === 500 || !coded || (reply.status >= 400 && reply.text.length > 100_000))
          bad.push({
            method,
            path,
            headers,
            body: String(body),
            status: reply.status,
            text: reply.text.slice(0, 300),
          });
      }),
    );
  }
  expect(bad).toEqual([]);
  expect(seen.size).toBeGreaterThan(4);
}, 180_000);

const RAW = [
  () => `GET ${API}/db/notes/docs/c/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ask.admin}\r\n\r\n`,
  () => post("", `content-length: ${BODY.length}\r\n`, BODY),
  () => post("", "transfer-encoding: chunked\r\n", `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`),
  () =>
    post(
      "",
      "transfer-encoding: chunked\r\n",
      `5;x=y\r\n${BODY.slice(0, 5)}\r\n${(BODY.length - 5).toString(16)}\r\n${BODY.slice(5)}\r\n0\r\nt: u\r\n\r\n`,
    ),
  () =>
    `GET ${TX} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${"A".repeat(22)}==\r\nsec-websocket-protocol: skald.tx.1\r\nauthorization: Bearer ${ask.admin}\r\n\r\n`,
];
const BODY = '{"writes":[{"doc":"raw/cut","value":{}}],"expect_seq":999999}';
const post = (version: string, headers: string, body: string): string =>
  `POST ${TX} HTTP/1.1${version}\r\nhost: x\r\nauthorization: Bearer ${ask.admin}\r\ncontent-type: application/json\r\n${headers}\r\n${body}`;
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
const LINES = [
  "content-length: 0\r\n",
  "transfer-encoding: chunked\r\n",
  "Content-Length : 5\r\n",
  "transfer-encoding:\tchunked\r\n",
  "x: \0\r\n",
  "host: y\r\n",
  "expect: 100-continue\r\n",
  "connection: close, upgrade\r\n",
  " folded\r\n",
  "upgrade: h2c\r\n",
  SMUGGLED,
  "0\r\n\r\n",
  "ffffffffffffffff\r\n",
];

function raw(): string {
  const text = random.pick(RAW)();
  const share = random.below(10);
  if (share < 2) return text.slice(0, random.below(text.length));
  if (share < 6) {
    const lines = text.split(/(?<=\r\n)/);
    lines.splice(random.below(lines.length + 1), random.below(2), random.pick(LINES));
    return lines.join("");
  }
  if (share < 9) return spoiltText(text, random, [text, ...LINES]);
  return `${text}${SMUGGLED}${text}`;
}

/** Sends bytes in pieces and hangs up. Resolves with what came within `ms`. */
async function send(bytes: Buffer, ms = 40): Promise<string> {
  const wire = openWire(ask.port);
  const middle = random.below(bytes.length + 1);
  wire.socket.write(bytes.subarray(0, middle));
  await new Promise((resolve) => setImmediate(resolve));
  wire.socket.write(bytes.subarray(middle));
  await Promise.race([wire.closed().catch(() => ""), new Promise((resolve) => setTimeout(resolve, ms))]);
  const text = wire.text();
  wire.socket.destroy();
  return text;
}

test(`raw bytes, cut and joined anywhere (seed ${seed})`, async () => {
  const bad: unknown[] = [];
  for (let i = 0; i < times(1500); i += 30) {
    await Promise.all(
      Array.from({ length: 30 }, async () => {
        const bytes = Buffer.from(raw(), "latin1");
        const text = await send(bytes);
        if (
          /^HTTP\/1\.1 500|\bat .*\(.*:\d+:\d+\)/m.test(text) ||
          (text !== "" && !text.startsWith("HTTP/1.1 "))
        )
          bad.push({ sent: bytes.toString("latin1"), text: text.slice(0, 300) });
      }),
    );
  }
  expect(bad).toEqual([]);
  // What each of them asked to write was for a seq that the db is not at.
  expect((await ask("GET", `${API}/db/notes/docs/raw/cut`)).status).toBe(404);
}, 180_000);

test("floods of headers end their own connection", async () => {
  const flood = [
    `GET / HTTP/1.1\r\nhost: x\r\n${"a: b\r\n".repeat(4000)}\r\n`,
    `GET / HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(200_000)}\r\n\r\n`,
    `${"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2000)}`,
    "\r\n".repeat(100_000),
    `GET /?${"a&".repeat(7000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
  ];
  for (const text of flood) await send(Buffer.from(text), 300);
  expect((await ask("GET", "/healthz")).status).toBe(200);
}, 60_000);

/** A client's frame, masked unless told. */
function frame(
  opcode: number,
  payload: Uint8Array,
  { fin = true, masked = true, reserved = 0, length = payload.length } = {},
): Buffer {
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
  const mask = masked ? 0x80 : 0;
  if (length < 126) head.push(mask | length);
  else if (length < 65_536) head.push(mask | 126, length >> 8, length & 255);
  else {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(length));
    head.push(mask | 127, ...long);
  }
  const key = masked ? randomBytes(4) : Buffer.alloc(0);
  const body = masked
    ? Buffer.from(payload.map((byte, i) => byte ^ (key[i % 4] as number)))
    : Buffer.from(payload);
  return Buffer.concat([Buffer.from(head), key, body]);
}

/** What a socket is told before it closes; undefined when it stays open. */
async function hostile(frames: Buffer, ms = 60): Promise<{ open: boolean; text: string }> {
  const wire = openWire(ask.port);
  wire.socket.write((RAW[4] as () => string)());
  await wire.until(/101 Switching/);
  wire.socket.write(frames);
  const ended = await Promise.race([
    wire.closed().then(() => true),
    new Promise<boolean>((resolve) => setTimeout(resolve, ms, false)),
  ]);
  const text = wire.text();
  wire.socket.destroy();
  return { open: !ended, text };
}

function transaction(id: number): Uint8Array {
  const w = new CborWriter();
  w.map(2);
  w.text("id");
  w.uint(id);
  w.text("writes");
  w.array(1);
  w.map(2);
  w.text("doc");
  w.text("c/k");
  w.text("changes");
  w.array(1);
  w.bytes(new Uint8Array(60));
  return w.take();
}

test(`frames of every shape (seed ${seed})`, async () => {
  const good = transaction(1);
  const shape = (): Buffer => {
    const payload = random.chance(0.5) ? spoilt(good, random, [transaction(70_000)]) : good;
    switch (random.below(8)) {
      case 0:
        return frame(2, payload, { masked: false });
      case 1:
        return frame(random.below(16), payload, { reserved: random.below(8) });
      case 2:
        return Buffer.concat([
          frame(2, payload.slice(0, 9), { fin: false }),
          frame(0, payload.slice(9), { fin: random.chance(0.7) }),
        ]);
      case 3:
        return Buffer.concat(
          Array.from({ length: 500 }, () => frame(9, payload.slice(0, random.below(126)))),
        );
      case 4:
        return frame(
          8,
          Buffer.concat([
            Buffer.from([random.below(256), random.below(256)]),
            Buffer.from(payload.slice(0, 20)),
          ]),
        );
      case 5:
        return frame(2, payload, { length: random.pick([0, 126, 65_536, 2 ** 24 + 1, 2 ** 31, 2 ** 52]) });
      case 6:
        return Buffer.from(spoilt(frame(2, payload), random, []));
      default:
        return frame(2, payload);
    }
  };
  for (let i = 0; i < times(600); i += 30) {
    await Promise.all(Array.from({ length: 30 }, () => hostile(shape())));
  }
}, 120_000);

test.each<[string, () => Uint8Array]>([
  // Looked through by its indexes, each of these held the server for up to 20 seconds.
  [
    "a write that is a byte string",
    () => {
      const w = new CborWriter();
      w.map(2);
      w.text("id");
      w.uint(1);
      w.text("writes");
      w.array(1);
      w.bytes(new Uint8Array(15 * 1024 * 1024));
      return w.take();
    },
  ],
  [
    "a list of sixteen million",
    () => Buffer.concat([Buffer.from([0x9a, 0, 0xff, 0, 0]), Buffer.alloc(0xff0000, 0xa0)]),
  ],
  [
    "a document's name of ten million letters",
    () => {
      const w = new CborWriter();
      w.map(2);
      w.text("id");
      w.uint(1);
      w.text("writes");
      w.array(1);
      w.map(2);
      w.text("doc");
      w.text("x".repeat(10_000_000));
      w.text("changes");
      w.array(1);
      w.bytes(new Uint8Array(1));
      return w.take();
    },
  ],
])(
  "a frame with %s is refused while others are answered",
  async (_, make) => {
    const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${TX}`, "skald.tx.1", {
      headers: { authorization: `Bearer ${ask.admin}` },
    });
    await once(ws, "open");
    const cpu = async (): Promise<number> =>
      Number(/^process_cpu_seconds_total (\S+)/m.exec((await ask("GET", "/metrics")).text)?.[1]);
    const before = await cpu();
    const heard = new Promise<string>((resolve) => {
      ws.once("message", (data: Buffer) => {
        const [answer] = [...decodeCborSequence(data)] as { error?: { code: string } }[];
        resolve(answer?.error?.code ?? "none");
      });
      ws.once("close", (code) => resolve(String(code)));
    });
    ws.send(make());
    expect(["BAD_REQUEST", "NAME_INVALID", "1007"]).toContain(await heard);
    // Taking 16 MiB off the wire costs some tenths of a second; what it did before cost six and more.
    expect((await cpu()) - before).toBeLessThan(3);
    ws.terminate();
  },
  60_000,
);

test("the last letter of an address is one that an address has", async () => {
  const { commit } = (await ask("GET", `${API}/db/notes`)).json as { commit: string };
  for (const last of "abcdefghijklmnopqrstuvwxyz234567") {
    const reply = await ask("GET", `${API}/db/notes/docs/honest/n?at=${commit.slice(0, -1)}${last}`);
    expect([200, 400, 404]).toContain(reply.status);
  }
});

test("a refusal repeats no more of a value than it needs", async () => {
  const half = Array.from({ length: 30 }, () => '"\\ud800"').join();
  const body = `{"${"k".repeat(1_000_000)}":[${half}]}`;
  const headers = { "content-type": "application/json" };
  const reply = await ask("PUT", `${API}/db/notes/docs/c/long`, { headers, body });
  expect(reply.json).toMatchObject({ status: 422, code: "VALUE_INVALID" });
  expect(reply.text.length).toBeLessThan(100_000);
});

// Takes a worker its whole ten seconds, so it is for the long hunt.
if (FACTOR > 1)
  test("a patch that doubles the document sixty times is given up, and the worker with it", async () => {
    const patch = Array.from({ length: 60 }, (_, i) => ({ op: "copy", from: "", path: `/x${i}` }));
    const headers = { "content-type": "application/json-patch+json" };
    const reply = await ask("PATCH", `${API}/db/notes/docs/c/k`, { headers, body: JSON.stringify(patch) });
    expect([409, 413, 422]).toContain(reply.status);
  }, 60_000);

test("after all of it the log is sound", async () => {
  expect(await server.stop()).toBe(0);
  const { code, out, err } = await runSkald(["verify", "notes", "--dir", dir]);
  expect({ code, err }).toMatchObject({ code: 0 });
  expect(out + err).toMatch(/sound/);
  // What runs after each test would ask a server that has gone.
  expect(server.process.exitCode).toBe(0);
});
