import { isSkaldError } from "../../src/client/error.ts";
import { tempDir } from "../support/temp-dir.ts";
import { makeClient, makeNet, startDb } from "./fixture.ts";

const { server, clientOf } = await startDb(tempDir());
const client = clientOf();

interface Task {
  title: string;
  done?: boolean;
  tags?: string[];
}

test("puts, reads, patches and deletes a document", async () => {
  const tasks = client.collection<Task>("tasks");
  const made = await tasks.put("a", { title: "Write" }, { message: "first" });
  expect(made).toMatchObject({ seq: 1, duplicate: false });
  expect(await tasks.get("a")).toEqual({ title: "Write" });
  await tasks.patch("a", { done: true });
  await tasks.patch("a", [{ op: "add", path: "/tags", value: ["x"] }]);
  const read = await tasks.read("a");
  expect(read).toMatchObject({ value: { title: "Write", done: true, tags: ["x"] }, seq: 3 });
  expect(read?.url).toMatch(/^automerge:/);
  expect(await tasks.at("a", 1)).toEqual({ title: "Write" });
  await tasks.delete("a");
  expect(await tasks.get("a")).toBeUndefined();
  const history = [];
  for await (const { seq, message, deleted } of tasks.history("a")) history.push({ seq, message, deleted });
  expect(history).toEqual([
    { seq: 4, message: undefined, deleted: true },
    { seq: 3, message: undefined, deleted: false },
    { seq: 2, message: undefined, deleted: false },
    { seq: 1, message: "first", deleted: false },
  ]);
});

test("names with slashes, spaces, percent signs and other scripts stay what they are", async () => {
  for (const key of ["a/b", "x y", "50%", "%2F", "ü/日本", "?q#h", "a..b"]) {
    await client.put(`names/${key}`, { key });
    expect(await client.get(`names/${key}`)).toEqual({ key });
  }
  const listed = [];
  for await (const { key } of client.list({ collection: "names", page: 2 })) listed.push(key);
  expect(listed).toHaveLength(7);
});

test("names that no path can have are refused here, and written in a transaction", async () => {
  await expect(client.get("dots/..")).rejects.toMatchObject({ code: "NAME_INVALID" });
  await client.put("dots/..", { up: true });
  const listed = [];
  for await (const { doc, value } of client.list({ collection: "dots", values: true }))
    listed.push([doc, value]);
  expect(listed).toEqual([["dots/..", { up: true }]]);
});

test("writes several documents in one commit, or none", async () => {
  const receipt = await client.tx([
    { doc: "both/a", value: { n: 1 } },
    { doc: "both/b", value: { n: 2 } },
  ]);
  expect(Object.keys(receipt.heads).sort()).toEqual(["both/a", "both/b"]);
  const refused = client.tx([
    { doc: "both/a", patch: { n: 3 } },
    { doc: "both/b", patch: { n: 3 }, ifHeads: [] },
  ]);
  await expect(refused).rejects.toMatchObject({
    code: "HEADS_CONFLICT",
    status: 409,
    hint: expect.stringMatching(/./) as string,
    details: { current_heads: receipt.heads["both/b"] },
  });
  expect(await client.get("both/a")).toEqual({ n: 1 });
});

test("a write on heads that have moved on is refused, one on the newest is not", async () => {
  await client.put("cas/a", { n: 1 });
  const heads = (await client.read("cas/a"))?.heads ?? [];
  await client.put("cas/a", { n: 2 }, { ifHeads: heads });
  await expect(client.put("cas/a", { n: 3 }, { ifHeads: heads })).rejects.toMatchObject({
    code: "HEADS_CONFLICT",
  });
});

test("a change is authored here and merges with what others wrote meanwhile", async () => {
  const net = makeNet();
  const author = clientOf({ fetch: net.fetch });
  await client.put("changes/a", { items: ["x"], title: "old" });
  const first = await author.change<{ items: string[] }>("changes/a", (doc) => {
    doc.items.push("y");
  });
  expect(first?.duplicate).toBe(false);
  await client.patch("changes/a", { title: "new" });
  await author.change<{ items: string[] }>("changes/a", (doc) => {
    expect(doc).toMatchObject({ title: "new" });
    doc.items.push("z");
  });
  expect(await client.get("changes/a")).toEqual({ items: ["x", "y", "z"], title: "new" });
  expect(await author.change("changes/a", () => {})).toBeUndefined();
});

