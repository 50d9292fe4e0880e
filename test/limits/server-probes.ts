import { jest } from "@jest/globals";
import { once } from "node:events";
import { WebSocket } from "ws";
import { decodeCborSequence, encodeCbor } from "../../src/ids/cbor.ts";
import { Load } from "../../src/http/load.ts";
import { LIMITS } from "../../src/limits.ts";
import { API, openWire, type Wire } from "../http/fixture.ts";
import { outcomeIn, type ProbeSpec } from "./probe.ts";
import { CHANGE } from "./request-probes.ts";
import { DB, TX, ask, small, type Own } from "./server.ts";

/** The server of the table still answers, and its log has grown by nothing that was refused. */
export async function alive(): Promise<void> {
  expect((await ask("GET", "/readyz")).status).toBe(200);
  expect((await ask("GET", `${DB}/docs/k/seed`)).json).toEqual({ n: 1 });
}

const x = (count: number): string => "x".repeat(count);
/** A close frame with code 1003, whatever its length. */
const CLOSE_1003 = "\u0088[^]\u0003\u00eb";
const JSON_TYPE = { "content-type": "application/json" };

/** What a bare connection hears: the code of the problem, "ok" for an answer that is none, "closed". */
async function heard(wire: Wire): Promise<string> {
  const text = await wire.until(/^HTTP\/1\.1 \d{3} [^]*\r\n\r\n[^]*\}/).catch(() => "");
  if (text === "") return "closed";
  return /"code":"([A-Z_]+)"/.exec(text)?.[1] ?? "ok";
}

async function sent(port: number, text: string): Promise<string> {
  const wire = openWire(port);
  wire.socket.write(text);
  const outcome = await heard(wire);
  wire.socket.destroy();
  return outcome;
}

const head = (token: string, method: string, path: string, more = ""): string =>
  `${method} ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${more}\r\n`;

/** A request that has begun and waits for `missing` of its body. */
function begun(own: Own, size: number, missing: number, path = TX, token = own.token): Wire {
  const wire = openWire(own.port);
  const type = path === TX ? "application/json" : "application/automerge";
  wire.socket.write(
    head(token, "POST", path, `content-type: ${type}\r\ncontent-length: ${size}\r\n`) + x(size - missing),
  );
  return wire;
}

/** Does `work` once the server has taken all that was sent before it on other connections. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 50));
}

async function withWires<T>(wires: Wire[], work: () => Promise<T>): Promise<T> {
  try {
    await settled();
    return await work();
  } finally {
    for (const { socket } of wires) socket.destroy();
    await settled();
  }
}

const lazily = (limits: Parameters<typeof small>[0]): (() => Promise<Own>) => {
  let own: Promise<Own> | undefined;
  return () => (own ??= small(limits));
};
const few = lazily({ requestsAtOnce: 3, heldBytes: 1000 });
const fewConnections = lazily({ connections: 8 });
const fewJobs = lazily({ jobsAtOnce: 3, jobsPerToken: 2 });
const fewRates = {
  rateTotal: lazily({ rateTotal: 40 }),
  rateToken: lazily({ rateToken: 40 }),
  rateAddress: lazily({ rateAddress: 40 }),
  rateRefused: lazily({ rateRefused: 5 }),
  rateSignIn: lazily({ rateSignIn: 5 }),
};
const fewSockets = lazily({ sockets: 3, socketsPerToken: 2 });
const hasty = lazily({ headMs: 300, requestMs: 600, idleMs: 300 });
const impatient = lazily({ stalledMs: 2000, unreadMs: 2000 });
const IMPORT = `${DB}/docs/k/i/import`;

test("a server that is made without limits of its own has those of the table", () => {
  const { http, socket, feed, repo } = LIMITS;
  const table = { ...repo, ...feed, ...http, ...socket } as Record<string, { value: number }>;
  for (const [name, value] of Object.entries(new Load().limits))
    expect([name, value]).toEqual([name, table[name]?.value]);
});

const tokens = new Map<string, Promise<string>>();
function tokenOf(own: Own, name: string): Promise<string> {
  const key = `${own.port} ${name}`;
  const made =
    tokens.get(key) ??
    Promise.resolve(own.service.engine).then(async () => {
      const reply = await fetch(`${own.service.url}${API}/admin/tokens`, {
        method: "POST",
        headers: { authorization: `Bearer ${own.token}`, ...JSON_TYPE },
        body: JSON.stringify({ label: name, scopes: ["*:*"] }),
      });
      return ((await reply.json()) as { token: string }).token;
    });
  tokens.set(key, made);
  return made;
}

/** A late request hears why: `ms` beyond the made value stands for one that is never finished. */
async function late(ms: number, made: number, text: (own: Own) => string, rest: string): Promise<string> {
  const own = await hasty();
  const wire = openWire(own.port);
  wire.socket.write(text(own));
  if (ms <= made) wire.socket.write(rest);
  const outcome = await heard(wire);
  wire.socket.destroy();
  return outcome;
}

