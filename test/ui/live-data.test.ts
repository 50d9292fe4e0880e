import { hashOfRows } from "../../src/protocol/result-hash.ts";
import { WatchMismatch } from "../../src/protocol/watched-rows.ts";
import { commitQuery, feedQuery, filterOf, filterQuery } from "../../src/ui/feed-filter.ts";
import { FeedTail, docsText, type FeedEvent } from "../../src/ui/feed-tail.ts";
import { LiveResult, endOf } from "../../src/ui/live-result.ts";
import { repoCode, socketUrl } from "../../src/ui/sync-snippets.ts";

describe("a watched result", () => {
  const columns = ["id", "n"];
  const place = (seq: number, rows: readonly string[]) =>
    `"seq":${seq},"result_hash":"${hashOfRows(columns, rows)}","cursor":"c${seq}"`;
  const before = ['["a",1]', '["b",2]', '["c",3]'];
  const after = ['["a",1]', '["b",2.5]', '["d",4]'];
  const snapshot = `{${place(1, before)},"columns":["id","n"],"types":["TEXT",null],"row_count":3,"rows":[${before.join()}]}`;
  const update = `{${place(2, after)},"from":"${hashOfRows(columns, before)}","types":["TEXT",null],"row_count":3,"changed":[[1,["b",2.5]]],"removed":[[2,["c",3]]],"added":[[2,["d",4]]]}`;

  test("is told which rows an update brought, and the others stay the same objects", () => {
    const live = new LiveResult();
    expect(live.take("snapshot", snapshot)).toBe(true);
    expect(live.fresh.size).toBe(0);
    const [first] = live.rows?.rows ?? [];
    expect(live.take("update", update)).toBe(true);
    expect(live.rows?.rows.map(({ text }) => text)).toEqual(after);
    expect(live.rows?.rows[0]).toBe(first);
    expect(Array.from(live.fresh, ({ text }) => text)).toEqual(after.slice(1));
    expect(live.updates).toBe(1);
    expect(live.take("heartbeat", `{${place(9, after)}}`)).toBe(false);
    expect(live.rows?.seq).toBe(9);
    expect(live.take("of another day", "{}")).toBe(false);
  });

  test.each([
    ["a delta from another result", update.replace(/"from":"\w+"/, `"from":"${"0".repeat(64)}"`)],
    ["a row that goes and is not here", update.replace('[2,["c",3]]', '[2,["x",3]]')],
    ["a place that is none", update.replace('[1,["b",2.5]]', '[7,["b",2.5]]')],
    ["rows that have another hash", update.replace("2.5", "2.75")],
  ])("refuses %s, and can begin anew", (_, wrong) => {
    const live = new LiveResult();
    live.take("snapshot", snapshot);
    expect(() => live.take("update", wrong)).toThrow(WatchMismatch);
    expect(live.rows?.seq).toBe(1);
    live.forget();
    expect(live.take("snapshot", snapshot)).toBe(true);
  });

  test("is over for good for some reasons, and comes back for others", () => {
    expect(endOf("update", "{}")).toBeUndefined();
    expect(endOf("error", '{"code":"READER_SLOW"}')).toBeUndefined();
    expect(endOf("error", '{"code":"SQL_ERROR","detail":"no such table: a"}')).toMatchObject({
      code: "SQL_ERROR",
    });
  });
});

describe("the feed", () => {
  const event = (seq: number): FeedEvent => ({
    seq,
    commit: `c${seq}`,
    time: "2026-01-01T00:00:00Z",
    author: "ann",
    branch: "main",
    cursor: "",
    docs: [],
  });

  test("keeps what comes while it is paused, shows it afterwards, and takes nothing twice", () => {
    const tail = new FeedTail();
    tail.take(event(1));
    tail.pause();
    for (const seq of [1, 2, 3]) tail.take(event(seq));
    expect([tail.count, tail.waiting]).toEqual([1, 2]);
    tail.resume();
    expect([tail.count, tail.waiting]).toEqual([3, 0]);
    expect(tail.row(0)?.seq).toBe(3);
    expect(tail.row(2)?.seq).toBe(1);
    expect(tail.row(3)).toBeUndefined();
  });

  test("keeps so many and no more, paused or not", () => {
    const tail = new FeedTail(10);
    for (let seq = 1; seq <= 35; seq += 1) tail.take(event(seq));
    tail.pause();
    for (let seq = 36; seq <= 100; seq += 1) tail.take(event(seq));
    expect(tail.count + tail.waiting).toBeLessThan(40);
    tail.resume();
    expect(tail.count).toBeLessThan(20);
    expect(tail.row(0)?.seq).toBe(100);
    expect(tail.count + tail.lost).toBe(100);
  });

  test("is asked with what the filter says, and the filter stands in the address", () => {
    const filter = filterOf({ collection: "movies", prefix: "A", since: "" });
    expect(filterQuery(filter)).toEqual({
      collection: "movies",
      prefix: "A",
      doc: undefined,
      branch: undefined,
      since: undefined,
    });
    expect(feedQuery(filter, 1000)).toMatchObject({ collection: "movies", prefix: "A", since: "800" });
    expect(feedQuery(filterOf({}), 10)).toMatchObject({ since: "0", collection: undefined });
    // A prefix is of a collection; a document goes before both.
    expect(filterOf({ prefix: "A" }).prefix).toBe("");
    expect(feedQuery(filterOf({ doc: "a/b", collection: "c", branch: "*", since: "now" }), 10)).toEqual({
      doc: "a/b",
      branch: "*",
      since: "now",
    });
    expect(feedQuery(filterOf({ since: "2026-01-02T03:04" }), 10)["since"]).toMatch(
      /^2026-01-0\dT\d\d:\d4:00.000Z$/,
    );
    expect(commitQuery(filter, 7, "draft")).toMatchObject({
      since: "6",
      limit: "1",
      include: "patch",
      branch: "draft",
    });
  });

  test("says in a line what a commit touched", () => {
    const docs = ["a/1", "a/2", "a/3", "a/4"].map((doc) => ({ doc, heads: [] }));
    expect(docsText(docs)).toBe("a/1, a/2, a/3 +1");
    expect(docsText([{ doc: "a/1", heads: [], deleted: true }])).toBe("− a/1");
  });
});

test("the URL to paste is that of a socket, with its ticket, and the code has both as texts", () => {
  const place = { origin: "https://skald.example", path: "/api/v1/db/n/sync", ticket: "a+b" };
  expect(socketUrl(place)).toBe("wss://skald.example/api/v1/db/n/sync?ticket=a%2Bb");
  expect(socketUrl({ origin: "http://127.0.0.1:4004", path: "/" })).toBe("ws://127.0.0.1:4004/");
  expect(repoCode('wss://x/"', "automerge:abc")).toContain('WebSocketClientAdapter("wss://x/\\"")');
});
