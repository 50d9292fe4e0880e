import { jest } from "@jest/globals";
import { packBundle } from "../../src/log/bundle.ts";
import { readChange, readTrustedHeader, type ChangeHeader } from "../../src/log/change.ts";
import { headsOf } from "../../src/log/doc-state.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { Log } from "../../src/log/log.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import type { Most } from "../../src/sync/history.ts";
import { Histories } from "../../src/sync/histories.ts";
import { realWorld } from "../../src/world.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { memoryLog } from "../support/memory-log.ts";
import { setChange } from "../support/plain-change.mjs";
import { memoryDir } from "../support/temp-dir.ts";

// It takes some seconds; a machine that does other things as well may take minutes.
jest.setTimeout(300_000);

const ALL: Most = { changes: 1e9, bytes: 1e12 };
const DOC = "notes/a";
const UID = new Uint8Array(16).fill(3);

interface Opened {
  readonly log: Log;
  readonly histories: Histories;
  /** Records read from the storage so far. */
  readonly reads: () => number;
  /** Turns that were given to others. */
  readonly turns: () => number;
}

function open(bytes?: number): Opened {
  let reads = 0;
  let turns = 0;
  const memory = memoryLog({ dbId: "d", uid: UID, actor: new Uint8Array(16).fill(9), created: 0 });
  const storage: LogStorage = {
    ...memory,
    read: (seq) => {
      reads += 1;
      return memory.read(seq);
    },
  };
  const world = { ...realWorld, soon: (work: () => void) => (turns++, realWorld.soon(work)) };
  const log = new Log(storage, openSqliteCatalog(memoryDir()), { world });
  const source = {
    log,
    kept: () => undefined,
    save: () => Promise.reject(new Error("nothing is saved here")),
    split: () => Promise.reject(new Error("nothing is split here")),
  };
  return { log, histories: new Histories(source, bytes), reads: () => reads, turns: () => turns };
}

/** Writers on one document, each with its own actor, on whatever they have seen. */
class Writers {
  readonly #log: Log;
  readonly #seqs = new Map<string, { seq: number; hash: string }>();
  #made = 0;
  /** All changes by hash, for the model. */
  readonly changes = new Map<string, ChangeHeader>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** A change by `actor` on these heads and its own last change; gives its header. */
  async write(actor: number, on: readonly string[] = this.heads()): Promise<ChangeHeader> {
    const change = this.make(actor, on);
    await this.#log.write({ author: "a", clientTxId: "", writes: [{ doc: DOC, changes: [change] }] });
    return change;
  }

