import { packBundle, unpackBundle } from "../../src/log/bundle.ts";
import { Log } from "../../src/log/log.ts";
import { OpenedBundle, OpenedBundles } from "../../src/log/opened-bundles.ts";
import type { StoredCommit } from "../../src/log/stored-commit.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { realWorld } from "../../src/world.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { memoryLog } from "../support/memory-log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, set, tx, write } from "./fixture.ts";

const root = tempDir();
const COMMITS = 24;
const RANGES: [number, number][] = [
  [1, 6],
  [7, 11],
  [12, 13],
  [14, 20],
];

/** Counts the reads of bundles. */
class Counting extends StorageAround {
  reads = 0;
  override read(seq: number): Uint8Array | undefined {
    this.reads += seq <= 20 ? 1 : 0;
    return super.read(seq);
  }
}

/** The same commits of four documents one by one and, but for the last, in bundles. */
async function both() {
  let now = 1_000_000;
  const plain = createLog(root, { world: { ...realWorld, now: () => now } });
  const docs = ["c/a", "c/b", "c/d", "d/late"];
  const copies = new Map(docs.map((doc) => [doc, copyOf(plain.log, doc, ACTORS[0])]));
  for (let n = 1; n <= COMMITS; n += 1) {
    now += [0, 1, 1000][n % 3] as number;
    const doc = n < 14 ? (docs[(n * n) % 3] as string) : (docs[n % 4] as string);
    const next = set(copies.get(doc) as ReturnType<typeof copyOf>, { n });
    copies.set(doc, next);
    await plain.log.write(tx(write(doc, [lastChange(next)])));
  }
  const all = plain.log.commits(1, COMMITS);
  const copy = memoryLog(plain.storage.identity);
  await copy.append(plain.storage.page(1, COMMITS));
  for (const [first, last] of RANGES)
    await copy.replace(first, last, packBundle(copy.identity.uid, all.slice(first - 1, last)));
  const counting = new Counting(copy);
  const folder = `${plain.folder}-2`;
  const opened = (mostBytes?: number): Log =>
    new Log(counting, openSqliteCatalog(folder), {
      opened: new OpenedBundles(mostBytes),
      world: { ...realWorld, now: () => now },
    });
  const { mkdirSync } = await import("node:fs");
  mkdirSync(folder);
  return { plain: plain.log, docs, all, counting, opened };
}

test.each([0, 3000, 1_000_000])(
  "answers out of bundles are those of single commits, with %i bytes for opened ones",
  async (most) => {
    const { plain, docs, opened } = await both();
    const log = opened(most);
    for (const doc of docs) {
      for (let seq = 0; seq <= COMMITS; seq += 1) {
        expect({ doc, seq, point: log.stateAt(doc, seq) }).toEqual({
          doc,
          seq,
          point: plain.stateAt(doc, seq),
        });
        expect(log.history(doc, seq, 3)).toEqual(plain.history(doc, seq, 3));
        expect(log.changes(doc, seq >> 1, seq)).toEqual(plain.changes(doc, seq >> 1, seq));
      }
    }
    const times = [...new Set(plain.commits(1, COMMITS).map(({ commit }) => commit.time))];
    for (const time of times.flatMap((at) => [at - 1, at, at + 1]))
      expect({ time, seq: log.seqAt(time) }).toEqual({ time, seq: plain.seqAt(time) });
    await log.close();
    await plain.close();
  },
);

test("a bundle that was opened is not opened again, and one after the point never", async () => {
  const { opened, counting, plain } = await both();
  // The first opening notes the bundles, and looks into all of them.
  await opened().close();
  const log = opened();
  counting.reads = 0;
  expect(log.stateAt("c/a", 5)).toEqual(plain.stateAt("c/a", 5));
  expect(counting.reads).toBe(1);
  for (const seq of [1, 2, 3, 4, 6]) log.stateAt("c/a", seq);
  expect(counting.reads).toBe(1);
  await log.close();
  await plain.close();
});

test("the least recently used go when there is no room, and all of an owner's when ranges change", async () => {
  const { all, plain } = await both();
  const bundles = RANGES.map(
    ([first, last]) => new OpenedBundle(unpackBundle(plain.identity.uid, pack(all.slice(first - 1, last)))),
  );
  function pack(commits: readonly StoredCommit[]): Uint8Array {
    return packBundle(plain.identity.uid, commits);
  }
  const [a, b, , d] = bundles as [OpenedBundle, OpenedBundle, OpenedBundle, OpenedBundle];
  const one = {};
  const other = {};
  const cache = new OpenedBundles(a.bytes + b.bytes + d.bytes - 1);
  cache.put(one, a);
  cache.put(one, b);
  expect(cache.get(one, a.last)).toBe(a);
  cache.put(other, d);
  expect([cache.get(one, a.last), cache.get(one, b.last), cache.get(other, d.last)]).toEqual([
    a,
    undefined,
    d,
  ]);
  expect(cache.get(other, a.last)).toBeUndefined();
  cache.forget(one);
  expect([cache.get(one, a.last), cache.get(other, d.last)]).toEqual([undefined, d]);
  for (const { commit, cid } of all.slice(13, 20)) {
    expect(d.commit(commit.seq)).toEqual(all[commit.seq - 1]);
    expect(Buffer.compare(d.commit(commit.seq).cid, cid)).toBe(0);
  }
  await plain.close();
});
