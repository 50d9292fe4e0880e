import { once } from "node:events";
import { WebSocket } from "ws";
import { decodeCborSequence } from "../../src/ids/cbor.ts";
import { runSkald } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { openEvents } from "./feed-client.ts";
import { API, problem, startHttp, type Reply } from "./fixture.ts";

const { ask, server } = await startHttp(tempDir());
const DB = `${API}/db/feed`;
const FEED = `${DB}/changes`;
const put = (doc: string, body: object, db = "feed"): Promise<Reply> =>
  ask("PUT", `${API}/db/${db}/docs/${doc}`, { body });
const seqsOf = (reply: Reply): number[] => (reply.json["events"] as { seq: number }[]).map(({ seq }) => seq);
const lines = (reply: Reply): Record<string, unknown>[] =>
  reply.text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

let receipts: Record<string, unknown>[] = [];
beforeAll(async () => {
  for (const db of ["feed", "other"]) await ask("PUT", `${API}/db/${db}`);
  for (const [doc, body] of [
    ["a/1", { n: 1 }],
    ["a/2", { n: 2 }],
    ["b/1", { n: 3 }],
    ["a/1", { n: 4 }],
  ] as const)
    receipts.push((await put(doc, body)).json);
  receipts.push((await ask("DELETE", `${DB}/docs/a/2`)).json);
  receipts.push(
    (
      await ask("POST", `${DB}/branches/main/tx`, {
        body: {
          message: "both",
          writes: [
            { doc: "a/3", value: { n: 6 } },
            { doc: "b/2", value: { n: 6 } },
          ],
        },
      })
    ).json,
  );
});

