import type { ChangeEvent } from "../../src/client/feed.ts";
import type { FetchLike } from "../../src/client/platform.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { startDb, until } from "./fixture.ts";

const { clientOf } = await startDb(tempDir());
const writer = clientOf();

/** Takes `count` events and leaves. */
async function take(events: AsyncIterable<ChangeEvent>, count: number): Promise<ChangeEvent[]> {
  const taken: ChangeEvent[] = [];
  if (count === 0) return taken;
  for await (const event of events) {
    taken.push(event);
    if (taken.length === count) break;
  }
  return taken;
}

/** Streams that break off after some bytes, by turns. */
function breaking(after: readonly number[]): { fetch: FetchLike; opened: string[] } {
  const opened: string[] = [];
  return {
    opened,
    fetch: async (url, request) => {
      const response = await fetch(url, request);
      if (!url.includes("/changes") && !url.includes("/events")) return response;
      opened.push(new URL(url).searchParams.get("since") ?? "");
      let left = after[(opened.length - 1) % after.length] as number;
      const cut = new TransformStream<Uint8Array, Uint8Array>({
        transform: (part, controller) => {
          controller.enqueue(part.subarray(0, left));
          left -= part.length;
          if (left <= 0) controller.error(new TypeError("terminated"));
        },
      });
      return new Response(response.body?.pipeThrough(cut), response);
    },
  };
}

test("commits come in order, as they are made, with what is asked for", async () => {
  const made = await writer.put("feed/a", { n: 1 }, { message: "first" });
  const [event] = await take(writer.changes({ since: made.seq - 1, include: "json" }), 1);
  expect(event).toMatchObject({
    seq: made.seq,
    commit: made.commit,
    message: "first",
    docs: [{ doc: "feed/a", heads: made.heads["feed/a"], value: { n: 1 } }],
  });
  const next = take(writer.changes({ since: made.cursor, include: "changes", collection: "feed" }), 2);
  await writer.put("elsewhere/a", { n: 1 });
  await writer.patch("feed/a", { n: 2 });
  await writer.delete("feed/a");
  const [changed, deleted] = await next;
  expect(changed?.docs).toMatchObject([{ doc: "feed/a", changes: [expect.any(Uint8Array) as Uint8Array] }]);
  // The bytes of an Automerge change begin so.
  expect([...(changed?.docs[0]?.changes?.[0] ?? [])].slice(0, 4)).toEqual([0x85, 0x6f, 0x4a, 0x83]);
  expect(deleted?.docs).toMatchObject([{ doc: "feed/a", deleted: true }]);
  const [patched] = await take(writer.changes({ since: made.seq, include: "patch", docs: ["feed/a"] }), 1);
  expect(patched?.docs[0]?.patch).toEqual([{ op: "replace", path: "/n", value: 2 }]);
});

test("without following, a feed ends where the db is", async () => {
  const { seq } = await writer.info();
  const all: number[] = [];
  for await (const event of writer.changes({ follow: false })) all.push(event.seq);
  expect(all).toEqual(Array.from({ length: seq }, (_, i) => i + 1));
});

test("a stream that breaks off at any byte goes on behind the last event, and none comes twice", async () => {
  const { seq, cursor } = await writer.info();
  for (let n = 0; n < 30; n += 1) await writer.put("feed/cuts", { n });
  const net = breaking([100, 2000, 5000]);
  const events = await take(clientOf(net).changes({ since: cursor, include: "json" }), 30);
  expect(events.map((event) => event.seq)).toEqual(Array.from({ length: 30 }, (_, i) => seq + 1 + i));
  expect(net.opened.length).toBeGreaterThan(2);
  expect(net.opened[0]).toBe(cursor);
});

test("a feed goes on when the server was killed and is back", async () => {
  const own = await startDb(tempDir());
  const client = own.clientOf();
  const seen: number[] = [];
  const stop = new AbortController();
  const reading = (async () => {
    for await (const { seq } of client.changes({ signal: stop.signal })) seen.push(seq);
  })();
  await client.put("feed/a", { n: 1 });
  await until(() => seen.length === 1);
  await own.server.stop("SIGKILL");
  await startServer(own.server.dir, { args: ["--port", new URL(own.server.url).port] });
  await client.put("feed/a", { n: 2 });
  await until(() => seen.length === 2);
  expect(seen).toEqual([1, 2]);
  stop.abort();
  await reading;
});

