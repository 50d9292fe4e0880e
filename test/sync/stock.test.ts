import { jest } from "@jest/globals";
import { automergeUrl } from "../../src/log/automerge-ids.ts";
import { API, startHttp } from "../http/fixture.ts";
import { logIn } from "../http/people-fixture.ts";
import {
  MemoryStorage,
  VERSIONS,
  found,
  stockClient,
  until,
  type Handle,
  type Version,
} from "../support/stock-client.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

jest.setTimeout(60_000);

const dir = tempDir();
const { ask } = await startHttp(dir, { args: ["--sync-root", "open"] });
const root = `ws://127.0.0.1:${ask.port}/`;
const DOCS = `${API}/db/open/docs`;

interface Note {
  title?: string;
  n?: number;
  list?: string[];
  text?: string;
}

const other = (version: Version): Version => (version === "2.0" ? "2.5" : "2.0");
const keyOf = (handle: Handle<Note>): string => handle.documentId;
const json = async (key: string): Promise<unknown> => (await ask("GET", `${DOCS}/automerge/${key}`)).json;
const same = (a: Handle<Note>, b: Handle<Note>): boolean => a.heads().join() === b.heads().join();
const ticket = async (token: string, body: object): Promise<string> => {
  const made = await ask("POST", `${API}/tickets`, { token, body });
  if (made.status !== 201) throw new Error(made.text);
  return made.json["ticket"] as string;
};
const syncUrl = async (scopes: readonly string[], subject: string, port = ask.port): Promise<string> => {
  const { token } = await ask.token(scopes, { subject });
  const text = await ticket(token, { db_id: "open", action: "sync", reusable: true });
  return `ws://127.0.0.1:${port}${API}/db/open/sync?ticket=${text}`;
};

