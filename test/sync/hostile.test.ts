import * as A from "@automerge/automerge";
import { jest } from "@jest/globals";
import { encode } from "cbor-x";
import { once } from "node:events";
import { WebSocket } from "ws";
import { decodeLooseCbor } from "../../src/ids/loose-cbor.ts";
import { toBase58Check } from "../../src/ids/document-id.ts";
import { API, openWire, startHttp } from "../http/fixture.ts";
import { until } from "../support/stock-client.ts";
import { tempDir } from "../support/temp-dir.ts";

jest.setTimeout(60_000);

const { ask, server } = await startHttp(tempDir(), { args: ["--sync-root", "open"] });
const SYNC = `ws://127.0.0.1:${ask.port}${API}/db/open/sync`;
const DOCS = `${API}/db/open/docs`;

type Message = Record<string, unknown> & { type: string; documentId?: string; data?: Uint8Array };

/** A peer by hand: what it sends is what the test says. */
class Peer {
  readonly ws: WebSocket;
  readonly got: Message[] = [];
  readonly closed: Promise<number>;
  readonly id: string;
  readonly #states = new Map<string, A.SyncState>();

  constructor(url: string, token: string | null, id: string) {
    this.id = id;
    this.ws = new WebSocket(url, token === null ? {} : { headers: { authorization: `Bearer ${token}` } });
    this.closed = once(this.ws, "close").then(([code]) => code as number);
    this.ws.on("message", (data: Buffer) => {
      this.got.push(decodeLooseCbor(data, { levels: 8, items: 4096 }) as Message);
    });
  }

  send(message: object): void {
    this.ws.send(encode({ senderId: this.id, targetId: "server", ...message }));
  }

  of(type: string, documentId?: string): Message[] {
    return this.got.filter(
      (message) => message.type === type && (documentId === undefined || message.documentId === documentId),
    );
  }

  /** Syncs what `doc` has, as Automerge does, until both have the same or the server refuses. */
  async sync<T>(documentId: string, doc: A.Doc<T>): Promise<A.Doc<T>> {
    let state = this.#states.get(documentId) ?? A.initSyncState();
    let mine = doc;
    let read = this.of("sync", documentId).length;
    const agreed = (): boolean => state.theirHeads?.toSorted().join() === A.getHeads(mine).sort().join();
    const refused = (): boolean => this.of("skald-refused", documentId).length > 0;
    for (;;) {
      const [next, data] = A.generateSyncMessage(mine, state);
      state = next;
      if (data) this.send({ type: "sync", documentId, data });
      if (refused() || agreed()) break;
      await until(() => refused() || this.of("sync", documentId).length > read, "an answer");
      const news = this.of("sync", documentId).slice(read);
      read += news.length;
      for (const message of news)
        [mine, state] = A.receiveSyncMessage(mine, state, message.data as Uint8Array);
    }
    this.#states.set(documentId, state);
    return mine;
  }
}

async function join(
  token: string | null = ask.admin,
  id = `peer-${Math.random()}`,
  url = SYNC,
): Promise<Peer> {
  const peer = new Peer(url, token, id);
  await once(peer.ws, "open");
  peer.send({ type: "join", peerMetadata: {}, supportedProtocolVersions: ["1"] });
  await until(() => peer.of("peer").length === 1, "the answer to join");
  return peer;
}

let ids = 0;
const newId = (): string => {
  const bytes = new Uint8Array(16).fill(1);
  new DataView(bytes.buffer).setUint32(0, (ids += 1));
  return toBase58Check(bytes);
};
const user = async (subject: string): Promise<string> =>
  (await ask.token(["open:sync", "open:doc.read", "open:doc.write"], { subject })).token;
const json = async (id: string): Promise<unknown> => (await ask("GET", `${DOCS}/automerge/${id}`)).json;
const actor = (letter: string): string => letter.repeat(32);
const make = (letter: string, n: number): A.Doc<{ n: number }> => {
  let doc = A.init<{ n: number }>({ actor: actor(letter) });
  for (let i = 0; i <= n; i += 1) doc = A.change(doc, { time: 0 }, (draft) => void (draft.n = i));
  return doc;
};
/** A sync message with the changes of a document from this one on, whoever lacks those before. */
const offering = (doc: A.Doc<unknown>, from = 0): Uint8Array =>
  (A as unknown as { encodeSyncMessage: (message: object) => Uint8Array }).encodeSyncMessage({
    heads: A.getHeads(doc),
    need: [],
    have: [],
    changes: A.getAllChanges(doc).slice(from),
  });
