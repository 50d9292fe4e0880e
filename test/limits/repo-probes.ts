import { once } from "node:events";
import { encode } from "cbor-x";
import { WebSocket } from "ws";
import { toBase58Check } from "../../src/ids/document-id.ts";
import { SyncHubs } from "../../src/sync/hub.ts";
import { SyncSession } from "../../src/sync/session.ts";
import { API } from "../http/fixture.ts";
import { outcomeIn, type Outcome, type ProbeSpec } from "./probe.ts";
import { DB, ask, seeded, small } from "./server.ts";

const senderId = "probe";
const pad = (n: number): string => "x".repeat(n);
let ids = 0;
const nextId = (): string => {
  const bytes = new Uint8Array(16).fill(9);
  new DataView(bytes.buffer).setUint32(0, (ids += 1));
  return toBase58Check(bytes);
};
/** An Automerge sync message of a peer that has nothing. */
const NOTHING = Uint8Array.of(0x42, 0, 0, 1, 0, 0, 0);
const request = (documentId = nextId(), data = NOTHING): Uint8Array =>
  encode({ type: "request", senderId, targetId: "s", documentId, data });
const JOIN = encode({ type: "join", senderId, peerMetadata: {}, supportedProtocolVersions: ["1"] });

async function connect(port: number, token: string): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${DB}/sync`, {
    headers: { authorization: `Bearer ${token}` },
  });
  await once(ws, "open");
  return ws;
}

/** What becomes of a message after `join`: the close code, or "ok" when the next request is answered. */
async function said(message: Uint8Array): Promise<Outcome> {
  const ws = await connect(ask.port, ask.admin);
  const outcome = new Promise<Outcome>((resolve) => {
    let answers = 0;
    ws.on("message", () => (answers += 1) === 2 && resolve("ok"));
    ws.on("close", (code) => resolve(String(code)));
  });
  ws.send(JOIN);
  ws.send(message);
  ws.send(request());
  const result = await outcome;
  ws.terminate();
  return result;
}

interface Peer {
  readonly session: SyncSession;
  readonly sent: Uint8Array[];
  unread: number;
  paused: boolean;
}

/** Peers of one db without sockets; `work` is with the db open. */
async function withPeers<T>(count: number, work: (peers: Peer[]) => Promise<T>): Promise<T> {
  const { service } = await seeded();
  return service.engine.use("notes", async (db) => {
    const hub = new SyncHubs({ failed: () => {}, refused: () => {} }).of(db);
    const peers = Array.from({ length: count }, (_, n): Peer => {
      const peer: Omit<Peer, "session"> = { sent: [], unread: 0, paused: false };
      const line = {
        send: (message: Uint8Array) => void peer.sent.push(message),
        unread: () => peer.unread,
        pause: () => void (peer.paused = true),
        resume: () => {},
        close: () => {},
      };
      const session = new SyncSession(hub, line, {
        principal: `p${n}`,
        author: "probe",
        mayRead: () => true,
        mayWrite: () => true,
        alive: () => true,
      });
      session.receive(JOIN);
      return Object.assign(peer, { session });
    });
    try {
      return await work(peers);
    } finally {
      peers.forEach(({ session }) => session.closed());
      await Promise.all(peers.map(({ session }) => session.settled()));
    }
  });
}

async function answered({ session, sent }: Peer, count: number): Promise<boolean> {
  for (let i = 0; i < 2000 && sent.length < count; i += 1) {
    await session.settled();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return sent.length >= count;
}

/** The document `k/seed` of the db, which is there. */
async function seedId(): Promise<string> {
  const own = await seeded();
  const url = `http://127.0.0.1:${own.port}${DB}/docs/k/seed`;
  const headers = { authorization: `Bearer ${own.token}`, "content-type": "application/json" };
  const made = await fetch(url, { method: "PUT", headers, body: '{"n":1}' });
  return (made.headers.get("automerge-url") as string).slice("automerge:".length);
}

const timed = (limits: { joinMs?: number; silentMs?: number }, joins: boolean) => async (ms: number) => {
  const own = await small(limits);
  const ws = await connect(own.port, own.token);
  const began = performance.now();
  if (joins) {
    ws.send(JOIN);
    await once(ws, "message");
    // Reads nothing, so it answers no ping.
    (ws as unknown as { _socket: { pause(): void } })._socket.pause();
  }
  const made = (limits.silentMs ?? limits.joinMs) as number;
  if (ms <= made) {
    const early = await Promise.race([
      once(ws, "close").then(() => true),
      new Promise((resolve) => setTimeout(resolve, made / 2)),
    ]);
    ws.terminate();
    return early ? "closed" : "ok";
  }
  const gone = joins
    ? (async () => {
        // What it was sent lies with the kernel; that it was ended shows once it reads again.
        await new Promise((resolve) => setTimeout(resolve, made * 2));
        (ws as unknown as { _socket: { resume(): void } })._socket.resume();
        await once(ws, "close");
      })()
    : once(ws, "close");
  await gone;
  return performance.now() - began >= made * 0.9 ? "closed" : "too early";
};

