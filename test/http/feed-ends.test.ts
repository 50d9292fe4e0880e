import * as A from "@automerge/automerge";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { WebSocket } from "ws";
import { readConfig } from "../../src/config.ts";
import type { ServerLimits } from "../../src/http/load.ts";
import { startService } from "../../src/service.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { openEvents, type EventStream } from "./feed-client.ts";
import { API } from "./fixture.ts";

const portOf = (server: SkaldServer): number => Number(new URL(server.url).port);
const FEED = `${API}/db/feed/changes`;

/** Feeds of every kind that follow one server at the head. */
let followed: {
  readonly server: SkaldServer;
  readonly streams: readonly EventStream[];
  readonly poll: Promise<Response>;
  readonly closed: Promise<unknown[]>;
  readonly cursor: string;
};

beforeAll(async () => {
  const server = await startServer(tempDir());
  const token = server.token as string;
  const headers = { authorization: `Bearer ${token}` };
  await fetch(`${server.url}${API}/db/feed`, { method: "PUT", headers });
  const made = await fetch(`${server.url}${API}/db/feed/docs/k/1`, {
    method: "PUT",
    headers: { ...headers, "content-type": "application/json" },
    body: "{}",
  });
  const { cursor } = (await made.json()) as { cursor: string };
  const streams = await Promise.all([1, 2, 3].map(() => openEvents(portOf(server), FEED, token)));
  for (const stream of streams) await stream.changes(1);
  const poll = fetch(`${server.url}${FEED}?feed=longpoll&since=now&timeout=60000`, { headers });
  const ws = new WebSocket(`ws://127.0.0.1:${portOf(server)}${FEED}`, { headers });
  const closed = once(ws, "close");
  await once(ws, "message");
  // The long poll is waiting once the metrics say so.
  const metrics = async (): Promise<string> => (await fetch(`${server.url}/metrics`, { headers })).text();
  while (!(await metrics()).includes('kind="longpoll"} 1'));
  followed = { server, streams, poll, closed, cursor };
}, 60_000);

test("SIGTERM ends every feed at once, and each says where to go on", async () => {
  const { server, streams, poll, closed, cursor } = followed;
  const code = server.stop();
  for (const stream of streams) expect(await stream.ended()).toEqual({ code: "UNAVAILABLE", seq: 1, cursor });
  expect(await (await poll).json()).toMatchObject({ events: [], cursor });
  const [status, reason] = (await closed) as [number, Buffer];
  expect([status, reason.toString()]).toEqual([1001, `UNAVAILABLE ${cursor}`]);
  expect(await code).toBe(0);
  // Less than the time after which a stop closes what is left: nothing was left.
}, 7000);

const cycles = Number(process.env["SKALD_TEST_RUNS"] ?? 1);

test(`across ${cycles} kills of the server a follower gets every acknowledged commit once and in order`, async () => {
  const random = seeded(seedOf());
  const dir = tempDir();
  let token = "";
  const seen: { seq: number; cursor: string; commit: string }[] = [];
  const acknowledged = new Map<number, string>();
  let last: string | undefined;
  for (let cycle = 0; cycle <= cycles; cycle += 1) {
    const server = await startServer(dir);
    token = server.token ?? token;
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    if (cycle === 0) await fetch(`${server.url}${API}/db/feed`, { method: "PUT", headers });
    const stream = await openEvents(
      portOf(server),
      FEED,
      token,
      last === undefined ? {} : { "last-event-id": last },
    );
    let writing = cycle < cycles;
    const writers = [1, 2, 3].map(async (writer) => {
      for (let i = 0; writing; i += 1) {
        try {
          const reply = await fetch(`${server.url}${API}/db/feed/docs/k/${writer}`, {
            method: "PUT",
            headers,
            body: JSON.stringify({ cycle, i }),
          });
          const { seq, commit } = (await reply.json()) as { seq: number; commit: string };
          if (reply.ok) acknowledged.set(seq, commit);
        } catch {
          // Killed under it: whether it was kept is not known.
          return;
        }
      }
    });
    const head = Math.max(0, ...acknowledged.keys());
    await stream.changes(cycle < cycles ? Math.ceil(1 + 15 * random()) : head - seen.length);
    const killed = server.stop("SIGKILL");
    writing = false;
    await Promise.all([killed, ...writers]);
    await stream.ended();
    for (const { event, data } of stream.events)
      if (event === "change") seen.push(data as { seq: number; cursor: string; commit: string });
    last = seen.at(-1)?.cursor;
  }
  expect(seen.map(({ seq }) => seq)).toEqual(seen.map((_event, i) => i + 1));
  for (const [seq, commit] of acknowledged) expect([seq, seen[seq - 1]?.commit]).toEqual([seq, commit]);
  expect(seen.length).toBeGreaterThan(cycles);
}, 180_000);