const alive = async (): Promise<void> => {
  const peer = await join();
  const id = newId();
  await peer.sync(id, make("9", 1));
  expect(await json(id)).toEqual({ n: 1 });
  peer.ws.close();
};

describe("a change that the log refuses", () => {
  test("quarantines its document on that socket, by name, and the others go on", async () => {
    const alice = await join(await user("alice"));
    const [good, bad] = [newId(), newId()];
    await alice.sync(bad, make("a", 1));
    expect(await json(bad)).toEqual({ n: 1 });
    // Another history by the same actor under the same numbers.
    let other = A.init<{ n: number }>({ actor: actor("a") });
    other = A.change(other, { time: 1 }, (draft) => void (draft.n = 7));
    const liar = await join(await user("alice"));
    liar.send({ type: "sync", documentId: bad, data: offering(other) });
    await until(() => liar.of("skald-refused", bad).length === 1, "the refusal");
    expect(liar.of("skald-refused", bad)).toMatchObject([{ code: "CHANGE_EQUIVOCATION" }]);
    await until(() => liar.of("doc-unavailable", bad).length === 1, "what a stock client understands");
    expect(await json(bad)).toEqual({ n: 1 });
    await liar.sync(good, make("b", 2));
    expect(await json(good)).toEqual({ n: 2 });
    // And nothing of it is sent or taken on that socket any more.
    const before = liar.of("sync", bad).length;
    await ask("PATCH", `${DOCS}/automerge/${bad}`, {
      body: JSON.stringify({ n: 5 }),
      headers: { "content-type": "application/merge-patch+json" },
    });
    await liar.sync(good, make("b", 3));
    expect(liar.of("sync", bad)).toHaveLength(before);
    await until(() => alice.of("sync", bad).length > 0);
    const text = (await ask("GET", "/metrics")).text;
    expect(text).toMatch(/^skald_sync_refusals_total\{code="CHANGE_EQUIVOCATION"\} 1$/m);
    expect(server.log()).toMatch(/CHANGE_EQUIVOCATION/);
    alice.ws.close();
    liar.ws.close();
  });

  test("is one that writes as somebody else's actor", async () => {
    const id = newId();
    const alice = await join(await user("alice"));
    await alice.sync(id, make("c", 1));
    const bob = await join(await user("bob"));
    let copy = await bob.sync(id, A.init<{ n: number }>({ actor: actor("c") }));
    copy = A.change(
      A.load<{ n: number }>(A.save(copy), { actor: actor("c") }),
      (draft) => void (draft.n = 66),
    );
    await bob.sync(id, copy);
    expect(bob.of("skald-refused", id)).toMatchObject([{ code: "CHANGE_ACTOR" }]);
    expect(await json(id)).toEqual({ n: 1 });
    alice.ws.close();
    bob.ws.close();
  });

  test("that was set aside later quarantines the document with everyone who has it", async () => {
    const id = newId();
    const writer = await join(await user("alice"));
    await writer.sync(id, make("d", 1));
    const reader = await join(await user("bob"));
    await reader.sync(id, A.init());
    // Writes into a number: the guard cannot tell, and Automerge does not apply it.
    const bad = A.encodeChange({
      actor: actor("6"),
      seq: 1,
      startOp: 3,
      time: 0,
      message: null,
      deps: A.getHeads(make("d", 1)),
      ops: [{ action: "set", obj: `2@${actor("d")}`, key: "z", value: 9, datatype: "int", pred: [] }],
    } as never);
    const sent = await ask("PATCH", `${DOCS}/automerge/${id}`, {
      body: bad,
      headers: { "content-type": "application/automerge" },
    });
    expect(sent.status).toBe(200);
    expect(await json(id)).toEqual({ n: 1 });
    for (const peer of [writer, reader]) {
      await until(() => peer.of("skald-refused", id).length === 1, "the quarantine");
      expect(peer.of("skald-refused", id)).toMatchObject([{ code: "CHANGE_REFUSED" }]);
      peer.ws.close();
    }
  });
});