describe("a page", () => {
  test("has the commits in order, and its link leads on to the rest", async () => {
    const seen: number[] = [];
    let path: string | undefined = `${FEED}?limit=4`;
    const sizes: number[] = [];
    while (path !== undefined) {
      const page = await ask("GET", path);
      expect(page.status).toBe(200);
      expect(page.headers["skald-cursor"]).toBe(page.json["cursor"]);
      seen.push(...seqsOf(page));
      sizes.push(seqsOf(page).length);
      const link = page.headers["link"] as string | undefined;
      expect(page.json["more"]).toBe(link !== undefined);
      path = link === undefined ? undefined : /^<(.*)>; rel="next"$/.exec(link)?.[1];
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
    expect(sizes).toEqual([4, 2]);
  });

  test("an event says what its commit says", async () => {
    const commits = (await ask("GET", `${DB}/commits`)).json["commits"] as Record<string, unknown>[];
    const events = (await ask("GET", FEED)).json["events"] as Record<string, unknown>[];
    expect(events).toEqual(
      commits.map(({ seq, cid, time, author, branch, message, entries }, i) => ({
        seq,
        time,
        author,
        branch,
        ...(message === undefined ? {} : { message }),
        commit: cid,
        cursor: receipts[i]?.["cursor"],
        docs: (entries as Record<string, unknown>[]).map(({ doc, heads, deleted }) => ({
          doc,
          heads,
          ...(deleted === undefined ? {} : { deleted }),
        })),
      })),
    );
  });

  test("values are those of each commit, patches what each did, changes the bytes of its blocks", async () => {
    const docs = async (include: string): Promise<Record<string, unknown>[]> =>
      (
        (await ask("GET", `${FEED}?include=${include}`)).json["events"] as {
          docs: Record<string, unknown>[];
        }[]
      ).flatMap((event) => event.docs);
    expect((await docs("json")).map(({ doc, value }) => [doc, value])).toEqual([
      ["a/1", { n: 1 }],
      ["a/2", { n: 2 }],
      ["b/1", { n: 3 }],
      ["a/1", { n: 4 }],
      ["a/2", undefined],
      ["a/3", { n: 6 }],
      ["b/2", { n: 6 }],
    ]);
    expect((await docs("patch")).slice(3, 5).map(({ patch }) => patch)).toEqual([
      [{ op: "replace", path: "/n", value: 4 }],
      [{ op: "remove", path: "/n" }],
    ]);
    const commits = (await ask("GET", `${DB}/commits`)).json["commits"] as {
      entries: { changes: string[] }[];
    }[];
    const blocks = await Promise.all(
      commits
        .flatMap(({ entries }) => entries)
        .map(({ changes }) =>
          Promise.all(
            changes.map(async (cid) => (await ask("GET", `${DB}/blocks/${cid}`)).bytes.toString("base64")),
          ),
        ),
    );
    expect((await docs("changes")).map(({ changes }) => changes)).toEqual(blocks);
  });

  test.each([
    ["collection=a", [1, 2, 4, 5, 6]],
    ["collection=a&prefix=1", [1, 4]],
    ["doc=b/1", [3]],
    ["doc=b/1&doc=a/3", [3, 6]],
    ["collection=c", []],
    ["branch=main&since=3", [4, 5, 6]],
    ["since=now", []],
    ["since=0&limit=1", [1]],
  ])("%s", async (query, seqs) => {
    const page = await ask("GET", `${FEED}?${query}`);
    expect(seqsOf(page)).toEqual(seqs);
    // What did not match is behind its cursor too.
    if (!query.includes("limit")) expect(page.json["seq"]).toBe(6);
  });

  test("a feed goes on from whatever names a place", async () => {
    const [, second, third] = receipts;
    const read = await ask("GET", `${DB}/docs/a/1?at=2`);
    const list = await ask("GET", `${DB}/commits?limit=2`);
    for (const since of [
      "2",
      second?.["cursor"],
      second?.["commit"],
      read.headers["skald-cursor"],
      list.json["cursor"],
    ] as string[])
      expect(seqsOf(await ask("GET", `${FEED}?since=${encodeURIComponent(since)}`))).toEqual([3, 4, 5, 6]);
    const after = seqsOf(await ask("GET", `${FEED}?since=${encodeURIComponent(third?.["time"] as string)}`));
    expect(after).toEqual([1, 2, 3, 4, 5, 6].slice(-after.length));
    expect(after).not.toContain(3);
  });

  test("lines and a CBOR sequence have the same events and a last item that says how far they got", async () => {
    const events = (await ask("GET", FEED)).json["events"] as { seq: number; cursor: string }[];
    const asLines = await ask("GET", FEED, { headers: { accept: "application/x-ndjson" } });
    expect(asLines.headers["content-type"]).toBe("application/x-ndjson");
    const end = { seq: 6, cursor: events[5]?.cursor, more: false };
    expect(lines(asLines)).toEqual([...events, end]);
    const asCbor = await ask("GET", `${FEED}?limit=2`, { headers: { accept: "application/cbor-seq" } });
    expect(asCbor.headers["content-type"]).toBe("application/cbor-seq");
    const items = [...decodeCborSequence(asCbor.bytes)] as { seq: number; cursor: string; more?: boolean }[];
    expect(items.map(({ seq, cursor, more }) => [seq, cursor, more])).toEqual([
      [1, events[0]?.cursor, undefined],
      [2, events[1]?.cursor, undefined],
      [2, events[1]?.cursor, true],
    ]);
    expect((await ask("HEAD", FEED, { headers: { accept: "application/x-ndjson" } })).status).toBe(200);
    expect((await ask("HEAD", `${FEED}?feed=sse`)).headers["content-type"]).toBe("text/event-stream");
  });
});

describe("a place that a feed cannot begin at", () => {
  const tampered = (cursor: string, change: (text: string) => string): string =>
    Buffer.from(change(Buffer.from(cursor, "base64url").toString())).toString("base64url");
  const ways = [
    (since: string) => ask("GET", `${FEED}?since=${since}`),
    (since: string) => ask("GET", `${FEED}?since=${since}`, { headers: { accept: "application/x-ndjson" } }),
    (since: string) => ask("GET", `${FEED}?since=${since}&feed=longpoll`),
    (since: string) => ask("GET", `${FEED}?feed=sse`, { headers: { "last-event-id": since } }),
  ];

  test("another db's or none is CURSOR_INVALID, one of the future CURSOR_FUTURE, of another life EPOCH_CHANGED", async () => {
    const other = (await put("a/1", {}, "other")).json["cursor"] as string;
    const own = receipts[1]?.["cursor"] as string;
    const future = tampered(own, (text) => text.replace(/\d+$/, "7"));
    const epoch = tampered(own, (text) => text.replace(/\.1\./, ".2."));
    for (const way of ways) {
      for (const since of [other, "x", "-1", "1e3", "%20", own.slice(1)])
        problem(await way(since), 400, "CURSOR_INVALID");
      for (const since of ["7", future, "999999999999999"])
        expect(problem(await way(since), 409, "CURSOR_FUTURE")).toMatchObject({
          seq: 6,
          cursor: receipts[5]?.["cursor"],
        });
      expect(problem(await way(epoch), 410, "EPOCH_CHANGED")).toMatchObject({ last_common_seq: 0 });
      problem(
        await way("bafyr4iaubz6rfwmtqshptbiji3brnemwij764724msyfsbp33kdrsa73fe"),
        404,
        "COMMIT_NOT_FOUND",
      );
      problem(await way("2999-01-01T00:00:00Z"), 400, "POINT_IN_FUTURE");
    }
  });

  test.each([
    ["limit=0"],
    ["limit=1001"],
    ["include=all"],
    ["feed=carrier"],
    ["feed=websocket"],
    ["feed=sse&limit=1"],
    ["prefix=x"],
    ["collection=a%2Fb", "NAME_INVALID"],
    ["doc=nokey", "NAME_INVALID"],
    ["branch=draft", "BRANCH_NOT_FOUND"],
    ["heartbeat=1"],
    ["timeout=x"],
    ["since="],
    ["nonsense=1"],
  ])("%s is refused", async (query, code = "BAD_REQUEST") => {
    problem(await ask("GET", `${FEED}?${query}`), code === "BRANCH_NOT_FOUND" ? 404 : 400, code);
  });
});

describe("a long poll", () => {
  test("waits for the first commit that matches, and answers when its time is over", async () => {
    const waiting = ask("GET", `${API}/db/other/changes?feed=longpoll&since=now&collection=w`);
    const never = await ask("GET", `${API}/db/other/changes?feed=longpoll&since=now&timeout=50`);
    expect([never.status, seqsOf(never)]).toEqual([200, []]);
    await put("v/1", {}, "other");
    const { json } = await put("w/1", {}, "other");
    expect(seqsOf(await waiting)).toEqual([json["seq"]]);
    // There already.
    expect(seqsOf(await ask("GET", `${FEED}?feed=longpoll&since=5`))).toEqual([6]);
  });
});

describe("server-sent events", () => {
  test("come from the start and as they are committed, with cursors to come back by", async () => {
    await ask("PUT", `${API}/db/sse`);
    for (let i = 1; i <= 3; i += 1) await put(`k/${i}`, { i }, "sse");
    const path = `${API}/db/sse/changes?since=1&include=json`;
    const first = await openEvents(ask.port, path, ask.admin);
    expect(first.headers["content-type"]).toBe("text/event-stream");
    expect(await first.changes(2)).toEqual([2, 3]);
    await put("k/4", { i: 4 }, "sse");
    expect(await first.changes(3)).toEqual([2, 3, 4]);
    for (const { id, data } of first.events) expect(id).toBe(data["cursor"]);
    first.close();
    await put("k/5", { i: 5 }, "sse");
    // A client that comes back asks as it did the first time, and says what it had last.
    const again = await openEvents(ask.port, path, ask.admin, { "last-event-id": first.lastId() as string });
    await put("k/6", { i: 6 }, "sse");
    expect(await again.changes(2)).toEqual([5, 6]);
    expect(again.events[1]?.data).toMatchObject({ docs: [{ doc: "k/6", value: { i: 6 } }] });
    again.close();
  });

  test("a stream that was broken off before its first event goes on from where it began", async () => {
    const head = receipts[5]?.["cursor"];
    const stream = await openEvents(ask.port, `${FEED}?since=now`, ask.admin);
    await stream.until(() => stream.lastId() !== undefined);
    expect(stream.lastId()).toBe(head);
    stream.close();
  });

  test("silence is filled with signs of life, and what did not match moves the cursor", async () => {
    const stream = await openEvents(
      ask.port,
      `${API}/db/other/changes?since=now&collection=none&heartbeat=100`,
      ask.admin,
    );
    await stream.until(() => stream.comments >= 2);
    const { json } = await put("v/2", {}, "other");
    await stream.until(() => stream.lastId() === json["cursor"]);
    expect(stream.events).toEqual([]);
    stream.close();
  });

  test("a token that is revoked ends the stream soon, and gets nothing that is committed after", async () => {
    const { token, id } = await ask.token(["other:doc.read"]);
    const streams = await Promise.all(
      ["", "&heartbeat=60000"].map((more) =>
        openEvents(ask.port, `${API}/db/other/changes?since=now${more}`, token),
      ),
    );
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    await put("v/3", {}, "other");
    for (const stream of streams) {
      expect(await stream.ended()).toMatchObject({ code: "UNAUTHENTICATED" });
      expect(stream.events).toHaveLength(1);
    }
  });

  test("a db that is rebuilt or deleted ends its streams with the place to go on from", async () => {
    await ask("PUT", `${API}/db/gone`);
    const { json } = await put("k/1", {}, "gone");
    const stream = await openEvents(ask.port, `${API}/db/gone/changes`, ask.admin);
    await stream.changes(1);
    await ask("POST", `${API}/db/gone/rebuild`);
    expect(await stream.ended()).toEqual({ code: "UNAVAILABLE", seq: 1, cursor: json["cursor"] });
    const again = await openEvents(ask.port, `${API}/db/gone/changes`, ask.admin, {
      "last-event-id": stream.lastId() as string,
    });
    await put("k/2", {}, "gone");
    expect(await again.changes(1)).toEqual([2]);
    expect((await ask("DELETE", `${API}/db/gone?confirm=gone`)).status).toBe(204);
    expect(await again.ended()).toMatchObject({ code: "UNAVAILABLE", seq: 2 });
    problem(await ask("GET", `${API}/db/gone/changes?feed=sse`), 404, "DB_NOT_FOUND");
  });
});

describe("a token for a part of a db", () => {
  test("sees the documents it may see and nothing of other commits, whichever way it reads", async () => {
    const { token } = await ask.token(["feed:doc.read:b/"]);
    const wanted = [
      { seq: 3, docs: ["b/1"], message: undefined },
      { seq: 6, docs: ["b/2"], message: "both" },
    ];
    const told = (events: Record<string, unknown>[]): unknown[] =>
      events.map(({ seq, docs, message }) => ({
        seq,
        docs: (docs as { doc: string }[]).map(({ doc }) => doc),
        message,
      }));
    const page = await ask("GET", FEED, { token });
    expect(told(page.json["events"] as Record<string, unknown>[])).toEqual(wanted);
    expect(page.headers["skald-commit"]).toBeUndefined();
    const streamed = await ask("GET", `${FEED}?include=json`, {
      token,
      headers: { accept: "application/x-ndjson" },
    });
    expect(told(lines(streamed).slice(0, -1))).toEqual(wanted);
    const stream = await openEvents(ask.port, FEED, token);
    await stream.changes(2);
    expect(told(stream.events.map(({ data }) => data))).toEqual(wanted);
    stream.close();
    const socket = await openSocket(`${FEED}`, token);
    await socket.until(() => socket.items.length >= 3);
    expect(told(socket.items.slice(1))).toEqual(wanted);
    socket.ws.close();
    for (const text of [page.text, streamed.text]) expect(text).not.toMatch(/a\/[123]/);
    expect(seqsOf(await ask("GET", `${FEED}?doc=a/1`, { token }))).toEqual([]);
  });

  test("that may read nothing of it gets nothing", async () => {
    const { token } = await ask.token(["other:doc.read", "feed:doc.write"]);
    problem(await ask("GET", FEED, { token }), 403, "FORBIDDEN");
    problem(await ask("GET", `${FEED}?feed=sse`, { token }), 403, "FORBIDDEN");
    problem(await ask("GET", `${FEED}?feed=sse`, { token: null }), 401, "UNAUTHENTICATED");
    expect(await refusedSocket(FEED, token)).toContain("403");
  });
});

interface FeedSocket {
  readonly ws: WebSocket;
  readonly items: Record<string, unknown>[];
  readonly binary: boolean[];
  until(done: () => boolean): Promise<void>;
  readonly closed: Promise<[number, string]>;
}

async function openSocket(path: string, token: string, protocol?: string): Promise<FeedSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${path}`, protocol === undefined ? [] : [protocol], {
    headers: { authorization: `Bearer ${token}` },
  });
  const items: Record<string, unknown>[] = [];
  const binary: boolean[] = [];
  let look = (): void => {};
  ws.on("message", (data: Buffer, isBinary: boolean) => {
    binary.push(isBinary);
    if (isBinary) items.push(...([...decodeCborSequence(data)] as Record<string, unknown>[]));
    else
      items.push(
        ...data
          .toString()
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as Record<string, unknown>),
      );
    look();
  });
  const closed = once(ws, "close").then(([code, reason]): [number, string] => {
    look();
    return [code as number, String(reason)];
  });
  await once(ws, "open");
  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      look = () => {
        if (done()) resolve();
        else if (ws.readyState === ws.CLOSED) reject(new Error("closed"));
      };
      look();
    });
  return { ws, items, binary, until, closed };
}

async function refusedSocket(path: string, token: string): Promise<string> {
  const ws = new WebSocket(`ws://127.0.0.1:${ask.port}${path}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const [error] = (await once(ws, "error")) as [Error];
  return error.message;
}