test("a feed ends when its signal says so, and rejects when the client is closed", async () => {
  const stop = new AbortController();
  const waiting = take(writer.changes({ since: "now", signal: stop.signal }), 1);
  stop.abort();
  expect(await waiting).toEqual([]);
  const client = clientOf();
  const open = take(client.changes({ since: "now" }), 1);
  client.close();
  await expect(open).rejects.toMatchObject({ code: "CLOSED" });
});

test("a cursor that is no good, and a token that may not, are errors of the iterator", async () => {
  await expect(take(writer.changes({ since: "nonsense" }), 1)).rejects.toMatchObject({
    code: "CURSOR_INVALID",
  });
  await expect(take(writer.changes({ since: 1_000_000 }), 1)).rejects.toMatchObject({
    code: "CURSOR_FUTURE",
  });
  await expect(take(clientOf({ token: "skald_wrong" }).changes(), 1)).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
  });
});

test("of another life of the db the last common place is told, or gone on from", async () => {
  const { seq, cursor } = await writer.info();
  let lives = 1;
  const fetchInNewLife: FetchLike = (url, request) =>
    url.includes("/changes") && lives-- > 0
      ? Promise.resolve(
          new Response(JSON.stringify({ code: "EPOCH_CHANGED", detail: "", hint: "", seq, cursor }), {
            status: 410,
          }),
        )
      : fetch(url, request);
  const told = take(clientOf({ fetch: fetchInNewLife }).changes({ since: "old" }), 1);
  await expect(told).rejects.toMatchObject({ code: "EPOCH_CHANGED", details: { cursor } });
  lives = 1;
  await writer.put("feed/life", { n: 1 });
  const resumed = clientOf({ fetch: fetchInNewLife }).changes({ since: "old", onEpoch: "resume" });
  expect((await take(resumed, 1))[0]?.seq).toBe(seq + 1);
});

test("a subscription gives each event until it is acknowledged, over cuts and restarts of the consumer", async () => {
  const { cursor } = await writer.info();
  const options = { collection: "work", from: cursor } as const;
  for (let n = 0; n < 6; n += 1) await writer.put(`work/${n}`, { n });
  const net = breaking([700, 1500]);
  const first = clientOf(net).subscription("worker", options);
  const done: string[] = [];
  for await (const event of first.events()) {
    done.push(event.docs[0]?.doc as string);
    await event.ack();
    if (done.length === 3) break;
  }
  const second = clientOf().subscription("worker", options);
  for await (const event of second.events()) {
    done.push(event.docs[0]?.doc as string);
    await event.ack();
    if (done.length === 6) break;
  }
  expect(done).toEqual([0, 1, 2, 3, 4, 5].map((n) => `work/${n}`));
  expect(await second.info()).toMatchObject({ name: "worker", unacknowledged: 0 });
  await second.delete();
  await expect(second.info()).rejects.toMatchObject({ code: "SUBSCRIPTION_NOT_FOUND" });
});

test("consumers of a shared subscription have each event once between them", async () => {
  const { cursor } = await writer.info();
  const options = { mode: "shared", collection: "jobs", from: cursor } as const;
  const stop = new AbortController();
  const done: string[] = [];
  const acks: Promise<void>[] = [];
  const consume = async (): Promise<number> => {
    let mine = 0;
    for await (const event of clientOf().subscription("jobs", options).events({ signal: stop.signal })) {
      if (event.docs[0]?.doc === "jobs/3" && event.attempt === 1) {
        await event.nack();
        continue;
      }
      done.push(event.docs[0]?.doc as string);
      mine += 1;
      acks.push(event.ack());
    }
    return mine;
  };
  const consumers = [consume(), consume()];
  for (let n = 0; n < 10; n += 1) await writer.put(`jobs/${n}`, { n });
  await until(() => done.length >= 10);
  const info = clientOf().subscription("jobs");
  await Promise.all(acks);
  expect(await info.info()).toMatchObject({ unacknowledged: 0 });
  stop.abort();
  await Promise.all(consumers);
  expect(done.toSorted()).toEqual(Array.from({ length: 10 }, (_, n) => `jobs/${n}`));
});
