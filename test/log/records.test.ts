import { packBundle } from "../../src/log/bundle.ts";
import { Records } from "../../src/log/records.ts";
import type { StoredCommit } from "../../src/log/stored-commit.ts";
import type { LogStorage, StoredRecord } from "../../src/store/contract.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { memoryLog } from "../support/memory-log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, refusal, set, tx, write } from "./fixture.ts";

const root = tempDir();
const COMMITS = 12;
let storage: LogStorage;
let all: readonly StoredCommit[];

/** Twelve commits, and the storage that holds them one by one. */
beforeAll(async () => {
  const { log } = createLog(root, {}, (made) => {
    made.close();
    return (storage = memoryLog(made.identity));
  });
  let doc = copyOf(log, "notes/a", ACTORS[0]);
  for (let n = 1; n <= COMMITS; n += 1)
    await log.write(tx(write("notes/a", [lastChange((doc = set(doc, { n })))])));
  all = log.commits(1, COMMITS);
});

/** The same commits with bundles in the place of some. */
async function bundled(...ranges: [number, number][]): Promise<LogStorage> {
  const copy = memoryLog(storage.identity);
  await copy.append(storage.page(1, COMMITS));
  for (const [first, last] of ranges)
    await copy.replace(first, last, packBundle(copy.identity.uid, all.slice(first - 1, last)));
  return copy;
}