describe.each(VERSIONS)("a stock client of automerge-repo %s", (version) => {
  test("makes a document that another finds, and both edit it at once", async () => {
    const one = stockClient(version, root);
    const two = stockClient(other(version), root);
    const mine = one.repo.create<Note>({ title: "first", list: [] });
    const theirs = await found<Note>(two, mine.url);
    expect(theirs.doc()).toMatchObject({ title: "first" });
    for (let i = 0; i < 5; i += 1) {
      mine.change((doc) => void doc.list?.push(`a${i}`));
      theirs.change((doc) => void doc.list?.push(`b${i}`));
    }
    await until(() => same(mine, theirs) && mine.doc().list?.length === 10, "both to have all ten");
    await until(
      async () => ((await json(keyOf(mine))) as Note).list?.length === 10,
      "the server to have them",
    );
    expect(await json(keyOf(mine))).toEqual(JSON.parse(JSON.stringify(mine.doc())));
    one.close();
    two.close();
  });

  test("opens by its URL what was made through HTTP, and HTTP reads what it writes", async () => {
    const made = await ask("PUT", `${DOCS}/notes/${version}`, { body: { title: "over HTTP" } });
    const { automerge_url: url } = (
      await ask("GET", `${API}/db/open/automerge/${String(made.headers["automerge-url"]).slice(10)}`)
    ).json as { automerge_url: string };
    const client = stockClient(version, root);
    const handle = await client.repo.find<Note>(url as never);
    expect(handle.doc()).toEqual({ title: "over HTTP" });
    handle.change((doc) => void (doc.n = 1));
    await until(
      async () => (await ask("GET", `${DOCS}/notes/${version}`)).json["n"] === 1,
      "the change to be read over HTTP",
    );
    await ask("PATCH", `${DOCS}/notes/${version}`, {
      body: JSON.stringify({ n: 2 }),
      headers: { "content-type": "application/merge-patch+json" },
    });
    await until(() => handle.doc().n === 2, "the patch to reach the client");
    const history = (await ask("GET", `${DOCS}/notes/${version}/history`)).json["history"] as {
      author: string;
    }[];
    expect(history.map(({ author }) => author)).toEqual(["admin", "anonymous", "admin"]);
    client.close();
  });

  test("hears at once that a document is missing, and gets it when it appears", async () => {
    const client = stockClient(version, root);
    await client.connected;
    const name = `late/${version}`;
    const { uid } = (await ask("GET", `${API}/db/open`)).json as { uid: string };
    // A named document's id is known before there is one: this one is asked for, and made after.
    const url = automergeUrl(Buffer.from(uid, "hex"), name);
    await expect(client.repo.find<Note>(url as never)).rejects.toThrow(/unavailable/i);
    await ask("PUT", `${DOCS}/${name}`, { body: { title: "there" } });
    expect((await found<Note>(client, url)).doc()).toEqual({ title: "there" });
    client.close();
  });

  test("sees the others' presence, each message once", async () => {
    const one = stockClient(version, root);
    const two = stockClient(other(version), root);
    const mine = one.repo.create<Note>({ title: "together" });
    const theirs = await found<Note>(two, mine.url);
    const heard: unknown[] = [];
    const back: unknown[] = [];
    theirs.on("ephemeral-message", ({ message }) => void heard.push(message));
    mine.on("ephemeral-message", ({ message }) => void back.push(message));
    await until(async () => (await json(keyOf(mine))) !== undefined);
    for (let i = 0; i < 3; i += 1) mine.broadcast({ at: i });
    theirs.broadcast({ hello: "you" });
    await until(() => heard.length >= 3 && back.length >= 1, "four ephemeral messages");
    mine.change((doc) => void (doc.n = 1));
    await until(() => theirs.doc().n === 1);
    expect(heard).toEqual([{ at: 0 }, { at: 1 }, { at: 2 }]);
    expect(back).toEqual([{ hello: "you" }]);
    one.close();
    two.close();
  });

  test("that may only read is fed, and what it writes is kept from everybody", async () => {
    const writer = stockClient(version, root);
    const made = writer.repo.create<Note>({ title: "to read", n: 0 });
    await until(
      async () =>
        (await json(keyOf(made))) && (await ask("GET", `${DOCS}/automerge/${keyOf(made)}`)).status === 200,
    );
    const reader = stockClient(version, await syncUrl(["open:sync", "open:doc.read"], `reader-${version}`));
    const read = await found<Note>(reader, made.url);
    read.change((doc) => void (doc.title = "not mine to change"));
    made.change((doc) => void (doc.n = 1));
    await until(() => read.doc().n === 1, "the reader to be fed");
    expect(await json(keyOf(made))).toEqual({ title: "to read", n: 1 });
    expect(made.doc().title).toBe("to read");
    writer.close();
    reader.close();
  });

  test("of a person may what its role says, and follows when that changes", async () => {
    const { id, subject, headers } = logIn(dir, `eve-${version}`);
    const give = (role: string) => ask("PUT", `${API}/db/open/people/${id}`, { body: { role } });
    await give("viewer");
    const doc = `${DOCS}/roles/${version}`;
    const made = await ask("PUT", doc, { body: { n: 1 } });
    const asked = await ask("POST", `${API}/tickets`, {
      token: null,
      headers,
      body: { db_id: "open", action: "sync", reusable: true },
    });
    const url = `ws://127.0.0.1:${ask.port}${API}/db/open/sync?ticket=${asked.json["ticket"] as string}`;
    const client = stockClient(version, url, { retry: 50 });
    const handle = await found<Note>(client, made.headers["automerge-url"] as string);
    handle.change((note) => void (note.title = "of a viewer"));
    const patch = (n: number) =>
      ask("PATCH", doc, { body: { n }, headers: { "content-type": "application/merge-patch+json" } });
    await patch(2);
    await until(() => handle.doc().n === 2, "the viewer to be fed");
    expect((await ask("GET", doc)).json).toEqual({ n: 2 });
    // What it kept goes through by itself once it may.
    await give("editor");
    await until(async () => (await ask("GET", doc)).json["title"] === "of a viewer", "the editor's change");
    const history = (await ask("GET", `${doc}/history`)).json["history"] as { author: string }[];
    expect(history[0]?.author).toBe(subject);
    await give("viewer");
    handle.change((note) => void (note.title = "of a viewer again"));
    await patch(3);
    await until(() => handle.doc().n === 3, "the viewer to be fed again");
    expect((await ask("GET", doc)).json).toEqual({ n: 3, title: "of a viewer" });
    client.close();
  });

  test("without the right to a document is told what it is told of a missing one", async () => {
    await ask("PUT", `${DOCS}/secret/${version}`, { body: { title: "secret" } });
    const { headers } = await ask("GET", `${DOCS}/secret/${version}`);
    const client = stockClient(
      version,
      await syncUrl(["open:sync", "open:doc.read:notes/", "open:doc.write:notes/"], `limited-${version}`),
    );
    await client.connected;
    await expect(client.repo.find<Note>(headers["automerge-url"] as never)).rejects.toThrow(/unavailable/i);
    client.close();
  });

  test("that comes again with what it kept goes on where it was, also after the server was killed", async () => {
    const dir = tempDir();
    const first = await startServer(dir, { args: ["--sync-root", "open"] });
    const { port } = new URL(first.url);
    const client = stockClient(version, `ws://127.0.0.1:${port}/`, {
      storage: new MemoryStorage(),
      retry: 100,
    });
    const handle = client.repo.create<Note>({ n: 0, list: [] });
    const idle = client.repo.create<Note>({ n: 7 });
    for (let i = 1; i <= 20; i += 1) handle.change((doc) => void (doc.n = i));
    const third = stockClient(version, `ws://127.0.0.1:${port}/`);
    const seen = await found<Note>(third, handle.url);
    await until(() => seen.doc().n === 20, "twenty changes");
    third.close();
    await first.stop("SIGKILL");
    for (let i = 21; i <= 30; i += 1) handle.change((doc) => void (doc.n = i));
    const second = await startServer(dir, { args: ["--sync-root", "open", "--port", port] });
    expect(second.url).toBe(first.url);
    const late = stockClient(other(version), `ws://127.0.0.1:${port}/`);
    const rest = await found<Note>(late, handle.url);
    await until(() => rest.doc().n === 30, "the rest to arrive");
    expect((await found<Note>(late, idle.url)).doc()).toEqual({ n: 7 });
    client.close();
    late.close();
    await second.stop();
  });
});