export const repoProbes: Readonly<Record<string, ProbeSpec>> = {
  frameBytes: {
    run: (n) => {
      const empty = encode({ type: "x", senderId, data: new Uint8Array(70_000) }).length - 70_000;
      return said(encode({ type: "x", senderId, data: new Uint8Array(n - empty) }));
    },
  },
  levels: {
    cheap: true,
    run: (n) => {
      let nested: unknown = 1;
      for (let i = 1; i < n; i += 1) nested = [nested];
      return said(encode({ type: "x", senderId, nested }));
    },
  },
  items: {
    cheap: true,
    // The map, its three keys, two values and the list are seven of them.
    run: (n) => said(encode({ type: "x", senderId, list: Array.from({ length: n - 7 }, () => 0) })),
  },
  idCharacters: {
    cheap: true,
    run: (n) =>
      said(
        encode({
          type: "ephemeral",
          senderId,
          documentId: nextId(),
          sessionId: pad(n),
          count: 1,
          data: NOTHING,
        }),
      ),
  },
  storages: {
    cheap: true,
    run: (n) =>
      withPeers(1, ([peer]) => {
        const add = Array.from({ length: n }, (_, i) => `s${i}`);
        peer?.session.receive(encode({ type: "remote-subscription-change", senderId, add }));
        return Promise.resolve(peer?.session.follows(`s${n - 1}`) ? "ok" : "ignored");
      }),
  },
  documents: {
    run: (n) =>
      withPeers(1, async ([peer]) => {
        for (let i = 0; i < n; i += 1) (peer as Peer).session.receive(request());
        return (await answered(peer as Peer, n + 1)) ? "ok" : "ignored";
      }),
  },
  ephemeralBytes: {
    cheap: true,
    run: async (n) => {
      const documentId = await seedId();
      return withPeers(2, async ([one, two]) => {
        for (const peer of [one, two] as Peer[]) {
          peer.session.receive(request(documentId));
          await answered(peer, 2);
        }
        const before = two?.sent.length as number;
        const data = new Uint8Array(n);
        one?.session.receive(
          encode({ type: "ephemeral", senderId, documentId, sessionId: "x", count: 1, data }),
        );
        return two?.sent.length === before + 1 ? "ok" : "ignored";
      });
    },
  },
  // The last of `n` is read when those before it leave room.
  queued: {
    cheap: true,
    run: (n) =>
      withPeers(1, async ([peer]) => {
        for (let i = 1; i < n; i += 1) (peer as Peer).session.receive(request());
        const { paused } = peer as Peer;
        await answered(peer as Peer, n);
        return paused ? "waits" : "ok";
      }),
  },
  queuedBytes: {
    cheap: true,
    run: (n) =>
      withPeers(1, async ([peer]) => {
        const id = nextId();
        const empty = request(id, new Uint8Array(70_000)).length - 70_000;
        (peer as Peer).session.receive(request(id, new Uint8Array(n - 1 - empty)));
        const { paused } = peer as Peer;
        await answered(peer as Peer, 2);
        return paused ? "waits" : "ok";
      }),
  },
  unreadBytes: {
    cheap: true,
    run: async (n) => {
      const documentId = await seedId();
      return withPeers(1, async ([peer]) => {
        (peer as Peer).unread = n - 1;
        (peer as Peer).session.receive(request(documentId));
        for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
        return peer?.sent.length === 2 ? "ok" : "waits";
      });
    },
  },
  joinMs: { made: 1000, run: timed({ joinMs: 1000 }, false) },
  silentMs: { made: 1500, run: timed({ joinMs: 100, silentMs: 1500 }, true) },
};

const ticket = async (body: object): Promise<Outcome> =>
  outcomeIn(await ask("POST", `${API}/tickets`, { body: { db_id: "notes", action: "sync", ...body } }));

export const ticketProbes: Readonly<Record<string, ProbeSpec>> = {
  onceSeconds: { cheap: true, run: (n) => ticket({ expires_in: n }) },
  reusableSeconds: { cheap: true, run: (n) => ticket({ expires_in: n, reusable: true }) },
};