class Lossy extends StorageAround {
  readonly #lost: number;
  constructor(sound: LogStorage, lost: number) {
    super(sound);
    this.#lost = lost;
  }
  override read(seq: number): Uint8Array | undefined {
    return seq === this.#lost ? undefined : super.read(seq);
  }
  override page(from: number, limit: number): StoredRecord[] {
    return super.page(from, limit).filter(({ seq }) => seq !== this.#lost);
  }
}

const seqs = (commits: readonly StoredCommit[]) => commits.map(({ commit }) => commit.seq);
const upTo = (from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

describe("records", () => {
  test.each<[string, [number, number][]]>([
    ["one by one", []],
    ["in a bundle", [[1, 12]]],
    [
      "in bundles",
      [
        [1, 5],
        [6, 9],
      ],
    ],
    [
      "in more bundles than stay expanded",
      [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 12],
      ],
    ],
    ["in a bundle after a single one", [[2, 4]]],
  ])("%s are the same commits by their seq, in pages and in ranges", async (_, ranges) => {
    const held = await bundled(...ranges);
    const records = new Records(held);
    expect(records.bundles()).toEqual(ranges.map(([first, last]) => ({ first, last })));
    for (const round of [1, 2]) {
      for (const seq of [...upTo(1, COMMITS), ...upTo(1, COMMITS).reverse()])
        expect([round, records.commit(seq)?.bytes]).toEqual([round, all[seq - 1]?.bytes]);
      for (const none of [0, -1, COMMITS + 1, Number.NaN]) expect(records.commit(none)).toBeUndefined();
      for (let from = 1; from <= COMMITS; from += 1) {
        const end = ranges.find(([first, last]) => from >= first && from <= last)?.[1];
        const next = ranges.find(([first]) => from < first)?.[0];
        for (const limit of [1, 3, 100]) {
          // A page is of single commits or of one bundle.
          const last = Math.min(end ?? (next === undefined ? COMMITS : next - 1), from + limit - 1);
          expect([from, limit, seqs(records.page(from, limit))]).toEqual([from, limit, upTo(from, last)]);
        }
        for (const to of [from - 1, from, from + 3, COMMITS, COMMITS + 5]) {
          const given = seqs(records.range(from, to));
          expect(given.slice(0, to - from + 1)).toEqual(
            upTo(from, Math.min(to, COMMITS)).slice(0, given.length),
          );
          expect(given.length).toBeGreaterThanOrEqual(Math.min(to, COMMITS) - from + 1);
          expect(given.length).toBe(upTo(from, Math.min(to, COMMITS)).length);
        }
        expect(seqs(records.bundle(end ?? from))).toEqual(
          upTo(ranges.find(([, last]) => last === end)?.[0] ?? from, end ?? from),
        );
      }
      expect(records.page(COMMITS + 1, 10)).toEqual([]);
      expect(seqs(records.page(0, 1))).toEqual([1]);
      records.forget();
    }
  });

  test("are bundles after a seq only when they end after it, and never a single one", async () => {
    const records = new Records(await bundled([1, 3], [4, 6]));
    expect(records.bundles(3)).toEqual([{ first: 4, last: 6 }]);
    expect(records.bundles(2)).toHaveLength(2);
    expect(records.bundles(6)).toEqual([]);
    // A row that says that it is a range, with one commit under it.
    const single = await bundled();
    await single.replace(5, 6, storage.read(6) as Uint8Array);
    expect(new Records(single).bundles()).toEqual([]);
  });

  test("of a bundle that was made anew with more are those that ended there before", async () => {
    const records = new Records(await bundled([1, 8]));
    for (const last of [3, 7, 8, 2]) expect(seqs(records.bundle(last))).toEqual(upTo(1, last));
  });

  test("of the two bundles that were read last stay expanded", async () => {
    const read: number[] = [];
    const held = new (class extends StorageAround {
      override read(seq: number): Uint8Array | undefined {
        read.push(seq);
        return super.read(seq);
      }
    })(await bundled([1, 4], [5, 8], [9, 12]));
    const records = new Records(held);
    records.commit(1);
    records.commit(5);
    records.bundle(4);
    expect(read).toEqual([1, 5]);
    // The third takes the place of the one that was asked for longest ago, which is not the first.
    records.commit(9);
    for (const seq of [2, 3, 12, 4]) expect(records.commit(seq)?.commit.seq).toBe(seq);
    expect(seqs(records.bundle(12))).toEqual(upTo(9, 12));
    expect(read).toEqual([1, 5, 9]);
    records.commit(6);
    expect(read).toEqual([1, 5, 9, 6]);
    records.commit(1);
    expect(read).toEqual([1, 5, 9, 6, 1]);
  });

  test("read what took their place once they were told to forget", async () => {
    const held = await bundled([1, 3]);
    const records = new Records(held);
    expect(seqs(records.page(2, 10))).toEqual([2, 3]);
    await held.replace(1, 6, packBundle(held.identity.uid, all.slice(0, 6)));
    records.forget();
    expect(seqs(records.page(2, 10))).toEqual([2, 3, 4, 5, 6]);
  });

  test.each([1, 2, 7, COMMITS])("without the one of commit %i say so, whoever asks", async (lost) => {
    const records = new Records(new Lossy(storage, lost));
    const missing = { code: "DB_DAMAGED", details: { seq: lost } };
    expect(await refusal(() => records.commit(lost))).toEqual(missing);
    expect(await refusal(() => records.bundle(lost))).toEqual(missing);
    expect(await refusal(() => records.page(lost, 10))).toEqual(missing);
    if (lost < COMMITS) {
      expect(await refusal(() => records.page(1, 100))).toEqual(missing);
      expect(await refusal(() => records.page(0, 100))).toEqual(missing);
    } else expect(seqs(records.page(1, 100))).toEqual(upTo(1, COMMITS - 1));
    expect(await refusal(() => records.range(1, COMMITS))).toEqual(missing);
    expect(records.commit(lost === 3 ? 4 : 3)?.commit.seq).toBe(lost === 3 ? 4 : 3);
  });

  test("of a bundle that stands in another's place are none of the commits asked for", async () => {
    const held = await bundled([1, 3]);
    // That of commits 1 to 3 where 5 to 8 should be.
    await held.replace(5, 8, packBundle(held.identity.uid, all.slice(0, 3)));
    const records = new Records(held);
    expect(await refusal(() => records.commit(6))).toMatchObject({ code: "DB_DAMAGED", details: { seq: 6 } });
    expect(await refusal(() => records.page(5, 10))).toMatchObject({
      code: "DB_DAMAGED",
      details: { seq: 5 },
    });
    // And one that begins too late.
    const late = await bundled();
    await late.replace(1, 4, packBundle(late.identity.uid, all.slice(1, 4)));
    const other = new Records(late);
    expect(await refusal(() => other.page(1, 10))).toMatchObject({ code: "DB_DAMAGED", details: { seq: 1 } });
    expect(await refusal(() => other.page(0, 10))).toMatchObject({ code: "DB_DAMAGED", details: { seq: 1 } });
    expect(await refusal(() => other.commit(1))).toMatchObject({ code: "DB_DAMAGED", details: { seq: 1 } });
    expect(other.commit(2)?.commit.seq).toBe(2);
  });
});