test("with gossip a client learns when what it wrote is durable, and what others have", async () => {
  const one = stockClient("2.5", root, { storage: new MemoryStorage(), gossip: true });
  const two = stockClient("2.5", root, { storage: new MemoryStorage(), gossip: true });
  await Promise.all([one.connected, two.connected]);
  const server = Object.values(one.repo.peerMetadataByPeerId)[0]?.storageId as never;
  expect(server).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const twos = (await two.repo.storageId()) as never;
  one.repo.subscribeToRemotes([server, twos]);
  const mine = one.repo.create<Note>({ n: 0 });
  const theirs = await found<Note>(two, mine.url);
  for (let i = 1; i <= 5; i += 1) mine.change((doc) => void (doc.n = i));
  await until(() => mine.getSyncInfo(server)?.lastHeads.join() === mine.heads().join(), "the server's heads");
  expect(((await json(keyOf(mine))) as Note).n).toBe(5);
  await until(
    () => mine.getSyncInfo(twos)?.lastHeads.join() === mine.heads().join(),
    "the other client's heads",
  );
  expect(theirs.doc().n).toBe(5);
  one.close();
  two.close();
});

/** `SKALD_TEST_DOCUMENTS=1000` for as many as it is promised for. */
const DOCUMENTS = Number(process.env["SKALD_TEST_DOCUMENTS"] ?? 40);
test("many documents of one client are found by another that knows only their URLs, and then forgotten", async () => {
  const one = stockClient("2.5", root);
  const made = Array.from({ length: DOCUMENTS }, (_, n) => one.repo.create<Note>({ n }));
  const two = stockClient("2.0", root);
  const wrong: number[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let i = next++; i < made.length; i = next++) {
        const there = await found<Note>(two, (made[i] as Handle<Note>).url);
        if (there.doc().n !== i) wrong.push(i);
      }
    }),
  );
  expect(wrong).toEqual([]);
  const gauge = async (name: string): Promise<number> =>
    Number(new RegExp(`^${name} (\\S+)$`, "m").exec((await ask("GET", "/metrics")).text)?.[1]);
  expect(await gauge("skald_sync_documents")).toBeGreaterThanOrEqual(DOCUMENTS);
  one.close();
  two.close();
  await until(async () => (await gauge("skald_sync_documents")) === 0, "the server to let go of them");
  expect(await gauge("skald_sync_peers")).toBe(0);
});

test("who is there is told to whom it may be, with the documents that they may read", async () => {
  const url = await syncUrl(["open:sync", "open:doc.read", "open:doc.write"], "ann");
  const one = stockClient("2.5", url, { peerId: "anns-tablet" });
  const mine = one.repo.create<Note>({ title: "seen" });
  await until(async () => ((await json(keyOf(mine))) as Note).title === "seen", "the server to have it");
  const status = async (scopes: readonly string[], query = ""): Promise<Record<string, unknown>> => {
    const { token } = await ask.token(scopes);
    const reply = await ask("GET", `${API}/db/open/sync/status${query}`, { token });
    return { status: reply.status, ...reply.json };
  };
  const all = await status(["open:sync", "open:doc.read"]);
  expect(all).toMatchObject({ status: 200, path: `${API}/db/open/sync`, root: true, more: false });
  expect(all["peers"]).toContainEqual({
    peer_id: "anns-tablet",
    storage_id: null,
    principal: expect.stringMatching(/^tok_/) as string,
    author: "ann",
    since: expect.stringMatching(/^\d{4}-/) as string,
    documents: 1,
  });
  const shown = { doc: `automerge/${mine.documentId}`, automerge_url: mine.url, peers: 1 };
  expect(all["documents"]).toContainEqual(shown);
  expect(all["bytes"]).toBeGreaterThan(0);
  // Who may not read documents is told how many there are, not which.
  const blind = await status(["open:db.admin"]);
  expect(blind).toMatchObject({ status: 200, documents: [], document_count: all["document_count"] });
  expect(await status(["open:doc.read"])).toMatchObject({ status: 403 });
  const two = stockClient("2.5", root);
  await until(
    async () => (await status(["open:sync"]))["peer_count"] === (all["peer_count"] as number) + 1,
    "the second peer",
  );
  expect(await status(["open:sync", "open:doc.read"], "?limit=1")).toMatchObject({ more: true });
  one.close();
  two.close();
  await until(
    async () => !JSON.stringify((await status(["open:sync"]))["peers"]).includes("anns-tablet"),
    "the peer to be gone",
  );
  expect((await status(["open:sync", "open:doc.read"]))["documents"]).not.toContainEqual(shown);
});