/** A rate that is used up by other requests but for the one that is looked at. */
function rateProbes(): Record<string, ProbeSpec> {
  const probe = (
    name: keyof typeof fewRates,
    made: number,
    path: string,
    authorized: boolean,
  ): ProbeSpec => ({
    made,
    run: async (n) => {
      const own = await fewRates[name]();
      const used = usedOf.get(own) ?? (name === "rateRefused" || name === "rateSignIn" ? 0 : 1);
      let outcome = "ok";
      // Some come back while a busy machine is at it.
      for (let i = used; i < n || (n > made && outcome === "ok" && i < made * 10); i += 1) {
        const authorization = authorized ? `Bearer ${own.token}` : "Bearer skald_none";
        const reply = await fetch(`${own.service.url}${path}`, { headers: { authorization } });
        const { code } = (await reply.json()) as { code?: string };
        outcome = code === "RATE_LIMITED" ? code : "ok";
      }
      usedOf.set(own, n);
      return outcome;
    },
  });
  return {
    rateTotal: probe("rateTotal", 40, "/status", true),
    rateToken: probe("rateToken", 40, "/status", true),
    rateAddress: probe("rateAddress", 40, "/status", true),
    rateRefused: probe("rateRefused", 5, "/status", false),
    rateSignIn: probe("rateSignIn", 5, "/auth/nothing", true),
  };
}

/** Requests that a server has counted so far; making its db was one. */
const usedOf = new Map<Own, number>();