describe("changes that lack what they build on", () => {
  test("are no error: they are asked for, and taken with the rest", async () => {
    const id = newId();
    const peer = await join();
    const whole = make("e", 3);
    peer.send({ type: "sync", documentId: id, data: offering(whole, 3) });
    await until(() => peer.of("sync", id).length > 0, "the server to ask");
    expect((await ask("GET", `${DOCS}/automerge/${id}`)).status).toBe(404);
    await peer.sync(id, whole);
    expect(await json(id)).toEqual({ n: 3 });
    expect(peer.of("skald-refused")).toEqual([]);
    peer.ws.close();
  });
});

describe("a peer id", () => {
  test("that joins again ends the socket before, of the same principal only", async () => {
    const token = await user("alice");
    const first = await join(token, "same");
    const stranger = await join(await user("bob"), "same");
    const second = await join(token, "same");
    expect(await first.closed).toBe(1000);
    expect([stranger.ws.readyState, second.ws.readyState]).toEqual([WebSocket.OPEN, WebSocket.OPEN]);
    stranger.ws.close();
    second.ws.close();
  });

  test("of another is not spoken for", async () => {
    const id = newId();
    const [one, two] = [await join(), await join()];
    await one.sync(id, make("f", 1));
    await two.sync(id, A.init());
    const ephemeral = {
      type: "ephemeral",
      documentId: id,
      data: new Uint8Array(3),
      count: 1,
      sessionId: "s",
    };
    one.send({ ...ephemeral, senderId: two.id });
    one.send(ephemeral);
    one.send(ephemeral);
    one.send({ ...ephemeral, count: 2 });
    await until(() => two.of("ephemeral").length === 2, "two ephemeral messages");
    expect(two.of("ephemeral").map(({ senderId, count }) => [senderId, count])).toEqual([
      [one.id, 1],
      [one.id, 2],
    ]);
    one.ws.close();
    two.ws.close();
  });

  test("does not speak for the server's storage", async () => {
    const id = newId();
    const watcher = await join();
    const { storageId } = (watcher.of("peer")[0] as Message)["peerMetadata"] as { storageId: string };
    watcher.send({ type: "remote-subscription-change", add: [storageId, "other"] });
    await watcher.sync(id, make("7", 1));
    const liar = await join();
    await liar.sync(id, A.init());
    const lie = { heads: ["lie"], timestamp: Date.now() + 1000 };
    liar.send({ type: "remote-heads-changed", documentId: id, newHeads: { [storageId]: lie, other: lie } });
    const told = (): Record<string, { heads: string[] }>[] =>
      watcher.of("remote-heads-changed", id).map((message) => message["newHeads"] as never);
    await until(() => told().some((heads) => heads["other"] !== undefined), "what the other storage has");
    expect(told().filter((heads) => heads[storageId]?.heads.includes("lie"))).toEqual([]);
    expect(told().some((heads) => heads[storageId] !== undefined)).toBe(true);
    watcher.ws.close();
    liar.ws.close();
  });
});

