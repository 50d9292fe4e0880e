import { once } from "node:events";
import path from "node:path";
import { WebSocket } from "ws";
import { Engine } from "../../src/db/engine.ts";
import { FeedFollower, type FeedSink } from "../../src/http/feed-follower.ts";
import { LIMITS } from "../../src/limits.ts";
import { FeedGroups } from "../../src/subscriptions/feed-group.ts";
import { realWorld, type World } from "../../src/world.ts";
import { API } from "../http/fixture.ts";
import { openEvents, type EventStream } from "../http/feed-client.ts";
import { tempDir } from "../support/temp-dir.ts";
import { outcomeIn, type Outcome, type ProbeSpec } from "./probe.ts";
import { DB, ask, small, type Own } from "./server.ts";

const FEED = `${DB}/changes`;

async function asked(query: string, accept = "application/x-ndjson"): Promise<Outcome> {
  return outcomeIn(await ask("GET", `${FEED}?${query}`, { headers: { accept } }));
}

let few: Promise<Own> | undefined;
let tokens = 0;
/** A token of its own of the small server. */
async function tokenOf(own: Own): Promise<string> {
  const reply = await fetch(`${own.service.url as string}${API}/admin/tokens`, {
    method: "POST",
    headers: { authorization: `Bearer ${own.token}`, "content-type": "application/json" },
    body: JSON.stringify({ label: `feed ${(tokens += 1)}`, scopes: ["*:*"] }),
  });
  return ((await reply.json()) as { token: string }).token;
}

/** What the last of `n` streams hears that are open at once. */
async function streams(n: number, tokenFor: (own: Own) => Promise<string>): Promise<Outcome> {
  const own = await (few ??= small({ streams: 3, streamsPerToken: 2 }));
  const open: EventStream[] = [];
  let outcome = "ok";
  for (let i = 0; i < n; i += 1) {
    const stream = await openEvents(own.port, FEED, await tokenFor(own));
    if (stream.status === 200) open.push(stream);
    else outcome = stream.status === 503 ? "UNAVAILABLE" : "RATE_LIMITED";
    if (stream.status !== 200) stream.close();
  }
  for (const stream of open) stream.close();
  // The server has seen them go when it says that none is open.
  const headers = { authorization: `Bearer ${own.token}` };
  for (;;) {
    const text = await (await fetch(`${own.service.url as string}/metrics`, { headers })).text();
    if (text.includes('skald_feeds_open{kind="sse"} 0')) return outcome;
  }
}

/** A follower whose client has not taken `unread` bytes, and what became of it `later` milliseconds on. */
async function behind(unread: number, later: number): Promise<{ waits: boolean; code: string | undefined }> {
  const engine = new Engine({ dir: path.join(tempDir(), "data"), reserve: 0, documents: { workers: 1 } });
  try {
    await engine.create("n");
    return await engine.use("n", (db) => {
      const timers: { due: number; work: () => void; off?: true }[] = [];
      const world: World = {
        ...realWorld,
        timer: (ms, work) => {
          const timer: (typeof timers)[number] = { due: ms, work };
          timers.push(timer);
          return () => (timer.off = true);
        },
      };
      let code: string | undefined;
      const sink: FeedSink = { write: () => {}, unread, beat: () => {}, end: (why) => (code = why) };
      const follower = new FeedFollower(
        {
          db,
          sink,
          world,
          format: "lines",
          groups: new FeedGroups(),
          wish: { filter: {}, include: "none" },
          cursorAt: String,
          valid: () => true,
          heartbeat: 2 ** 30,
          unreadBytes: LIMITS.feed.behindBytes.value,
          unreadMs: LIMITS.feed.behindMs.value,
          sent: () => {},
          failed: () => {},
          done: () => {},
        },
        0,
      );
      const waits = !follower.take({ bytes: Buffer.from("x"), events: 1, from: 0, seq: 1 });
      // Its patience alone: the clock that looks at its token is no part of this.
      for (const { due, work, off } of timers.slice(1)) if (!off && due < later) work();
      follower.gone();
      return { waits, code };
    });
  } finally {
    await engine.close();
  }
}

/** Whether a feed's WebSocket bears a frame of `n` bytes from its client. */
async function frame(n: number): Promise<Outcome> {
  const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${FEED}`, {
    headers: { authorization: `Bearer ${ask.admin}` },
  });
  const closed = once(ws, "close").then(([code]) => String(code));
  await once(ws, "message");
  ws.send(Buffer.alloc(n));
  ws.ping();
  const outcome = await Promise.race([closed, once(ws, "pong").then(() => "ok")]);
  ws.terminate();
  return outcome;
}

export const feedProbes: Readonly<Record<string, ProbeSpec>> = {
  streams: { made: 3, run: (n) => streams(n, tokenOf) },
  streamsPerToken: { made: 2, run: (n) => streams(n, (own) => Promise.resolve(own.token)) },
  streamItems: { cheap: true, run: (n) => asked(`limit=${n}`) },
  docs: { cheap: true, run: (n) => asked(Array.from({ length: n }, (_, i) => `doc=k/${i}`).join("&")) },
  heartbeatMsMin: { cheap: true, least: true, run: (n) => asked(`heartbeat=${n}`) },
  heartbeatMsMax: { cheap: true, run: (n) => asked(`heartbeat=${n}`) },
  timeoutMs: { cheap: true, run: (n) => asked(`timeout=${n}`) },
  behindBytes: { run: async (n) => ((await behind(n, 0)).waits ? "waits" : "ok") },
  behindMs: { run: async (n) => (await behind(2 ** 40, n)).code ?? "ok" },
  frameBytes: { run: frame },
};