describe("a WebSocket", () => {
  test("gets JSON in text frames or a CBOR sequence in binary ones, as they are committed", async () => {
    await ask("PUT", `${API}/db/ws`);
    await put("k/1", { i: 1 }, "ws");
    const path = `${API}/db/ws/changes`;
    const sockets = await Promise.all([
      openSocket(`${path}?include=json`, ask.admin),
      openSocket(`${path}?include=json&format=cbor`, ask.admin),
      openSocket(`${path}?include=json`, ask.admin, "skald.changes.1"),
    ]);
    for (const socket of sockets) await socket.until(() => socket.items.length >= 2);
    await put("k/2", { i: 2 }, "ws");
    for (const [i, socket] of sockets.entries()) {
      await socket.until(() => socket.items.length >= 3);
      const [start, ...events] = socket.items;
      expect(start).toMatchObject({ seq: 0 });
      expect(events).toMatchObject(
        [1, 2].map((seq) => ({ seq, docs: [{ doc: `k/${seq}`, value: { i: seq } }] })),
      );
      expect(new Set(socket.binary)).toEqual(new Set([i > 0]));
      expect(socket.ws.protocol).toBe(i === 2 ? "skald.changes.1" : "");
    }
    const pinged = once(sockets[0]?.ws as WebSocket, "ping");
    const quiet = await openSocket(`${path}?since=now&heartbeat=100`, ask.admin);
    await once(quiet.ws, "ping");
    quiet.ws.close();
    void pinged.catch(() => {});
    await ask("DELETE", `${API}/db/ws?confirm=ws`);
    for (const { closed, items } of sockets) {
      const cursor = items[2]?.["cursor"] as string;
      expect(await closed).toEqual([1001, `UNAVAILABLE ${cursor}`]);
      expect(items.at(-1)).toMatchObject({ code: "UNAVAILABLE", seq: 2, cursor });
    }
  });

  test("what it asks for wrongly is refused before the upgrade", async () => {
    expect(await refusedSocket(`${FEED}?since=99`, ask.admin)).toContain("409");
    expect(await refusedSocket(`${FEED}?since=x`, ask.admin)).toContain("400");
    expect(await refusedSocket(`${FEED}?feed=sse`, ask.admin)).toContain("400");
    expect(await refusedSocket(`${FEED}?limit=5`, ask.admin)).toContain("400");
    expect(await refusedSocket(`${API}/db/none/changes`, ask.admin)).toContain("404");
  });

  test("a token that is revoked closes it", async () => {
    const { token, id } = await ask.token(["feed:doc.read"]);
    const socket = await openSocket(`${FEED}?since=now`, token);
    await ask("DELETE", `${API}/admin/tokens/${id}`);
    const [code, reason] = await socket.closed;
    expect([code, reason.split(" ")[0]]).toEqual([1008, "UNAUTHENTICATED"]);
  });
});

