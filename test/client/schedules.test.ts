import { memoryStorage, type ClientStorage } from "../../src/client/storage.ts";
import type { FetchLike } from "../../src/client/platform.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { makeNet, startDb, until, type Net } from "./fixture.ts";

/**
 * Clients whose network fails and who end in the middle of it, by a seed: what each wrote is on the server once,
 * in its order. SKALD_TEST_CLIENT_SCHEDULES makes it more of them.
 */
const { clientOf } = await startDb(memoryDir());
const reader = clientOf();
const SCHEDULES = Number(process.env["SKALD_TEST_CLIENT_SCHEDULES"] ?? 3);
const PATIENCE = 60_000 + SCHEDULES * 20_000;

interface List {
  items: string[];
}

type Random = () => number;

/** One step of what can befall a network. */
function befall(net: Net, random: Random): void {
  const dice = random();
  if (dice < 0.2) {
    net.down = true;
    net.cut();
  } else if (dice < 0.5) net.down = false;
  else if (dice < 0.65) net.deaf += 1;
  else if (dice < 0.8) net.cut();
}

/** Writes n items by patches, with faults between; gives what the server has then. */
async function patches(
  doc: string,
  random: Random,
  storage: ClientStorage | undefined,
  through: (net: Net) => FetchLike = (net) => net.fetch,
): Promise<{ wrote: string[]; has: string[] }> {
  await reader.put(doc, { items: [] });
  const wrote: string[] = [];
  const net = makeNet();
  let kept = 0;
  const counting = storage && {
    ...storage,
    set: async (key: string, value: Uint8Array) => {
      await storage.set(key, value);
      kept += 1;
    },
  };
  const make = () => clientOf({ fetch: through(net), ...(counting ? { storage: counting } : {}) });
  let client = make();
  for (let step = 0; step < 25; step += 1) {
    befall(net, random);
    const item = String(step);
    wrote.push(item);
    client.patch(doc, [{ op: "add", path: "/items/-", value: item }]).catch(() => undefined);
    // The process may end as soon as the write is in its storage.
    await until(() => !storage || kept === wrote.length);
    if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 20));
    if (storage && random() < 0.15) {
      client.close();
      client = make();
    }
  }
  net.down = false;
  net.deaf = 0;
  // What is kept sends itself; a first request tells that the network is back.
  await client.info();
  await until(() => client.unsaved === 0);
  await client.put(`${doc}-end`, {});
  client.close();
  return { wrote, has: (await reader.get<List>(doc))?.items ?? [] };
}

test(
  "writes come to the server once and in order, whatever befalls the network and the process",
  async () => {
    const seed = seedOf();
    for (let n = 0; n < SCHEDULES; n += 1) {
      const { wrote, has } = await patches(`writes/${n}`, seeded(seed + n), memoryStorage());
      expect({ seed, n, has }).toEqual({ seed, n, has: wrote });
    }
  },
  PATIENCE,
);

test("a client that does not name its writes is seen to write some twice", async () => {
  const nameless =
    (net: Net): FetchLike =>
    (url, request) => {
      const { "idempotency-key": _, ...headers } = request.headers;
      return net.fetch(url, { ...request, headers });
    };
  let twice = 0;
  for (let n = 0; n < 5 && twice === 0; n += 1) {
    const { has } = await patches(`nameless/${n}`, seeded(n), undefined, nameless);
    twice += has.length - new Set(has).size;
  }
  expect(twice).toBeGreaterThan(0);
});

test("a client whose storage forgets is seen to lose writes", async () => {
  const forgets = { ...memoryStorage(), keys: () => Promise.resolve([]) };
  const { wrote, has } = await patches("forgets/a", seeded(3), forgets);
  expect(has.length).toBeLessThan(wrote.length);
});

test(
  "what clients change live is on the server and with all of them, whatever befalls them",
  async () => {
    const seed = seedOf();
    for (let n = 0; n < SCHEDULES; n += 1) {
      const random = seeded(seed + n);
      const doc = `live/${n}`;
      const peers = Array.from({ length: 3 }, () => {
        const net = makeNet();
        const storage = memoryStorage();
        const make = () => {
          const client = clientOf({ ...net, storage });
          return { client, live: client.open<List>(doc, { initial: { items: [] } }) };
        };
        return { net, make, ...make() };
      });
      const wrote: string[] = [];
      for (let step = 0; step < 40; step += 1) {
        const peer = peers[Math.floor(random() * peers.length)] as (typeof peers)[number];
        befall(peer.net, random);
        peer.net.deaf = 0;
        await peer.live.ready();
        const item = `${step}`;
        wrote.push(item);
        peer.live.change((draft) => {
          draft.items.splice(Math.floor(random() * (draft.items.length + 1)), 0, item);
        });
        if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 20));
        if (random() < 0.1) {
          await peer.live.stored();
          peer.client.close();
          Object.assign(peer, peer.make());
        }
      }
      for (const { net } of peers) net.down = false;
      await Promise.all(peers.map(({ live }) => live.ready().then(() => live.saved())));
      await until(() => new Set(peers.map(({ live }) => live.heads.toSorted().join())).size === 1);
      const has = (await reader.get<List>(doc))?.items ?? [];
      expect({ seed, n, has: has.toSorted() }).toEqual({ seed, n, has: wrote.toSorted() });
      for (const { live } of peers) expect(live.value?.items).toEqual(has);
      for (const { client } of peers) client.close();
    }
    if (process.env["SKALD_TEST_CLIENT_SCHEDULES"]) {
      process.stderr.write(`${SCHEDULES} schedules of writes and of live documents, seed ${seed}\n`);
    }
  },
  PATIENCE,
);
