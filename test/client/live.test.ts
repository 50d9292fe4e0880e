import { memoryStorage } from "../../src/client/storage.ts";
import type { LiveDocument } from "../../src/client/live-document.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { makeNet, startDb, until } from "./fixture.ts";

const { server, clientOf } = await startDb(tempDir());
const reader = clientOf();

interface Note {
  title?: string;
  items?: string[];
  n?: number;
  text?: string;
}

async function opened(doc: string, more: Parameters<typeof clientOf>[0] = {}): Promise<LiveDocument<Note>> {
  const live = clientOf(more).open<Note>(doc);
  await live.ready();
  return live;
}

test("an edit shows at the other client and is saved", async () => {
  const one = await opened("live/a");
  expect([one.value, one.missing]).toEqual([undefined, true]);
  one.change((doc) => {
    doc.title = "Hello";
  });
  expect(one.value).toEqual({ title: "Hello" });
  expect([one.status, one.unsaved]).toEqual(["live", 1]);
  await one.saved();
  expect([one.status, one.unsaved, one.missing]).toEqual(["saved", 0, false]);
  const two = await opened("live/a");
  expect(two.value).toEqual({ title: "Hello" });
  two.change((doc) => {
    doc.items = ["x"];
  });
  await until(() => one.value?.items !== undefined);
  await until(() => one.status === "saved" && two.status === "saved");
  expect(one.value).toEqual({ title: "Hello", items: ["x"] });
  expect(one.url).toBe(two.url);
  expect(one.url).toBe((await reader.read("live/a"))?.url);
});

test("what is saved outlives the server's death, and what is not goes to it when it is back", async () => {
  const own = await startDb(tempDir());
  const port = new URL(own.server.url).port;
  const live = own.clientOf().open<Note>("live/killed");
  await live.ready();
  for (let n = 0; n < 10; n += 1) {
    live.change((doc) => {
      doc.n = n;
    });
    await live.saved();
  }
  await own.server.stop("SIGKILL");
  await until(() => live.status === "offline");
  live.change((doc) => {
    doc.title = "while it was away";
  });
  await startServer(own.server.dir, { args: ["--port", port] });
  const other = own.clientOf();
  expect(await other.get("live/killed")).toMatchObject({ n: 9 });
  await live.saved();
  expect(await other.get("live/killed")).toEqual({ n: 9, title: "while it was away" });
});

test("a document that is written over HTTP follows, and is opened by its automerge: URL", async () => {
  await reader.put("live/http", { n: 1 });
  const url = (await reader.read("live/http"))?.url as string;
  const byName = await opened("live/http");
  const byUrl = await opened(url);
  await reader.patch("live/http", { n: 2 });
  await until(() => byName.value?.n === 2 && byUrl.value?.n === 2);
  byUrl.change((doc) => {
    doc.title = "by its URL";
  });
  await byUrl.saved();
  expect(await reader.get("live/http")).toEqual({ n: 2, title: "by its URL" });
});

test("a document that is made live is there under its name, and in no other place", async () => {
  const live = await opened("live/named");
  live.change((doc) => {
    doc.n = 1;
  });
  await live.saved();
  expect(await reader.get("live/named")).toEqual({ n: 1 });
  const strays = [];
  for await (const { doc } of reader.list({ collection: "automerge" })) strays.push(doc);
  expect(strays).toEqual([]);
});

test("concurrent edits of two clients merge", async () => {
  const one = await opened("live/merge");
  one.change((doc) => {
    doc.text = "";
  });
  await one.saved();
  const two = await opened("live/merge");
  for (let i = 0; i < 20; i += 1) {
    one.change((doc) => {
      doc.text = `a${doc.text}`;
    });
    two.change((doc) => {
      doc.text = `${doc.text}b`;
    });
  }
  await until(() => one.heads.join() === two.heads.join() && one.status === "saved");
  expect(one.value).toEqual(two.value);
  expect(await reader.get("live/merge")).toEqual(one.value);
});