export const httpProbes: Readonly<Record<string, ProbeSpec>> = {
  connections: {
    made: 8,
    run: async (n) => {
      const own = await fewConnections();
      const wires = Array.from({ length: n - 1 }, () => openWire(own.port));
      return withWires(wires, () => sent(own.port, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"));
    },
  },
  headBytes: {
    cheap: true,
    run: (n) => {
      const counted = "/healthz" + "host" + "x" + "x";
      return sent(ask.port, `GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${x(n - counted.length)}\r\n\r\n`);
    },
  },
  headers: {
    cheap: true,
    run: (n) => sent(ask.port, `GET /healthz HTTP/1.1\r\nhost: x\r\n${"a: b\r\n".repeat(n - 1)}\r\n`),
  },
  urlBytes: {
    cheap: true,
    run: async (n) => {
      const start = `${DB}/docs/k/seed?path=/`;
      return outcomeIn(await ask("GET", start + x(n - start.length)));
    },
  },
  headMs: {
    made: 300,
    run: (ms) => late(ms, 300, () => "GET /healthz HTTP/1.1\r\nhost: x\r\n", "\r\n"),
  },
  requestMs: {
    made: 600,
    run: (ms) =>
      late(
        ms,
        600,
        (own) =>
          head(
            own.token,
            "POST",
            `${TX}?dry_run=true`,
            "content-type: application/json\r\ncontent-length: 39\r\n",
          ),
        '{"writes":[{"doc":"big/a","value":{}}]}',
      ),
  },
  idleMs: {
    made: 300,
    run: async (ms) => {
      const own = await hasty();
      const wire = openWire(own.port);
      const get = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
      wire.socket.write(get);
      await wire.until(/\{"ok":true\}/);
      if (ms > 300) {
        await wire.closed();
        return "closed";
      }
      wire.socket.write(get);
      await wire.until(/(\{"ok":true\}[^]*){2}/);
      wire.socket.destroy();
      return "ok";
    },
  },
  stalledMs: {
    made: 2000,
    run: async (ms) => {
      const own = await impatient();
      await fetch(`${own.service.url}${DB}/docs/large/a`, {
        method: "PUT",
        headers: { authorization: `Bearer ${own.token}`, ...JSON_TYPE },
        body: JSON.stringify({ text: "x".repeat(700_000) }),
      });
      const { socket } = openWire(own.port);
      const gone = new Promise((resolve) => socket.once("close", resolve));
      // More than what the kernel takes off the server's hands.
      socket.write(head(own.token, "GET", `${DB}/docs/large/a`).repeat(30));
      socket.pause();
      await new Promise((resolve) => setTimeout(resolve, ms > 2000 ? 7000 : 50));
      let bytes = 0;
      socket.on("data", (part: Buffer) => (bytes += part.length));
      socket.resume();
      while (bytes < 21_000_000 && !socket.destroyed) await settled();
      if (bytes >= 21_000_000) socket.destroy();
      await gone;
      return bytes >= 21_000_000 ? "ok" : "closed";
    },
  },
  bodyBytes: {
    run: async (n) => {
      const body = '{"writes":[{"doc":"big/a","value":{}}]}'.padEnd(n);
      return outcomeIn(await ask("POST", `${TX}?dry_run=true`, { headers: JSON_TYPE, body }));
    },
  },
  importBytes: {
    run: async (n) => {
      // Bytes of no file: that is found once they are all there.
      const headers = { "content-type": "application/automerge" };
      return outcomeIn(await ask("POST", IMPORT, { headers, body: Buffer.alloc(n) }), "CHANGE_MALFORMED");
    },
  },
  heldBytes: {
    made: 1000,
    cheap: true,
    run: async (n) => {
      const own = await few();
      const body = '{"writes":[{"doc":"big/a","value":{}}]}'.padEnd(n - 500);
      return withWires([begun(own, 501, 1)], () =>
        sent(
          own.port,
          head(
            own.token,
            "POST",
            `${TX}?dry_run=true`,
            `content-type: application/json\r\ncontent-length: ${body.length}\r\n`,
          ) + body,
        ),
      );
    },
  },
  skippedBytes: {
    cheap: true,
    run: async (n) => {
      const wire = openWire(ask.port);
      wire.socket.write(`POST ${TX} HTTP/1.1\r\nhost: x\r\ncontent-length: ${n}\r\n\r\n`);
      const text = await wire.until(/^HTTP\/1\.1 401 [^]*\r\n\r\n/);
      wire.socket.destroy();
      return /^connection: close/im.test(text) ? "closed" : "ok";
    },
  },
  requestsAtOnce: {
    made: 3,
    cheap: true,
    run: async (n) => {
      const own = await few();
      return withWires(
        Array.from({ length: n - 1 }, () => begun(own, 10, 1)),
        () => sent(own.port, head(own.token, "GET", DB)),
      );
    },
  },
  jobsAtOnce: {
    made: 3,
    run: async (n) => {
      const own = await fewJobs();
      const names = await Promise.all(Array.from({ length: n - 1 }, (_, i) => tokenOf(own, `t${i}`)));
      return withWires(
        names.map((token) => begun(own, 10, 1, IMPORT, token)),
        () => sent(own.port, head(own.token, "POST", `${DB}/compact`)),
      );
    },
  },
  jobsPerToken: {
    made: 2,
    run: async (n) => {
      const own = await fewJobs();
      return withWires(
        Array.from({ length: n - 1 }, () => begun(own, 10, 1, IMPORT)),
        () => sent(own.port, head(own.token, "POST", `${DB}/rebuild`)),
      );
    },
  },
  ...rateProbes(),
  requestIdCharacters: {
    cheap: true,
    run: async (n) => {
      const reply = await ask("GET", "/healthz", { headers: { "x-request-id": x(n) } });
      return reply.headers["x-request-id"] === x(n) ? "ok" : "ignored";
    },
  },
  authorizationCharacters: {
    cheap: true,
    run: async (n) => {
      const authorization = `Bearer${" ".repeat(n - 6 - ask.admin.length)}${ask.admin}`;
      return outcomeIn(await ask("GET", DB, { token: null, headers: { authorization } }));
    },
  },
};

interface Line {
  readonly ws: WebSocket;
  readonly answers: { id: number; error?: { code: string } }[];
  /** Waits for answers; gives their codes, or that of the close. */
  outcome(count: number): Promise<string>;
}

async function line(port = ask.port, token = ask.admin): Promise<Line | string> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${TX}`, "skald.tx.1", {
    headers: { authorization: `Bearer ${token}` },
  });
  const refused = once(ws, "unexpected-response").then(async ([, res]: unknown[]) => {
    const parts: Buffer[] = [];
    for await (const part of res as AsyncIterable<Buffer>) parts.push(part);
    return (JSON.parse(Buffer.concat(parts).toString()) as { code: string }).code;
  });
  refused.catch(() => {});
  const first = await Promise.race([once(ws, "open").then(() => undefined), refused]);
  if (first !== undefined) return first;
  const answers: Line["answers"] = [];
  let look = (): void => {};
  let closed: number | undefined;
  ws.on("message", (data: Buffer) => {
    answers.push(...([...decodeCborSequence(data)] as Line["answers"]));
    look();
  });
  ws.on("close", (code: number) => {
    closed = code;
    look();
  });
  return {
    ws,
    answers,
    outcome: (count) =>
      new Promise((resolve) => {
        look = () => {
          if (answers.length >= count) resolve("ok");
          else if (closed !== undefined) resolve(String(closed));
        };
        look();
      }),
  };
}

const open = async (port?: number, token?: string): Promise<Line> => {
  const made = await line(port, token);
  if (typeof made === "string") throw new Error(made);
  return made;
};

/** What becomes of one frame that is answered `answers` times when it is taken. */
async function frame(bytes: Uint8Array, answers = 1): Promise<string> {
  const made = await open();
  made.ws.send(bytes);
  const outcome = await made.outcome(answers);
  made.ws.terminate();
  return outcome;
}

async function sockets(n: number, tokenFor: (i: number, own: Own) => Promise<string>): Promise<string> {
  const own = await fewSockets();
  const lines: Line[] = [];
  let outcome = "ok";
  for (let i = 0; i < n; i++) {
    const made = await line(own.port, await tokenFor(i, own));
    if (typeof made === "string") outcome = made;
    else lines.push(made);
  }
  for (const { ws } of lines) ws.terminate();
  await Promise.all(lines.map((made) => made.outcome(Infinity)));
  await settled();
  return outcome;
}

/** Whether the server stops reading after these frames, while no transaction is answered. */
async function throttled(frames: readonly Uint8Array[], count: number): Promise<string> {
  const own = await fewSockets();
  const paused = jest.spyOn(WebSocket.prototype, "pause");
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  let seen = 0;
  const made = await own.service.engine.use("notes", async (db) => {
    const tx = db.tx.bind(db);
    // Nothing is written before the gate opens, so that all of it is in flight at once.
    db.tx = async (request) => {
      seen += 1;
      await gate;
      return tx(request);
    };
    try {
      const socket = await open(own.port, own.token);
      for (const bytes of frames) socket.ws.send(bytes);
      while (seen < count) await settled();
      await settled();
      return socket;
    } finally {
      db.tx = tx;
    }
  });
  const outcome = paused.mock.calls.length > 0 ? "waits" : "ok";
  paused.mockRestore();
  release();
  // What waited is not lost.
  if ((await made.outcome(count)) !== "ok") return "lost";
  made.ws.terminate();
  await made.outcome(Infinity);
  return outcome;
}

const item = (id: number, more: object = {}): Uint8Array =>
  encodeCbor({ id, writes: [{ doc: "k/s", changes: [CHANGE] }], ...more });

/** An item of exactly this many bytes; the change in it is none. */
function itemOf(size: number): Uint8Array {
  const made = (length: number) =>
    encodeCbor({ id: 1, writes: [{ doc: "k/s", changes: [new Uint8Array(length)] }] });
  const guess = size - 100;
  return made(guess + size - made(guess).length);
}

export const socketProbes: Readonly<Record<string, ProbeSpec>> = {
  sockets: { made: 3, run: (n) => sockets(n, (i, own) => tokenOf(own, `s${i}`)) },
  socketsPerToken: { made: 2, run: (n) => sockets(n, (_, own) => Promise.resolve(own.token)) },
  frameBytes: { run: (n) => frame(itemOf(n)) },
  frameItems: {
    cheap: true,
    run: (n) => frame(Buffer.concat(Array.from({ length: n }, (_, id) => encodeCbor({ id, writes: [] }))), n),
  },
  levels: {
    cheap: true,
    run: (n) => {
      let nested: unknown = 1;
      for (let i = 1; i < n; i++) nested = [nested];
      return frame(encodeCbor({ id: 1, x: nested }));
    },
  },
  mapEntries: {
    cheap: true,
    run: (n) => {
      const more = Object.fromEntries(Array.from({ length: n - 1 }, (_, i) => [`x${i}`, 1]));
      return frame(encodeCbor({ id: 1, ...more }));
    },
  },
  cborItems: {
    cheap: true,
    // A map, its two entries with their keys and values, and what is in the list.
    run: (n) => frame(encodeCbor({ id: 1, x: Array.from({ length: n - (4 + 2 * (3 + 2)) }, () => 0) })),
  },
  // The last of `n` is read when those before it leave room.
  inFlight: {
    run: (n) => throttled([Buffer.concat(Array.from({ length: n - 1 }, (_, id) => item(id)))], n - 1),
  },
  inFlightBytes: {
    run: (n) => throttled([itemOf(16 * 1024 * 1024), itemOf(n - 1 - 16 * 1024 * 1024)], 2),
  },
  unreadBytes: {
    run: async (n) => {
      const own = await fewSockets();
      const paused = jest.spyOn(WebSocket.prototype, "pause");
      const made = await open(own.port, own.token);
      const before = paused.mock.calls.length;
      // The client takes nothing. Beyond the limit means: what the kernel holds comes on top of it.
      (made.ws as unknown as { _socket: Wire["socket"] })._socket.pause();
      const batch = Buffer.concat(Array.from({ length: 1000 }, (_, id) => encodeCbor({ id, x: 1 })));
      const most = n > LIMITS.socket.unreadBytes.value ? 200 : 3;
      for (let i = 0; i < most && paused.mock.calls.length === before; i++) {
        made.ws.send(batch);
        await settled();
      }
      const outcome = paused.mock.calls.length > before ? "waits" : "ok";
      paused.mockRestore();
      made.ws.terminate();
      await settled();
      return outcome;
    },
  },
  unreadMs: {
    made: 2000,
    run: async (ms) => {
      const own = await impatient();
      const paused = jest.spyOn(WebSocket.prototype, "pause");
      const made = await open(own.port, own.token);
      const before = paused.mock.calls.length;
      const client = (made.ws as unknown as { _socket: Wire["socket"] })._socket;
      let closed = false;
      made.ws.once("close", () => (closed = true));
      client.pause();
      const batch = Buffer.concat(Array.from({ length: 1000 }, (_, id) => encodeCbor({ id, x: 1 })));
      for (let i = 0; i < 200 && paused.mock.calls.length === before; i++) {
        made.ws.send(batch);
        await settled();
      }
      paused.mockRestore();
      await new Promise((resolve) => setTimeout(resolve, ms > 2000 ? 7000 : 50));
      client.resume();
      for (let i = 0; i < 50 && !closed && ms > 2000; i++) await settled();
      made.ws.terminate();
      return closed ? "closed" : "ok";
    },
  },
  closeMs: {
    run: async (ms) => {
      const wire = openWire(ask.port);
      wire.socket.write(
        head(
          ask.admin,
          "GET",
          TX,
          "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: skald.tx.1\r\n",
        ),
      );
      await wire.until(/^HTTP\/1\.1 101 [^]*\r\n\r\n/);
      // A text frame, masked with zeros: the server closes with 1003 and waits for the answer.
      wire.socket.write(Buffer.from([0x81, 0x80, 0, 0, 0, 0]));
      await wire.until(new RegExp(CLOSE_1003));
      if (ms <= LIMITS.socket.closeMs.value)
        wire.socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xeb]));
      await wire.closed();
      wire.socket.destroy();
      return ms <= LIMITS.socket.closeMs.value ? "ok" : "closed";
    },
  },
};