describe("before a peer has joined", () => {
  test("nothing is taken, however much comes", async () => {
    const peer = new Peer(SYNC, ask.admin, "early");
    await once(peer.ws, "open");
    const id = newId();
    for (let i = 0; i < 2000; i += 1) peer.send({ type: "sync", documentId: id, data: new Uint8Array(100) });
    peer.send({ type: "join", peerMetadata: {} });
    await until(() => peer.of("peer").length === 1, "the answer to join");
    expect(peer.got).toHaveLength(1);
    peer.ws.close();
  });

  test.each<[string, (peer: Peer) => void, number]>([
    ["a text", (peer) => peer.ws.send("join"), 1003],
    ["bytes that are no CBOR", (peer) => peer.ws.send(new Uint8Array([255, 1, 2])), 1007],
    ["CBOR that is no message", (peer) => peer.ws.send(encode({ type: 1 })), 1007],
    ["an unknown version", (peer) => peer.send({ type: "join", supportedProtocolVersions: ["9"] }), 1002],
  ])("%s ends the socket", async (_name, send, code) => {
    const peer = new Peer(SYNC, ask.admin, "odd");
    await once(peer.ws, "open");
    send(peer);
    expect(await peer.closed).toBe(code);
    await alive();
  });

  test("whoever has no right to the db, or no credential, gets no socket", async () => {
    const upgrade = (path: string, head = ""): Promise<string> => {
      const wire = openWire(ask.port);
      wire.socket.write(
        `GET ${path} HTTP/1.1\r\nhost: x\r\n${head}connection: upgrade\r\nupgrade: websocket\r\n` +
          `sec-websocket-version: 13\r\nsec-websocket-key: ${Buffer.alloc(16).toString("base64")}\r\n\r\n`,
      );
      return wire.closed();
    };
    const path = `${API}/db/open/sync`;
    expect(await upgrade(path)).toMatch(/^HTTP\/1\.1 401 [^]*"UNAUTHENTICATED"/);
    const { token } = await ask.token(["open:doc.read"]);
    expect(await upgrade(path, `authorization: Bearer ${token}\r\n`)).toMatch(
      /^HTTP\/1\.1 403 [^]*"FORBIDDEN"/,
    );
    expect(await upgrade(`${path}?token=${token}`)).toMatch(/^HTTP\/1\.1 400 [^]*"TOKEN_IN_URL"/);
    expect(await upgrade(`${path}?ticket=${token}`)).toMatch(/^HTTP\/1\.1 400 [^]*"TOKEN_IN_URL"/);
    expect(await upgrade(`${path}?ticket=skt_AAAA`)).toMatch(/^HTTP\/1\.1 401 [^]*"TICKET_INVALID"/);
    expect(await upgrade(`${API}/db/none/sync`, `authorization: Bearer ${ask.admin}\r\n`)).toMatch(
      /"DB_NOT_FOUND"/,
    );
  });
});

describe("a message of a document that is malformed", () => {
  test.each<[string, Uint8Array]>([
    ["bytes of nothing", Uint8Array.of(1, 2, 3)],
    ["a message that ends early", Uint8Array.of(0x42, 5, 1)],
    ["a change that is none", Uint8Array.of(0x42, 0, 0, 0, 1, 3, 1, 2, 3)],
  ])("costs that document and nothing else: %s", async (_name, data) => {
    const peer = await join();
    const id = newId();
    peer.send({ type: "sync", documentId: id, data });
    await until(() => peer.of("doc-unavailable", id).length > 0, "an answer");
    const other = newId();
    await peer.sync(other, make("8", 1));
    expect(await json(other)).toEqual({ n: 1 });
    peer.ws.close();
  });

  test("a document id that is none ends the socket", async () => {
    const peer = await join();
    peer.send({ type: "request", documentId: "nonsense", data: Uint8Array.of(0x42, 0, 0, 0, 0) });
    expect(await peer.closed).toBe(1007);
    await alive();
  });
});

test("a peer that sends without reading is not read from, and the server answers the others", async () => {
  const flood = await join();
  (flood.ws as unknown as { _socket: { pause(): void } })._socket.pause();
  for (let i = 0; i < 5000; i += 1) {
    flood.send({ type: "request", documentId: newId(), data: Uint8Array.of(0x42, 0, 0, 1, 0, 0, 0) });
  }
  await alive();
  flood.ws.terminate();
  await alive();
});

test("a token that is revoked ends its socket, and a ticket ends with its token", async () => {
  const { token, id } = await ask.token(["open:sync", "open:doc.read"]);
  const made = await ask("POST", `${API}/tickets`, {
    token,
    body: { db_id: "open", action: "sync", reusable: true },
  });
  expect(made.status).toBe(201);
  const url = `${SYNC}?ticket=${made.json["ticket"] as string}`;
  const [byToken, byTicket] = [await join(token), await join(null, "t1", url)];
  const again = await join(null, "t2", url);
  await ask("DELETE", `${API}/admin/tokens/${id}`);
  for (const peer of [byToken, byTicket, again]) {
    peer.send({ type: "request", documentId: newId(), data: Uint8Array.of(0x42, 0, 0, 1, 0, 0, 0) });
    expect(await peer.closed).toBe(1008);
  }
  const late = new Peer(url, null, "t3");
  await expect(late.closed).rejects.toThrow(/401/);
});