test("changes of one turn go out together", async () => {
  const live = await opened("live/turn");
  live.change((doc) => {
    doc.items = [];
  });
  await live.saved();
  const before = (await reader.info()).seq;
  for (const item of ["a", "b", "c"]) {
    live.change((doc) => {
      doc.items?.push(item);
    });
  }
  expect(live.unsaved).toBe(3);
  await live.saved();
  expect((await reader.info()).seq).toBe(before + 1);
});

test("offline edits show here at once, and there when the network is back", async () => {
  const net = makeNet();
  const one = await opened("live/offline", net);
  one.change((doc) => {
    doc.items = ["a"];
  });
  await one.saved();
  const two = await opened("live/offline");
  net.down = true;
  net.cut();
  await until(() => one.status === "offline");
  one.change((doc) => {
    doc.items?.push("b");
  });
  two.change((doc) => {
    doc.items?.unshift("z");
  });
  await two.saved();
  expect([one.value?.items, one.unsaved]).toEqual([["a", "b"], 1]);
  net.down = false;
  await until(() => one.status === "saved" && two.heads.join() === one.heads.join());
  expect([one.value?.items, two.value?.items]).toEqual([
    ["z", "a", "b"],
    ["z", "a", "b"],
  ]);
});

test("offline edits outlive the process and are on the server once, also when nobody opens the document", async () => {
  const storage = memoryStorage();
  const net = makeNet();
  const first = clientOf({ ...net, storage });
  const live = first.open<Note>("live/restart");
  await live.ready();
  live.change((doc) => {
    doc.items = ["a"];
  });
  await live.saved();
  net.down = true;
  net.cut();
  await until(() => live.status === "offline");
  live.change((doc) => {
    doc.items?.push("b");
  });
  const fresh = first.open<Note>("live/fresh");
  await fresh.ready();
  fresh.change((doc) => {
    doc.title = "made offline";
  });
  await live.stored();
  await fresh.stored();
  first.close();

  const offline = clientOf({ ...net, storage });
  const kept = offline.open<Note>("live/restart");
  await kept.ready();
  expect([kept.value, kept.status]).toEqual([{ items: ["a", "b"] }, "offline"]);
  offline.close();

  const next = clientOf({ storage });
  await until(() => next.status === "saved" && next.unsaved === 0);
  expect(await reader.get("live/restart")).toEqual({ items: ["a", "b"] });
  expect(await reader.get("live/fresh")).toEqual({ title: "made offline" });
  await until(() => next.status !== "connecting");
  expect((await storage.keys("")).filter((key) => key.includes("/unsaved/"))).toEqual([]);
});

test("a document begun apart by two clients has one beginning", async () => {
  const nets = [makeNet(), makeNet()];
  for (const net of nets) net.down = true;
  const both = nets.map((net) =>
    clientOf(net).open<{ items: string[] }>("live/initial", { initial: { items: [] } }),
  );
  for (const [i, live] of both.entries()) {
    await live.ready();
    live.change((doc) => {
      doc.items.push(`of ${i}`);
    });
  }
  for (const net of nets) net.down = false;
  await until(() => both.every((live) => live.value?.items.length === 2 && live.status === "saved"));
  const [one, two] = both.map((live) => live.value?.items);
  expect(one).toEqual(two);
  expect(one?.toSorted()).toEqual(["of 0", "of 1"]);
});

test("set makes a value with as little change as it takes", async () => {
  const one = await opened("live/set");
  one.set({ title: "a", items: ["x", "y", "z"], text: "the quick fox" });
  await one.saved();
  const two = await opened("live/set");
  one.set({ title: "a", items: ["x", "q", "y", "z"], text: "the slow quick fox" });
  two.set({ title: "a", items: ["x", "y", "z", "end"], text: "the quick red fox" });
  await until(() => one.heads.join() === two.heads.join() && one.unsaved + two.unsaved === 0);
  expect(one.value).toEqual({
    title: "a",
    items: ["x", "q", "y", "z", "end"],
    text: "the slow quick red fox",
  });
  const { heads } = one;
  one.set({ ...(one.value as Note) });
  expect(one.heads).toEqual(heads);
});