  make(actor: number, on: readonly string[]): ChangeHeader {
    const name = actor.toString(16).padStart(32, "0");
    const last = this.#seqs.get(name);
    const deps = [...new Set(on)].sort();
    const seq = (last?.seq ?? 0) + 1;
    const startOp = Math.max(0, ...deps.map((dep) => this.changes.get(dep)?.maxOp ?? 0)) + 1;
    const change = readChange(
      setChange({ deps, actor: name, seq, startOp, key: "k", value: (this.#made += 1) % 64 }).bytes,
    );
    this.#seqs.set(name, { seq, hash: change.hash });
    this.changes.set(change.hash, change);
    return change;
  }

  heads(): string[] {
    const state = this.#log.state(DOC);
    return state ? headsOf(state) : [];
  }

  /** What is not among these or their ancestors, by the definition. */
  lacking(known: readonly string[]): string[] {
    const has = new Set<string>();
    const stack = [...known];
    for (let hash = stack.pop(); hash !== undefined; hash = stack.pop()) {
      if (has.has(hash)) continue;
      has.add(hash);
      stack.push(...(this.changes.get(hash)?.deps ?? []));
    }
    return [...this.changes.keys()].filter((hash) => !has.has(hash)).sort();
  }
}

const names = (changes: readonly { readonly hash: string }[]): string[] =>
  changes.map(({ hash }) => hash).sort();

test("what a peer lacks, and where each change is, is as the graph says, whatever is in memory or in bundles", async () => {
  const seed = seedOf();
  const random = seeded(seed);
  const below = (n: number): number => Math.floor(random() * n);
  for (let round = 0; round < 5; round += 1) {
    const { log, histories } = open(round % 2 === 0 ? undefined : 4096);
    const writers = new Writers(log);
    const genesis = readTrustedHeader(genesisOf(UID, "notes", "a").bytes);
    if (round % 3 !== 0) writers.changes.set(genesis.hash, genesis);
    const tips: string[][] = Array.from({ length: 4 }, () => (round % 3 === 0 ? [] : [genesis.hash]));
    for (let step = 0; step < 100; step += 1) {
      const actor = below(4);
      const tip = tips[actor] as string[];
      // Each goes on from what it knows, and takes in what the others did now and then.
      if (random() < 0.3) tip.push(...writers.heads());
      const change = await writers.write(actor + 1, maximal(tip, writers));
      tips[actor] = [change.hash];
      if (random() < 0.02) histories.forget(DOC);
      if (step === 70 && round > 1) await log.compact(packBundle, { upTo: log.head().seq - 20 });
      if (random() > 0.3) continue;
      const known = Array.from(
        { length: below(3) },
        () => [...writers.changes.keys()][below(writers.changes.size)] as string,
      );
      const told = { seed, round, step };
      const history = histories.of(DOC);
      const since = await history.since(known, ALL);
      const lacking = writers.lacking(known);
      expect({ ...told, since: names(since?.changes ?? []).filter((hash) => hash !== genesis.hash) }).toEqual(
        {
          ...told,
          since: lacking.filter((hash) => hash !== genesis.hash),
        },
      );
      if (lacking.includes(genesis.hash)) expect(names(since?.changes ?? [])).toContain(genesis.hash);
      expect(since?.heads).toEqual(writers.heads());
      const seen = new Set<string>();
      for (const { hash, deps } of since?.changes ?? []) {
        expect(deps.every((dep) => seen.has(dep) || !lacking.includes(dep))).toBe(true);
        seen.add(hash);
      }
      // The genesis is not counted.
      const bound = async (changes: number) =>
        (await history.since(known, { changes, bytes: 1e9 })) !== undefined;
      if (lacking.length > 3) expect(await bound(lacking.length - 3)).toBe(false);
      expect(await bound(lacking.length)).toBe(true);
      const [hash] = known;
      if (hash !== undefined) {
        const seq = await history.seqOf(hash);
        expect(seq).toBe(
          hash === genesis.hash ? 0 : history.heads.includes(hash) ? history.seq : log.seqOfChange(DOC, hash),
        );
        expect((await history.change(hash))?.bytes).toEqual(writers.changes.get(hash)?.bytes);
      }
      expect(await history.seqOf("ab".repeat(32))).toBeUndefined();
    }
    // The graph says the same as the walk.
    const known = [...writers.changes.keys()].slice(40, 42);
    const stretch = await histories.of(DOC).stretch(known);
    expect(Array.from({ length: stretch.length }, (_, i) => stretch.hash(i)).sort()).toEqual(
      names((await histories.of(DOC).since(known, ALL))?.changes ?? []),
    );
  }
});

/** Those of these hashes that no other of them builds on. */
function maximal(hashes: readonly string[], writers: Writers): string[] {
  return [...new Set(hashes)].filter(
    (hash) => !hashes.some((other) => other !== hash && !writers.lacking([other]).includes(hash)),
  );
}

test("who was here a moment ago costs what was committed since, and nothing is read when it was told of", async () => {
  const { log, histories, reads } = open();
  const writers = new Writers(log);
  for (let i = 0; i < 400; i += 1) await writers.write(1);
  const before = writers.heads();
  const first = reads();
  expect((await histories.of(DOC).since(before, ALL))?.changes).toEqual([]);
  expect(reads() - first).toBe(0);
  const change = await writers.write(1);
  expect(names((await histories.of(DOC).since(before, ALL))?.changes ?? [])).toEqual([change.hash]);
  // The commit, and that it touches the document.
  expect(reads() - first).toBeLessThanOrEqual(2);
  const told = writers.make(1, writers.heads());
  const receipt = await log.write({ author: "a", clientTxId: "", writes: [{ doc: DOC, changes: [told] }] });
  const then = reads();
  histories.took(DOC, receipt.seq, [told], receipt.heads[DOC] ?? []);
  expect(names((await histories.of(DOC).since([change.hash], ALL))?.changes ?? [])).toEqual([told.hash]);
  expect(await histories.of(DOC).seqOf(told.hash)).toBe(receipt.seq);
  expect(reads() - then).toBe(0);
});

test("what it is told of and does not join up with what it has is read from the log", async () => {
  const { log, histories } = open();
  const writers = new Writers(log);
  const old = await writers.write(1);
  await histories.of(DOC).since([], ALL);
  const [one, two] = [await writers.write(1), await writers.write(2)];
  histories.took(DOC, log.head().seq, [two], writers.heads());
  expect(names((await histories.of(DOC).since([old.hash], ALL))?.changes ?? [])).toEqual(names([one, two]));
  // Also by one that was opened when all of it was there.
  const other = open();
  const others = new Writers(other.log);
  await others.write(1);
  const last = await others.write(1);
  other.histories.took(DOC, other.log.head().seq, [last], others.heads());
  expect((await other.histories.of(DOC).since([], ALL))?.changes).toHaveLength(2);
});

test("a change that joins what it is told of with what it was not told of is read from the log", async () => {
  const { log, histories } = open();
  const writers = new Writers(log);
  const first = await writers.write(1);
  await histories.of(DOC).since([], ALL);
  const other = await writers.write(2, []);
  const joined = writers.make(1, [first.hash, other.hash]);
  const receipt = await log.write({ author: "a", clientTxId: "", writes: [{ doc: DOC, changes: [joined] }] });
  // Its heads alone would follow from the first change as well.
  histories.took(DOC, receipt.seq, [joined], receipt.heads[DOC] ?? []);
  expect(names((await histories.of(DOC).since([first.hash], ALL))?.changes ?? [])).toEqual(
    names([other, joined]),
  );
});

test("changes that were set aside are not told of and not here", async () => {
  const { log, histories } = open();
  const writers = new Writers(log);
  const good = await writers.write(1);
  await histories.of(DOC).since([], ALL);
  const bad = await writers.write(2, [good.hash]);
  expect(await histories.of(DOC).seqOf(bad.hash)).toBeDefined();
  await log.setAside(DOC, [bad.hash], [bad.hash], [good.hash], "for the test");
  const history = histories.of(DOC);
  expect(history.heads).toEqual([good.hash]);
  expect(await history.seqOf(bad.hash)).toBeUndefined();
  expect(history.refused(bad.hash)).toBe(true);
  expect(names((await history.since([], ALL))?.changes ?? [])).toEqual([good.hash]);
  const next = await writers.write(1, [good.hash]);
  expect(names((await history.since([good.hash], ALL))?.changes ?? [])).toEqual([next.hash]);
  expect(names((await history.since([bad.hash], ALL))?.changes ?? [])).toEqual(names([next]));
});

test("a long history is walked in slices, and its graph once", async () => {
  const { log, histories, turns, reads } = open();
  const writers = new Writers(log);
  const changes: ChangeHeader[] = [];
  for (let i = 0; i < 6000; i += 1)
    changes.push(writers.make(1, changes.length > 0 ? [(changes.at(-1) as ChangeHeader).hash] : []));
  for (let i = 0; i < changes.length; i += 4) {
    void log.write({ author: "a", clientTxId: "", writes: [{ doc: DOC, changes: changes.slice(i, i + 4) }] });
  }
  await log.settled();
  await log.compact(packBundle, { upTo: 1000 });
  const before = turns();
  const history = histories.of(DOC);
  const stretch = await history.stretch([]);
  expect(stretch.length).toBe(6000);
  expect(Array.from({ length: 6000 }, (_, i) => stretch.hash(i))).toEqual(changes.map(({ hash }) => hash));
  expect(stretch.change(17).bytes).toEqual(changes[17]?.bytes);
  expect(turns() - before).toBeGreaterThan(5);
  const then = reads();
  expect((await history.stretch([(changes[2999] as ChangeHeader).hash])).length).toBe(3000);
  expect(await history.seqOf((changes[10] as ChangeHeader).hash)).toBe(3);
  // The walk that comes first looks at as many as it keeps; the graph reads nothing.
  expect(reads() - then).toBeLessThan(1200);
  await writers.write(1);
  expect((await histories.of(DOC).stretch([])).length).toBe(6001);
});

test("what histories hold in memory is bounded over all documents, and given back", async () => {
  const { log, histories } = open(200_000);
  for (let d = 0; d < 40; d += 1) {
    const doc = `notes/${d}`;
    const changes: ChangeHeader[] = [];
    for (let i = 0; i < 40; i += 1) {
      const deps = changes.length > 0 ? [(changes.at(-1) as ChangeHeader).hash] : [];
      changes.push(
        readChange(setChange({ deps, actor: "01".repeat(16), seq: i + 1, startOp: i + 1, key: "k" }).bytes),
      );
    }
    await log.write({ author: "a", clientTxId: "", writes: [{ doc, changes }] });
    expect((await histories.of(doc).since([], ALL))?.changes).toHaveLength(40);
    histories.of(doc).remember("x", new Uint8Array(1000));
    expect(histories.bytes).toBeLessThan(220_000);
  }
  expect(histories.count).toBeLessThan(40);
  for (let d = 0; d < 40; d += 1) histories.forget(`notes/${d}`);
  expect([histories.bytes, histories.count]).toEqual([0, 0]);
});