/**
 * Bytes that the process grows by while readers open a feed of some megabytes and read nothing, until all of
 * them were ended or it is more than enough; and how those who were ended hear of it.
 */
async function grownBy(
  limits: Partial<ServerLimits>,
  readers: number,
  enough: number,
): Promise<{ grown: number; ends: string[] }> {
  const config = readConfig({ dir: tempDir(), port: "0", logLevel: "silent", workers: "1" }, {});
  const service = await startService(config, { listen: true, limits });
  const sockets: Socket[] = [];
  try {
    await service.engine.create("feed");
    await service.engine.use("feed", async (db) => {
      // Bytes of one value: quick to make, and nobody has to read the documents.
      let doc = A.applyChanges(A.init<{ bytes: Uint8Array }>(), [db.genesis("k/1").bytes])[0];
      for (let i = 0; i < 48; i += 1) {
        doc = A.change(doc, (draft) => {
          draft.bytes = randomBytes(190_000);
        });
        await db.tx({
          author: "ann",
          writes: [{ doc: "k/1", changes: [A.getLastLocalChange(doc) as Uint8Array] }],
        });
      }
    });
    const before = process.memoryUsage();
    let most = 0;
    const url = new URL(service.url as string);
    for (let i = 0; i < readers; i += 1) {
      const socket = connect({ host: url.hostname, port: Number(url.port) });
      sockets.push(socket);
      socket.on("error", () => {});
      socket.pause();
      socket.write(
        `GET ${FEED}?feed=sse&include=changes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${service.firstToken as string}\r\n\r\n`,
      );
    }
    const where = `${service.url as string}/metrics`;
    const headers = { authorization: `Bearer ${service.firstToken as string}` };
    for (let began = false; ;) {
      const now = process.memoryUsage();
      most = Math.max(most, now.arrayBuffers - before.arrayBuffers);
      if (most > enough) return { grown: most, ends: [] };
      const metrics = await (await fetch(where, { headers })).text();
      const open = Number(/kind="sse"\} (\d+)/.exec(metrics)?.[1]);
      began ||= open > 0;
      if (began && open === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // They read on now: what had been written for them, and then how it ended.
    const ends =
      limits.behindBytes === 2 ** 40
        ? []
        : await Promise.all(
            sockets.map(async (socket) => {
              let tail = "";
              socket.setEncoding("utf8").on("data", (part: string) => {
                tail = (tail + part).slice(-300);
              });
              const over = once(socket, "close");
              socket.resume();
              await over;
              return /"code":"(\w+)"/.exec(tail)?.[1] ?? "none";
            }),
          );
    return { grown: most, ends };
  } finally {
    for (const socket of sockets) socket.destroy();
    await service.stop("the test is over");
  }
}

const READERS = 8;

/** Some chunks and what made them for each, 1.7 to 4.6 MB as measured, garbage included; all that they do not read is 95 MB. */
const SHARE = READERS * 6 * 2 ** 20;

test("readers that take nothing are ended with a cursor, and hold no more than their share of memory", async () => {
  const { grown, ends } = await grownBy({ behindBytes: 256 * 1024, behindMs: 1000 }, READERS, Infinity);
  expect(grown).toBeLessThan(SHARE);
  // Who comes for it within seconds still hears why; others find the connection closed.
  expect(ends.filter((code) => code !== "none")).toContain("READER_SLOW");
}, 180_000);

test("a feed that writes on whatever is taken is noticed", async () => {
  const { grown } = await grownBy({ behindBytes: 2 ** 40, behindMs: 1000 }, READERS, SHARE);
  expect(grown).toBeGreaterThan(SHARE);
}, 180_000);
