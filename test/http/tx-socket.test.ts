import * as A from "@automerge/automerge";
import { once } from "node:events";
import { WebSocket } from "ws";
import { decodeCborSequence, encodeCbor } from "../../src/ids/cbor.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, TX, openWire, startHttp } from "./fixture.ts";

const { ask, server } = await startHttp(tempDir(), { args: ["--open-dbs", "2"] });
/** A second one for the tests that stop it. */
const stopped = await startServer(tempDir());

interface Answer {
  readonly id: number;
  readonly seq?: number;
  readonly heads?: Record<string, Uint8Array[]>;
  readonly duplicate?: boolean;
  readonly error?: { code: string; detail: string; hint: string };
}

interface Line {
  readonly ws: WebSocket;
  readonly answers: Answer[];
  send(...items: unknown[]): void;
  /** Waits until `count` answers have come. */
  got(count: number): Promise<Answer[]>;
  readonly closed: Promise<[code: number, reason: string]>;
}

async function open(token: string = ask.admin, db = "notes", port = ask.port): Promise<Line> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${API}/db/${db}/branches/main/tx`, "skald.tx.1", {
    headers: { authorization: `Bearer ${token}` },
  });
  const answers: Answer[] = [];
  let look = (): void => {};
  ws.on("message", (data: Buffer) => {
    answers.push(...([...decodeCborSequence(data)] as Answer[]));
    look();
  });
  const closed = once(ws, "close").then(([code, reason]): [number, string] => [
    code as number,
    String(reason),
  ]);
  closed.then(
    () => look(),
    () => {},
  );
  await once(ws, "open");
  return {
    ws,
    answers,
    closed,
    send: (...items) => ws.send(Buffer.concat(items.map(encodeCbor))),
    got: (count) =>
      new Promise((resolve, reject) => {
        look = () => {
          if (answers.length >= count) resolve(answers);
          else if (ws.readyState === ws.CLOSED) reject(new Error(`closed after ${answers.length} answers`));
        };
        look();
      }),
  };
}

let actors = 0;
/** Changes of a new document, each on the one before. */
function changes(count: number): Uint8Array[] {
  actors += 1;
  let doc = A.init<Record<string, unknown>>({ actor: actors.toString(16).padStart(32, "5") });
  return Array.from({ length: count }, (_, n) => {
    doc = A.change(doc, { time: 0 }, (draft) => {
      draft["n"] = n;
    });
    return A.getLastLocalChange(doc) as Uint8Array;
  });
}

const seqNow = async (): Promise<number> => (await ask("GET", `${API}/db/notes`)).json["seq"] as number;

beforeAll(async () => {
  await ask("PUT", `${API}/db/notes`);
});

describe("a transaction socket", () => {
  test("answers many in flight, each once, in the order of their commits", async () => {
    const line = await open();
    expect(line.ws.protocol).toBe("skald.tx.1");
    const list = changes(400);
    for (let at = 0; at < list.length; at += 40) {
      line.send(
        ...list
          .slice(at, at + 40)
          .map((bytes, n) => ({ id: at + n, writes: [{ doc: "s/many", changes: [bytes] }] })),
      );
    }
    const answers = await line.got(400);
    expect(answers.map(({ id }) => id)).toEqual(list.map((_, id) => id));
    const seqs = answers.map(({ seq }) => seq as number);
    expect(seqs).toEqual(seqs.map((_, n) => (seqs[0] as number) + n));
    expect((await ask("GET", `${API}/db/notes/docs/s/many`)).json).toEqual({ n: 399 });
    line.ws.close();
    expect((await line.closed)[0]).toBe(1005);
  });

  test("refuses one and takes the next, and gives a repeat its first receipt", async () => {
    const line = await open();
    const [first, second, third] = changes(3) as [Uint8Array, Uint8Array, Uint8Array];
    const doc = "s/errors";
    line.send(
      { id: 1, tx: "once", message: "m", writes: [{ doc, base: [], changes: [first] }] },
      { id: 2, writes: [{ doc, changes: [third] }] },
      { id: 3, writes: [{ doc, base: [new Uint8Array(32)], changes: [second] }] },
      { id: 4, tx: "once", writes: [{ doc, changes: [first] }] },
      { id: 5, writes: [{ doc: "noname", changes: [first] }] },
      { id: 6, writes: [{ doc, changes: [new Uint8Array([1, 2, 3])] }] },
    );
    const by = Object.fromEntries((await line.got(6)).map((answer) => [answer.id, answer]));
    expect(Object.values(by).map(({ error }) => error?.code)).toEqual([
      undefined,
      "CHANGE_DEPS_MISSING",
      "HEADS_CONFLICT",
      undefined,
      "NAME_INVALID",
      "CHANGE_MALFORMED",
    ]);
    expect(by[4]).toEqual({ ...by[1], id: 4, duplicate: true });
    expect(by[2]?.error).toMatchObject({
      detail: expect.any(String) as string,
      hint: expect.stringMatching(/./) as string,
    });
    line.ws.terminate();
  });

  test.each<[string, object]>([
    ["an unknown field", { writes: [], x: 1 }],
    ["no writes", {}],
    ["an empty list of writes", { writes: [] }],
    ["a write that is null", { writes: [null] }],
    ["a write that is a number", { writes: [1] }],
    [
      "an unknown field of a write",
      { writes: [{ doc: "s/x", changes: [new Uint8Array(3)], base_heads: [] }] },
    ],
    ["a doc that is no text", { writes: [{ doc: 1, changes: [new Uint8Array(3)] }] }],
    ["changes that are no bytes", { writes: [{ doc: "s/x", changes: ["x"] }] }],
    ["no changes", { writes: [{ doc: "s/x", changes: [] }] }],
    [
      "a base of short hashes",
      { writes: [{ doc: "s/x", base: [new Uint8Array(31)], changes: [new Uint8Array(3)] }] },
    ],
    ["a tx that is no text", { writes: [], tx: 1 }],
    ["a message that is too long", { writes: [], message: "x".repeat(4097) }],
  ])("refuses %s with a code and goes on", async (_what, fields) => {
    const line = await open();
    line.send({ id: 7, ...fields }, { id: 8, writes: [{ doc: "s/fine", changes: changes(1) }] });
    const [wrong, fine] = await line.got(2).then((answers) => answers.toSorted((a, b) => a.id - b.id));
    expect(["BAD_REQUEST", "TX_EMPTY"]).toContain(wrong?.error?.code);
    expect(fine?.error).toBeUndefined();
    line.ws.terminate();
  });

  test("holds a token limited to a prefix to it", async () => {
    const { token } = await ask.token(["notes:doc.write:mine/"]);
    const line = await open(token);
    line.send(
      { id: 1, writes: [{ doc: "mine/a", changes: changes(1) }] },
      { id: 2, writes: [{ doc: "theirs/a", changes: changes(1) }] },
    );
    const answers = (await line.got(2)).toSorted((a, b) => a.id - b.id);
    expect(answers.map(({ error }) => error?.code)).toEqual([undefined, "FORBIDDEN"]);
    line.ws.terminate();
  });
});

describe("closes, and lets go of the db,", () => {
  const item = (id: number): object => ({ id, writes: [{ doc: "s/close", changes: changes(1) }] });

  test.each<[string, number, (line: Line) => void]>([
    ["with 1007 on bytes that are no CBOR", 1007, ({ ws }) => ws.send(Buffer.from([0xff, 0xff]))],
    ["with 1007 on an item without an id", 1007, ({ send }) => send({ writes: [] })],
    [
      "with 1007 on a truncated item",
      1007,
      ({ ws }) => ws.send(Buffer.from(encodeCbor(item(1))).subarray(0, 20)),
    ],
    ["with 1007 on text that is not UTF-8", 1007, ({ ws }) => ws.send(Buffer.from([0xa1, 0x61, 0xff, 0x00]))],
    ["with 1007 on deep nesting", 1007, ({ ws }) => ws.send(Buffer.alloc(1000, 0x81))],
    ["with 1003 on a text frame", 1003, ({ ws }) => ws.send("{}")],
    ["with 1009 on a frame over 16 MiB", 1009, ({ ws }) => ws.send(Buffer.alloc(16 * 1024 * 1024 + 1))],
    [
      "with 1009 on more than 2048 transactions in a frame",
      1009,
      ({ send }) => send(...Array.from({ length: 2049 }, (_, id) => ({ id, writes: [] }))),
    ],
  ])("%s", async (_what, code, spoil) => {
    const line = await open();
    spoil(line);
    expect((await line.closed)[0]).toBe(code);
  });

  test("and answers before that what it took, and takes nothing after it", async () => {
    const line = await open();
    const [first, second] = changes(2);
    const doc = "s/last";
    line.ws.send(
      Buffer.concat([encodeCbor({ id: 1, writes: [{ doc, changes: [first] }] }), Buffer.from([0xff])]),
    );
    line.send({ id: 2, writes: [{ doc, changes: [second] }] });
    expect((await line.closed)[0]).toBe(1007);
    expect(line.answers).toMatchObject([{ id: 1, duplicate: false }]);
    expect((await ask("GET", `${API}/db/notes/docs/${doc}`)).json).toEqual({ n: 0 });
  });

  test("with the first frame after its token was revoked", async () => {
    const { token, id } = await ask.token(["notes:doc.write"]);
    const line = await open(token);
    line.send(item(1));
    await line.got(1);
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    const before = await seqNow();
    line.send(item(2));
    expect(await line.closed).toEqual([1008, "UNAUTHENTICATED"]);
    expect([line.answers.length, await seqNow()]).toEqual([1, before]);
  });

  // A db that a socket still held would make its deletion wait for ever.
  afterAll(async () => {
    expect((await ask("DELETE", `${API}/db/notes?confirm=notes`)).status).toBe(204);
    expect((await ask("PUT", `${API}/db/notes`)).status).toBe(201);
  });
});

describe("a db that is wanted back", () => {
  test.each(["DELETE", "POST"])(
    "by %s closes its sockets, after what they have under way",
    async (method) => {
      await ask("PUT", `${API}/db/wanted`);
      const line = await open(ask.admin, "wanted");
      const list = changes(50);
      line.send(...list.map((bytes, id) => ({ id, writes: [{ doc: "s/a", changes: [bytes] }] })));
      await line.got(1);
      const path = method === "DELETE" ? "?confirm=wanted" : "/rebuild";
      const reply = await ask(method, `${API}/db/wanted${path}`);
      expect(reply.status).toBe(method === "DELETE" ? 204 : 200);
      expect(await line.closed).toEqual([1001, "the db closes"]);
      expect(line.answers).toHaveLength(50);
    },
  );
});

test("a client that sends and never reads does not make the server grow", async () => {
  const rss = async (): Promise<number> =>
    ((await ask("GET", "/status")).json["memory"] as { rss: number }).rss;
  const wire = openWire(ask.port);
  wire.socket.write(
    `GET ${TX} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: skald.tx.1\r\nauthorization: Bearer ${ask.admin}\r\n\r\n`,
  );
  await wire.until(/\r\n\r\n/);
  wire.socket.pause();
  // One frame of 1,000 transactions that are refused: each answer is ten times as long as what it answers.
  const items = Buffer.concat(Array.from({ length: 1000 }, (_, id) => encodeCbor({ id, writes: [] })));
  const frame = Buffer.concat([
    Buffer.from([0x82, 0x80 | 126, items.length >> 8, items.length & 255, 0, 0, 0, 0]),
    items,
  ]);
  const before = await rss();
  let sent = 0;
  // Until the server reads no more, which is when the kernel's buffers on the way are full.
  for (let stuck = 0; stuck < 5 && sent < 64 * 1024 * 1024;) {
    const took = wire.socket.write(frame);
    sent += frame.length;
    if (took) continue;
    const drained = await Promise.race([
      once(wire.socket, "drain").then(() => true),
      ask("GET", "/healthz").then(() => false),
    ]);
    stuck = drained ? 0 : stuck + 1;
  }
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  expect((await rss()) - before).toBeLessThan(128 * 1024 * 1024);
  wire.socket.destroy();
  expect((await ask("GET", "/healthz")).status).toBe(200);
  expect(server.log()).not.toMatch(/Unhandled|TypeError/);
}, 20_000);

test("stopping the server answers what sockets have under way, closes them, and waits for none that hangs", async () => {
  const port = Number(new URL(stopped.url).port);
  const token = stopped.token as string;
  const put = await fetch(`${stopped.url}${API}/db/notes`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token}` },
  });
  expect(put.status).toBe(201);
  const line = await open(token, "notes", port);
  const idle = await open(token, "notes", port);
  // Never answers the close.
  const deaf = await open(token, "notes", port);
  deaf.ws.pause();
  line.send(...changes(200).map((bytes, id) => ({ id, writes: [{ doc: "s/a", changes: [bytes] }] })));
  await line.got(1);
  const code = stopped.stop();
  expect((await line.closed)[0]).toBe(1001);
  expect((await idle.closed)[0]).toBe(1001);
  expect(line.answers).toHaveLength(200);
  expect(await code).toBe(0);
  deaf.ws.terminate();
}, 20_000);
