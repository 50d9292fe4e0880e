import { jest } from "@jest/globals";
import { DocumentSync } from "../../src/sync/document-sync.ts";
import type { History } from "../../src/sync/history.ts";
import { decodeSyncMessage, encodeSyncMessage } from "../../src/sync/sync-message.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { LogNode, openShared, realSync, type MakeSync, type SharedLog } from "./nodes.ts";
import { runSchedule } from "./schedule.ts";

/** What the schedules must notice: each is ours with one thing broken around it. */
const BROKEN: Readonly<Record<string, MakeSync>> = {
  "forgets what it sent": (kept) => {
    const sync = realSync(kept);
    return {
      ...plain(sync),
      generate: (history) => {
        const heads = (sync as DocumentSync).theirHeads;
        // A state that was kept knows as little of the connection as one that forgot.
        const fresh = realSync(sync.encode()) as DocumentSync;
        if (heads === undefined) return sync.generate(history);
        const hello = encodeSyncMessage({
          version: 2,
          heads,
          need: [],
          have: [],
          parts: [],
          capabilities: undefined,
        });
        return fresh.receive(hello, history).then(() => fresh.generate(history));
      },
    };
  },
  "takes no change": (kept) => {
    const sync = realSync(kept);
    return {
      ...plain(sync),
      receive: async (message, history) => ({ ...(await sync.receive(message, history)), changes: [] }),
    };
  },
  "asks for nothing": (kept) => {
    const sync = realSync(kept);
    return {
      ...plain(sync),
      generate: async (history) => {
        const message = await sync.generate(history);
        return message && encodeSyncMessage({ ...decodeSyncMessage(message), need: [], have: [] });
      },
    };
  },
  "says that it has everything": (kept) => {
    const sync = realSync(kept);
    return {
      ...plain(sync),
      generate: async (history) => {
        const message = await sync.generate(history);
        if (!message) return undefined;
        const decoded = decodeSyncMessage(message);
        const have = decoded.have.map(({ bloom, lastSync }) => ({
          lastSync,
          bloom: bloom.length > 0 ? bloom.fill(255, 3) : bloom,
        }));
        return encodeSyncMessage({ ...decoded, have, need: [] });
      },
    };
  },
  "leaves out the last of what it sends": (kept) => {
    const sync = realSync(kept);
    return {
      ...plain(sync),
      generate: (history) =>
        sync.generate(
          changed(history, {
            since: async (known, most) => {
              const since = await history.since(known, most);
              return since && { ...since, changes: since.changes.slice(0, -1) };
            },
            change: () => Promise.resolve(undefined),
          }),
        ),
    };
  },
  "goes on in a new connection as if it were the old one": (kept) => {
    const sync = kept ? (olds.get(Buffer.from(kept).toString("hex")) ?? realSync(kept)) : realSync(kept);
    return {
      ...plain(sync),
      encode: () => {
        const bytes = sync.encode();
        olds.set(Buffer.from(bytes).toString("hex"), sync);
        return bytes;
      },
    };
  },
};
const olds = new Map<string, ReturnType<MakeSync>>();

function plain(sync: ReturnType<MakeSync>): ReturnType<MakeSync> {
  return {
    receive: (message, history) => sync.receive(message, history),
    generate: (history) => sync.generate(history),
    released: (history) => sync.released(history),
    encode: () => sync.encode(),
  };
}

/** A history of which some methods are others. */
function changed(history: History, others: Partial<History>): History {
  return new Proxy(history, {
    get: (target, name) => {
      const value = (Reflect.get(others, name) ?? Reflect.get(target, name, target)) as unknown;
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
}

jest.setTimeout(300_000);

let pool: SharedLog[];
beforeAll(() => {
  LogNode.root = memoryDir();
  pool = [1, 2, 3, 4, 5].map(() => openShared(LogNode.root));
});

test.each(Object.keys(BROKEN))("the schedules notice a build that %s", async (name) => {
  const make = BROKEN[name] as MakeSync;
  for (let seed = 1; seed <= 60; seed += 1) {
    const { wrong } = await runSchedule(seed + 100_000 * (1 + Object.keys(BROKEN).indexOf(name)), pool, make);
    if (wrong !== undefined) {
      if (process.env["SKALD_TEST_SCHEDULES"]) process.stderr.write(`${name}: ${wrong} (schedule ${seed})\n`);
      return;
    }
  }
  throw new Error("sixty schedules went by");
});