test("changes of one client go one on the other, also when none is waited for", async () => {
  const all = Array.from({ length: 20 }, (_, i) =>
    client.change<{ n: number[] }>("changes/many", (doc) => {
      if (doc.n) doc.n.push(i);
      else doc.n = [i];
    }),
  );
  await Promise.all(all);
  expect(await client.get("changes/many")).toEqual({ n: Array.from({ length: 20 }, (_, i) => i) });
});

test("a change that is refused leaves nothing behind for the next to build on", async () => {
  await client.put("changes/fenced", { n: 0 });
  const reader = await fetch(`${server.url}/api/v1/admin/tokens`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
    body: JSON.stringify({ label: "reader", scopes: ["notes:doc.read"] }),
  });
  const { token } = (await reader.json()) as { token: string };
  const author = clientOf({ token });
  const count = (by: number) => author.change<{ n: number }>("changes/fenced", (doc) => (doc.n = by));
  await expect(count(1)).rejects.toMatchObject({ code: "FORBIDDEN" });
  author.setToken(server.token as string);
  await count(2);
  expect(await client.get("changes/fenced")).toEqual({ n: 2 });
});

test("a token that ran out is renewed once, for all requests that wait", async () => {
  let given = 0;
  const net = makeNet();
  const renewing = clientOf({
    token: "skald_expired",
    fetch: net.fetch,
    getToken: async () => {
      given += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
      return server.token as string;
    },
  });
  await client.put("auth/a", { n: 1 });
  const reads = await Promise.all([1, 2, 3].map(() => renewing.get("auth/a")));
  expect(reads).toEqual([{ n: 1 }, { n: 1 }, { n: 1 }]);
  expect(given).toBe(1);
});

test("a refused token is an error when there is no other, and only one more is asked for", async () => {
  let given = 0;
  await expect(clientOf({ token: "skald_wrong" }).get("auth/a")).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
    status: 401,
  });
  const wrong = makeClient({
    url: server.url,
    db: "notes",
    getToken: () => {
      given += 1;
      return "skald_wrong";
    },
  });
  await expect(wrong.get("auth/a")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(given).toBe(2);
});

test("what passes is tried again, as late as the server says", async () => {
  const waits: number[] = [];
  let refusals = 2;
  const busy = clientOf({
    fetch: (url, request) =>
      refusals-- > 0
        ? Promise.resolve(
            new Response('{"code":"WORK_BUSY","detail":"busy","hint":"wait"}', {
              status: 503,
              headers: { "retry-after": "7" },
            }),
          )
        : fetch(url, request),
    platform: {
      timer: (ms, work) => {
        waits.push(ms);
        const timer = setTimeout(work, 0);
        return () => clearTimeout(timer);
      },
    },
  });
  await client.put("retry/a", { n: 1 });
  expect(await busy.get("retry/a")).toEqual({ n: 1 });
  expect(waits).toEqual([7000, 7000]);
});

test("a server that nobody answers for is OFFLINE, and an answer of something else is BAD_ANSWER", async () => {
  const gone = makeClient({ url: "http://127.0.0.1:9", db: "notes", retries: 0, offline: "fail" });
  const error = await gone.get("a/b").catch((caught: unknown) => caught);
  expect(isSkaldError(error)).toBe(true);
  expect(error).toMatchObject({ code: "OFFLINE", status: 0 });
  await expect(gone.put("a/b", {})).rejects.toMatchObject({
    code: "OFFLINE",
    details: { client_tx_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string },
  });
  expect(gone.status).toBe("offline");
  const strange = clientOf({ fetch: () => Promise.resolve(new Response("<html>", { status: 404 })) });
  await expect(strange.get("a/b")).rejects.toMatchObject({ code: "BAD_ANSWER", status: 404 });
});

test("a request that is given up rejects with the reason", async () => {
  const stop = new AbortController();
  const asked = makeClient({ url: "http://127.0.0.1:9", db: "notes" }).get("a/b", { signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
});
