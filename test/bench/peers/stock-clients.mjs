import * as A from "@automerge/automerge";
import { Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
import { paced, serve, sleep } from "./driver.mjs";

/** Stock automerge-repo clients, each with a connection of its own. */
const clients = [];

const valueOf = (n) => ({ title: `Document ${n}`, state: "open", count: n, owner: "someone", note: "" });

serve({
  /** One client for each URL; resolves when all of them have met the server. */
  open: async ({ urls }) => {
    await Promise.all(
      urls.map(async (url) => {
        const adapter = new WebSocketClientAdapter(url);
        const met = new Promise((resolve) => adapter.once("peer-candidate", resolve));
        const repo = new Repo({ network: [adapter], isEphemeral: true });
        const client = { repo, adapter, handles: [], serverHas: new Map() };
        adapter.on("message", ({ type, documentId, data }) => {
          if (type === "sync") client.serverHas.set(documentId, A.decodeSyncMessage(data).heads.join());
        });
        clients.push(client);
        await met;
      }),
    );
  },
  /** Every client makes `each` documents, `gapMs` apart so that none is throttled away; gives their ids. */
  create: async ({ each, bytes = 0 }) => {
    for (let i = 0; i < each; i += 1) {
      clients.forEach((client, c) => {
        const value = valueOf(c * each + i);
        if (bytes > 0) value.note = "a note of some length ".repeat(Math.ceil(bytes / 22)).slice(0, bytes);
        client.handles.push(client.repo.create(value));
      });
      await sleep(1);
    }
    return clients.map(({ handles }) => handles.map(({ documentId }) => documentId));
  },
  /** Every client changes one field of its first document `count` times, `everyMs` apart. */
  change: async ({ count, everyMs }) => {
    await Promise.all(
      clients.map(({ handles }, c) =>
        paced(count, everyMs, (everyMs * c) / clients.length, (i) =>
          handles[0].change((draft) => {
            draft.count = i;
            draft.state = i % 2 === 0 ? "open" : "closed";
          }),
        ),
      ),
    );
  },
  /** Resolves when the server has said of every document that it has all of it. */
  settled: async () => {
    for (const { handles, serverHas } of clients) {
      for (const handle of handles) {
        const heads = () => A.getHeads(handle.doc()).join();
        while (serverHas.get(handle.documentId) !== heads()) await sleep(5);
      }
    }
  },
  values: () => clients.map(({ handles }) => handles[0].doc()),
  find: async ({ urls }) => {
    for (const url of urls) await clients[0].repo.find(url);
  },
  close: async () => {
    for (const { repo, adapter } of clients.splice(0)) {
      adapter.disconnect();
      adapter.socket?.terminate?.();
      void repo;
    }
  },
});
