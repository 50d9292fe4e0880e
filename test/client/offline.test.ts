import type { KeptWrite } from "../../src/client/write-queue.ts";
import { memoryStorage, type ClientStorage } from "../../src/client/storage.ts";
import { tempDir } from "../support/temp-dir.ts";
import { makeNet, startDb, until } from "./fixture.ts";

const { server, clientOf } = await startDb(tempDir());
const reader = clientOf();

/** Commits of a document, oldest first, by their messages. */
async function messages(doc: string): Promise<string[]> {
  const all: string[] = [];
  for await (const { message } of reader.history(doc)) all.unshift(message ?? "");
  return all;
}

/** A storage like a disk: what it holds outlives the clients. */
function disk(): ClientStorage & { size(): Promise<number> } {
  const storage = memoryStorage();
  return { ...storage, size: async () => (await storage.keys("")).length };
}

test("writes made offline are written when the network is back, in their order", async () => {
  const net = makeNet();
  const client = clientOf({ fetch: net.fetch });
  await client.put("queue/a", { n: 0 }, { message: "0" });
  expect(client.status).toBe("saved");
  net.down = true;
  const writes = [1, 2, 3].map((n) => client.patch("queue/a", { n }, { message: String(n) }));
  const other = client.put("queue/b", { b: true });
  await until(() => client.status === "offline");
  expect(client.unsaved).toBe(4);
  net.asked.length = 0;
  net.down = false;
  const receipts = await Promise.all(writes);
  await other;
  const seqs = receipts.map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  expect(await messages("queue/a")).toEqual(["0", "1", "2", "3"]);
  expect(client.status).toBe("saved");
  expect(client.unsaved).toBe(0);
});

test("a write whose answer is lost is sent again and written once", async () => {
  const net = makeNet();
  const client = clientOf({ fetch: net.fetch });
  net.deaf = 2;
  const receipt = await client.put("queue/once", { n: 1 }, { message: "once" });
  expect(receipt.duplicate).toBe(true);
  expect(net.asked).toHaveLength(3);
  expect(await messages("queue/once")).toEqual(["once"]);
});

test("a JSON patch whose answer is lost is applied once", async () => {
  const net = makeNet();
  const client = clientOf({ fetch: net.fetch });
  await client.put("queue/list", { items: [] });
  net.deaf = 1;
  await client.patch("queue/list", [{ op: "add", path: "/items/-", value: "x" }]);
  expect(await reader.get("queue/list")).toEqual({ items: ["x"] });
});

test("writes kept in a storage are sent by the next process, in order and once", async () => {
  const storage = disk();
  const net = makeNet();
  const first = clientOf({ fetch: net.fetch, storage });
  // Two get to the server and their answers are lost with the process; the rest never leaves it.
  net.deaf = 2;
  const writes = Array.from({ length: 6 }, (_, n) =>
    first.patch("queue/restart", { [`n${n}`]: n }, { message: String(n) }),
  );
  for (const write of writes) write.catch(() => undefined);
  await until(() => net.deaf < 2);
  net.down = true;
  await until(() => first.status === "offline");
  first.close();
  expect(await storage.size()).toBe(6);
  const next = clientOf({ storage });
  await until(() => next.status === "saved" && next.unsaved === 0);
  await until(() => next.unsaved === 0);
  expect(await messages("queue/restart")).toEqual(["0", "1", "2", "3", "4", "5"]);
  expect(await storage.size()).toBe(0);
});

test("of writes kept by an earlier process, one that is refused is told and does not stop the others", async () => {
  const storage = disk();
  const net = makeNet();
  const first = clientOf({ fetch: net.fetch, storage });
  net.down = true;
  for (const write of [
    first.put("queue/told", { n: 1 }, { ifHeads: ["0".repeat(64)] }),
    first.put("queue/after", { n: 2 }),
  ]) {
    write.catch(() => undefined);
  }
  await until(() => first.unsaved === 2 && first.status === "offline");
  first.close();
  const refused: [KeptWrite, string][] = [];
  const next = clientOf({ storage, onRefused: (write, { code }) => refused.push([write, code]) });
  await until(() => refused.length === 1);
  await until(() => next.unsaved === 0);
  expect(refused).toMatchObject([[{ docs: ["queue/told"] }, "HEADS_CONFLICT"]]);
  expect(await reader.get("queue/after")).toEqual({ n: 2 });
  expect(await storage.size()).toBe(0);
});

test("what an earlier process kept is not given up for a token that ran out", async () => {
  const storage = disk();
  const net = makeNet();
  const first = clientOf({ fetch: net.fetch, storage });
  net.down = true;
  first.put("queue/token", { n: 1 }).catch(() => undefined);
  await until(() => first.status === "offline");
  first.close();
  const refused: string[] = [];
  const next = clientOf({
    storage,
    token: "skald_expired",
    onRefused: (_, { code }) => refused.push(code),
  });
  await until(() => next.unsaved === 1 && next.status === "live");
  expect([refused, await storage.size()]).toEqual([[], 1]);
  next.setToken(server.token as string);
  await until(() => next.unsaved === 0);
  expect(await reader.get("queue/token")).toEqual({ n: 1 });
});

test("a write that is refused rejects, and those after it go on", async () => {
  const client = clientOf();
  const refused = client.put("queue/refused", { n: 1 }, { ifHeads: ["0".repeat(64)] });
  const after = client.put("queue/refused", { n: 2 });
  await expect(refused).rejects.toMatchObject({ code: "HEADS_CONFLICT" });
  await after;
  expect(await reader.get("queue/refused")).toEqual({ n: 2 });
});

test("without keeping, a write that cannot be sent is given up after its tries", async () => {
  const net = makeNet();
  const client = clientOf({ fetch: net.fetch, offline: "fail", retries: 1 });
  net.down = true;
  await expect(client.put("queue/fail", { n: 1 })).rejects.toMatchObject({ code: "OFFLINE" });
  net.down = false;
  expect(await reader.get("queue/fail")).toBeUndefined();
});

test("a write that waits can be given up, and is then not written", async () => {
  const net = makeNet();
  const storage = disk();
  const client = clientOf({ fetch: net.fetch, storage });
  net.down = true;
  const stop = new AbortController();
  const waiting = client.put("queue/stop", { n: 1 }, { signal: stop.signal });
  const after = client.put("queue/stays", { n: 2 });
  await until(() => client.status === "offline");
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  net.down = false;
  await after;
  expect(await reader.get("queue/stop")).toBeUndefined();
  expect(await storage.size()).toBe(0);
});

test("a storage that fails refuses the write instead of promising what it does not keep", async () => {
  const storage = {
    ...memoryStorage(),
    set: () => Promise.reject(new Error("QuotaExceededError")),
  };
  const client = clientOf({ storage });
  await expect(client.put("queue/full", { n: 1 })).rejects.toThrow("QuotaExceededError");
  expect(client.unsaved).toBe(0);
});

test("changes go offline on the copy that is here, and not on one that never was", async () => {
  const net = makeNet();
  const client = clientOf({ fetch: net.fetch });
  await client.put("queue/copy", { items: ["a"] });
  const push = (item: string) =>
    client.change<{ items: string[] }>("queue/copy", (doc) => doc.items.push(item));
  await push("b");
  net.down = true;
  await expect(client.change("queue/never", () => {})).rejects.toMatchObject({ code: "OFFLINE" });
  const changes = [push("c"), push("d")];
  await until(() => client.unsaved === 2);
  net.down = false;
  await Promise.all(changes);
  expect(await reader.get("queue/copy")).toEqual({ items: ["a", "b", "c", "d"] });
});