test("the command prints events as lines, to a server and to a directory", async () => {
  const env = { SKALD_TOKEN: ask.admin };
  const all = await runSkald(["changes", "feed", "--include", "json", "--url", server.url], { env });
  expect([all.code, all.out.trim().split("\n").length]).toEqual([0, 6]);
  expect(all.err).toContain(`--since ${receipts[5]?.["cursor"] as string}`);
  const some = await runSkald(["changes", "feed", "--since", "4", "--collection", "a", "--dir", server.dir]);
  expect(
    some.out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { seq: number }).seq),
  ).toEqual([5, 6]);
  const bad = await runSkald(["changes", "feed", "--since", "99", "--url", server.url], { env });
  expect([bad.code === 0, bad.out]).toEqual([false, ""]);
  expect(bad.err).toContain("CURSOR_FUTURE");
});

test("what is open and was sent is counted, and nothing of it names a db", async () => {
  const before = (await ask("GET", "/metrics")).text;
  const stream = await openEvents(ask.port, `${FEED}?feed=sse`, ask.admin);
  await stream.changes(6);
  const { text } = await ask("GET", "/metrics");
  const value = (from: string, name: string): number =>
    Number(
      from
        .split("\n")
        .find((line) => line.startsWith(`${name} `))
        ?.split(" ")[1],
    );
  expect(value(text, 'skald_feeds_open{kind="sse"}')).toBe(1);
  expect(value(text, "skald_feed_events_total") - value(before, "skald_feed_events_total")).toBe(6);
  expect(
    text
      .split("\n")
      .filter((line) => line.startsWith("skald_feed"))
      .join(),
  ).not.toContain("other");
  stream.close();
});