test("messages to the others are heard once, and kept nowhere", async () => {
  const one = await opened("live/ephemeral");
  one.change((doc) => {
    doc.n = 1;
  });
  await one.saved();
  const two = await opened("live/ephemeral");
  const heard: unknown[] = [];
  one.onMessage(({ value }) => heard.push(["one", value]));
  two.onMessage(({ value }) => heard.push(["two", value]));
  one.broadcast({ cursor: 3, big: 2 ** 40, bytes: new Uint8Array([1]) });
  two.broadcast("hello");
  await until(() => heard.length === 2);
  expect(heard).toEqual(
    expect.arrayContaining([
      ["two", { cursor: 3, big: 2 ** 40, bytes: new Uint8Array([1]) }],
      ["one", "hello"],
    ]),
  );
});

test("whoever may not see a document is told that there is none, and whoever may not write hears so", async () => {
  await reader.put("secret/a", { n: 1 });
  const made = await fetch(`${server.url}/api/v1/admin/tokens`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
    body: JSON.stringify({ label: "limited", scopes: ["notes:doc.read:live/", "notes:sync:live/"] }),
  });
  const { token } = (await made.json()) as { token: string };
  const limited = clientOf({ token });
  const hidden = limited.open<Note>("secret/a");
  await hidden.answered();
  expect([hidden.value, hidden.missing]).toEqual([undefined, true]);
  await reader.put("live/readable", { n: 1 });
  const readable = limited.open<Note>("live/readable");
  await readable.answered();
  readable.change((doc) => {
    doc.n = 2;
  });
  const unwritable = limited.open<Note>("live/unwritable");
  await unwritable.answered();
  unwritable.change((doc) => {
    doc.n = 1;
  });
  await expect(unwritable.saved()).rejects.toMatchObject({ code: "FORBIDDEN" });
  expect(unwritable.error).toMatchObject({ code: "FORBIDDEN" });
  expect([readable.value, readable.unsaved > 0, await reader.get("live/readable")]).toEqual([
    { n: 2 },
    true,
    { n: 1 },
  ]);
});

test("a value is the same object until it changes, and its equal parts stay the same", async () => {
  const live = await opened("live/identity");
  live.change((doc) => {
    doc.items = ["a"];
  });
  const before = live.value;
  await live.saved();
  expect(live.value).toBe(before);
  live.change((doc) => {
    doc.n = 1;
  });
  expect(live.value).not.toBe(before);
  expect(live.value?.items).toBe(before?.items);
});

test("a document is open until its last handle is closed, and then is not followed any more", async () => {
  const client = clientOf();
  const one = client.open<Note>("live/handles");
  const two = client.open<Note>("live/handles");
  await one.ready();
  const calls: string[] = [];
  one.subscribe(() => calls.push("one"));
  two.subscribe(() => calls.push("two"));
  one.close();
  expect(() => one.change(() => {})).toThrow(/closed/);
  two.change((doc) => {
    doc.n = 1;
  });
  await two.saved();
  expect(calls).not.toContain("one");
  expect(calls).toContain("two");
  two.close();
  await until(() => client.unsaved === 0);
});

test("a change that throws leaves everything as it was", async () => {
  const live = await opened("live/throws");
  live.change((doc) => {
    doc.n = 1;
  });
  const { heads } = live;
  expect(() =>
    live.change((doc) => {
      doc.n = 2;
      throw new Error("no");
    }),
  ).toThrow("no");
  expect([live.value, live.heads]).toEqual([{ n: 1 }, heads]);
});
