import { randomBytes } from "node:crypto";
import path from "node:path";
import * as A from "@automerge/automerge";
import { SkaldError } from "../../src/errors.ts";
import type { CatalogBatch, StoredDoc, StoredRecord } from "../../src/store/contract.ts";
import { readChange } from "../../src/log/change.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { Log } from "../../src/log/log.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { CatalogAround, StorageAround } from "../support/broken-builds.ts";
import { memoryLog } from "../support/memory-log.ts";
import { setChange } from "../support/plain-change.mjs";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, forge, lastChange, openLog, refusal, set, tx, write } from "./fixture.ts";

const root = tempDir();
const [AA, BB] = ACTORS;

/** A storage that counts what goes through it, and refuses an append when told to. */
class Watched extends StorageAround {
  readonly appends: number[] = [];
  refuse: SkaldError | undefined;
  /** Runs after the append is durable and before whoever waits for it hears of it. */
  after: (() => void) | undefined;

  override async append(records: readonly StoredRecord[]): Promise<void> {
    if (this.refuse) throw this.refuse;
    this.appends.push(records.length);
    await super.append(records);
    this.after?.();
  }
}

function watchedLog() {
  let storage: Watched | undefined;
  const made = createLog(root, {}, (inner) => (storage = new Watched(inner)));
  return { ...made, storage: storage as unknown as Watched };
}

const first = (log: Parameters<typeof copyOf>[0], doc: string, actor: string, values = {}) =>
  lastChange(set(copyOf(log, doc, actor), { at: doc, ...values }));

describe("writers that come together", () => {
  test("share few appends, each with its own receipt, and a bad one spoils none of the others", async () => {
    const { log, storage } = watchedLog();
    const docs = Array.from({ length: 64 }, (_, i) => `notes/${i}`);
    const bad = new Set([0, 17, 40, 63]);
    const answers = await Promise.all(
      docs.map((doc, i) => {
        const change = first(log, doc, AA);
        return refusalOr(log.write(tx(write(doc, [bad.has(i) ? forge(change, { seq: 2 }) : change]))));
      }),
    );
    expect(storage.appends.length).toBeLessThanOrEqual(2);
    expect(log.head().seq).toBe(60);
    const seqs = answers.filter((answer) => typeof answer === "number");
    expect(seqs.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    answers.forEach((answer, i) => {
      if (bad.has(i)) expect(answer).toBe("CHANGE_SEQ");
    });
    expect(log.counts()).toEqual({ documents: 60, deleted: 0 });
    await log.close();
  });

  test("on one document are checked one after the other", async () => {
    const { log, storage } = watchedLog();
    const begun = set(copyOf(log, "notes/a", AA), { n: 0 });
    await log.write(tx(write("notes/a", [lastChange(begun)])));
    const base = A.getHeads(begun);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => {
        const mine = set(A.clone(begun, { actor: `${i}${i}`.repeat(16) }), { n: i + 1 });
        return refusalOr(log.write(tx(write("notes/a", [lastChange(mine)], { base }))));
      }),
    );
    expect(answers).toEqual([2, ...Array.from({ length: 7 }, () => "HEADS_CONFLICT")]);
    expect(storage.appends).toEqual([1, 1]);
    await log.close();
  });

  test("build on each other in one append", async () => {
    const { log, storage } = watchedLog();
    let doc = copyOf(log, "notes/a", AA);
    const writes = Array.from({ length: 20 }, (_, n) => {
      doc = set(doc, { n });
      return log.write(tx(write("notes/a", [lastChange(doc)])));
    });
    expect((await Promise.all(writes)).map(({ seq }) => seq)).toEqual(
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    expect(storage.appends).toEqual([20]);
    expect(log.commit(20)?.commit.parents).toEqual([log.commit(19)?.cid]);
    await log.close();
  });

  test("share no append of more than eight megabytes, however many they are", async () => {
    const { log, storage } = watchedLog();
    // Of no named document's start, so that it fits into any.
    const large = lastChange(set(A.init({ actor: AA }), { bytes: randomBytes(4_500_000) }));
    const names = ["a", "b", "c", "d", "e"].map((key) => `notes/${key}`);
    await Promise.all(names.map((name) => log.write(tx(write(name, [large])))));
    expect(storage.appends).toEqual([2, 2, 1]);
    await log.close();
  });

  test("hear of each durable group once, after it is durable", async () => {
    const { log, storage } = watchedLog();
    const heard: [number, number][] = [];
    log.onCommit((seq) => heard.push([seq, storage.last()]));
    await Promise.all(
      ["a", "b", "c"].map((key) => log.write(tx(write(`notes/${key}`, [first(log, `notes/${key}`, AA)])))),
    );
    expect(heard).toEqual([[3, 3]]);
    await log.close();
  });

  test("who add nothing cost no append, and nobody hears of them", async () => {
    const { log, storage } = watchedLog();
    const change = first(log, "notes/a", AA);
    await log.write(tx(write("notes/a", [change])));
    const heard: number[] = [];
    const stop = log.onCommit((seq) => heard.push(seq));
    expect((await log.write(tx(write("notes/a", [change])))).duplicate).toBe(true);
    expect(await refusal(log.write(tx(write("notes/a", [forge(change, { seq: 9 })]))))).toMatchObject({
      code: "CHANGE_SEQ",
    });
    expect([storage.appends, heard]).toEqual([[1], []]);
    await log.write(tx(write("notes/b", [first(log, "notes/b", AA)])));
    stop();
    const last = log.write(tx(write("notes/c", [first(log, "notes/c", AA)])));
    expect(log.writing).toBe(true);
    await last;
    await log.settled();
    expect([storage.appends, heard, log.writing]).toEqual([[1, 1, 1], [2], false]);
    await log.close();
  });

  test("are not held up by a listener that fails", async () => {
    const failures: unknown[] = [];
    const { log } = createLog(root, { onError: (error) => failures.push(error) });
    const heard: number[] = [];
    log.onCommit(() => {
      throw new Error("a listener's own trouble");
    });
    log.onCommit((seq) => heard.push(seq));
    expect((await log.write(tx(write("notes/a", [first(log, "notes/a", AA)])))).seq).toBe(1);
    await log.settled();
    expect([heard, failures.length]).toEqual([[1], 1]);
    await log.close();
  });
});

describe("a full disk", () => {
  test("refuses the whole group, keeps nothing of it, and takes the same writes once there is room", async () => {
    const { log, storage, folder } = watchedLog();
    const begun = set(copyOf(log, "notes/a", AA), { n: 0 });
    const before = await log.write(tx(write("notes/a", [lastChange(begun)]), { clientTxId: "zero" }));
    storage.refuse = new SkaldError("STORAGE_FULL", "The disk is full.");
    const heads = A.getHeads(begun);
    const one = () =>
      log.write(
        tx(write("notes/a", [lastChange(set(begun, { n: 1 }))], { base: heads }), { clientTxId: "one" }),
      );
    const rival = () =>
      log.write(
        tx(write("notes/a", [lastChange(set(A.clone(begun, { actor: BB }), { n: 2 }))], { base: heads })),
      );
    const repeat = () => log.write(tx(write("notes/a", [lastChange(begun)]), { clientTxId: "zero" }));
    const bad = () => log.write(tx(write("notes/b", [forge(first(log, "notes/b", AA), { seq: 2 })])));
    const answers = await Promise.all([bad(), one(), one(), rival(), repeat()].map(refusalOr));
    // Who was refused for what was there before hears that; the rival was refused for heads that never came to
    // be, and hears what became of them instead.
    expect(answers).toEqual(["CHANGE_SEQ", "STORAGE_FULL", "STORAGE_FULL", "STORAGE_FULL", 1]);
    expect([log.head().seq, storage.last(), log.counts().documents]).toEqual([1, 1, 1]);
    expect(log.state("notes/a")?.changes).toBe(1);
    storage.refuse = undefined;
    expect((await one()).seq).toBe(2);
    expect((await repeat()).commit).toBe(before.commit);
    await log.close();
    const again = openLog(folder);
    expect(again.log.head().seq).toBe(2);
    await again.log.close();
  });
});

describe("the catalog", () => {
  test("is written when 2,048 documents are only in memory, however few commits wrote them", async () => {
    const writes: number[] = [];
    const { log, folder } = createLog(tempDir());
    await log.close();
    const storage = openSqliteLog(folder, "notes");
    const table = new (class extends CatalogAround {
      override write(batch: CatalogBatch): void {
        writes.push(batch.docs.length);
        super.write(batch);
      }
    })(openSqliteCatalog(folder));
    const own = new Log(storage, table);
    for (let n = 0; n < 6; n += 1) {
      const writesOf = Array.from({ length: 900 }, (_, i) => {
        const doc = `notes/${n}-${i}`;
        const { hash } = genesisOf(own.identity.uid, "notes", `${n}-${i}`);
        const { bytes } = setChange({ deps: [hash], actor: AA, seq: 1, startOp: 1, key: "n", value: 1 });
        return write(doc, [bytes]);
      });
      await own.write(tx(writesOf));
    }
    expect(writes).toEqual([2700, 2700]);
    await own.close();
    // The same from the records alone, which are not all read at once.
    dropSqliteCatalog(folder);
    const again = openLog(folder);
    expect(again.log.counts()).toMatchObject({ documents: 5400 });
    await again.log.close();
  });

  test("is written to its table when 1,024 commits are only in memory, and not before", async () => {
    const writes: number[] = [];
    const folder = path.join(tempDir(), "db");
    const storage = memoryLog({
      dbId: "notes",
      uid: new Uint8Array(16),
      actor: new Uint8Array(16),
      created: 0,
    });
    const table = new (class extends CatalogAround {
      override write(batch: CatalogBatch): void {
        writes.push(batch.head);
        super.write(batch);
      }
    })((createSqliteLog(folder, "notes").close(), openSqliteCatalog(folder)));
    const log = new Log(storage, table);
    const bytes = first(log, "notes/a", AA);
    const one = (n: number) =>
      log.write(tx(write("notes/a", n === 0 ? [bytes] : [], { deleted: n % 2 === 1 })));
    for (let n = 0; n < 1023; n += 1) await one(n);
    expect([log.head().seq, writes]).toEqual([1023, []]);
    for (let n = 1023; n < 1030; n += 1) await one(n);
    expect([log.head().seq, writes]).toEqual([1030, [1024]]);
    for (const _ of [1, 2]) log.tidy();
    expect(writes).toEqual([1024, 1030]);
    // Why a change is refused is looked up a thousand commits back and no further.
    const rival = lastChange(set(copyOf(log, "notes/a", AA), { rival: 1 }));
    expect(await refusal(log.write(tx(write("notes/a", [rival]))))).toMatchObject({
      code: "CHANGE_EQUIVOCATION",
      details: { hashes: [readChange(rival).hash] },
    });
    await log.close();
    expect(writes).toEqual([1024, 1030]);
  });

  test("that is made anew is written to its table on the way, not only at the end", async () => {
    let watched: Watched | undefined;
    const made = createLog(root, {}, (inner) => {
      inner.close();
      return (watched = new Watched(memoryLog(inner.identity)));
    });
    const bytes = first(made.log, "notes/a", AA);
    const one = (n: number) =>
      made.log.write(tx(write("notes/a", n === 0 ? [bytes] : [], { deleted: n % 2 === 1 })));
    await Promise.all(Array.from({ length: 1500 }, (_, n) => one(n)));
    expect(watched?.appends).toEqual([512, 512, 476]);
    const folder = path.join(tempDir(), "db");
    createSqliteLog(folder, "notes").close();
    const table = openSqliteCatalog(folder);
    const log = new Log(made.storage, table);
    expect([log.head().seq, table.head(), log.history("notes/a", 1500, 2)]).toEqual([
      1500,
      1024,
      [1500, 1499],
    ]);
    await log.close();
  });

  test("that cannot be written says so to whoever is told, and to no caller", async () => {
    const folder = path.join(tempDir(), "db");
    const told: unknown[] = [];
    const storage = createSqliteLog(folder, "notes");
    let full = true;
    const table = new (class extends CatalogAround {
      override write(batch: CatalogBatch): void {
        if (full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
        super.write(batch);
      }
    })(openSqliteCatalog(folder));
    const log = new Log(storage, table, { onError: (error) => told.push(error) });
    await log.write(tx(write("notes/a", [first(log, "notes/a", AA)])));
    log.tidy();
    expect(told).toEqual([expect.objectContaining({ code: "STORAGE_FULL" })]);
    full = false;
    log.tidy();
    expect([told.length, table.head()]).toEqual([1, 1]);
    await log.close();
  });

  test("that leads to another's receipt, or to none, is damaged and no answer", async () => {
    const folder = path.join(tempDir(), "db");
    const storage = createSqliteLog(folder, "notes");
    let seq = 1;
    const table = new (class extends CatalogAround {
      override receipt(): number | undefined {
        return seq;
      }
    })(openSqliteCatalog(folder));
    const sent = (author: string, clientTxId: string) =>
      refusal(log.write(tx(write("notes/a", [first(log, "notes/a", BB)]), { author, clientTxId })));
    const log = new Log(storage, table);
    seq = undefined as never;
    await log.write(tx(write("notes/a", [first(log, "notes/a", AA)]), { clientTxId: "one" }));
    log.tidy();
    seq = 1;
    expect(await sent("ann", "one")).toMatchObject({ code: "none" });
    expect(await sent("ann", "two")).toMatchObject({ code: "DERIVED_DAMAGED" });
    expect(await sent("bob", "one")).toMatchObject({ code: "DERIVED_DAMAGED" });
    seq = 7;
    expect(await sent("ann", "one")).toMatchObject({ code: "DB_DAMAGED", details: { seq: 7 } });
    expect(log.head().seq).toBe(1);
    await log.close();
  });

  test("that could not take in all of a commit answers nothing any more, and the log has the commit", async () => {
    const folder = path.join(tempDir(), "db");
    const told: unknown[] = [];
    let broken = false;
    const storage = new Watched(createSqliteLog(folder, "notes"));
    const table = new (class extends CatalogAround {
      override doc(name: string): StoredDoc | undefined {
        if (broken) throw new SkaldError("DERIVED_DAMAGED", "its page cannot be read");
        return super.doc(name);
      }
    })(openSqliteCatalog(folder));
    const log = new Log(storage, table, { onError: (error) => told.push(error) });
    await log.write(tx(write("notes/a", [first(log, "notes/a", AA)])));
    // Written between the append and the end of its group: then the row's number must be looked up.
    storage.after = () => {
      log.counts();
      broken = true;
    };
    const receipt = await log.write(tx(write("notes/b", [first(log, "notes/b", AA)])));
    storage.after = undefined;
    broken = false;
    expect(receipt.seq).toBe(2);
    expect(told).toEqual([expect.objectContaining({ code: "DERIVED_DAMAGED" })]);
    for (const ask of [() => log.state("notes/a"), () => log.counts(), () => log.list("", "", 9)])
      expect(await refusal(ask)).toMatchObject({ code: "DERIVED_DAMAGED" });
    expect(table.head()).toBe(1);
    await log.close();
    const again = openLog(folder);
    expect([again.log.head().seq, again.log.counts().documents]).toEqual([2, 2]);
    await again.log.close();
  });

  test("counts and lists what is in memory while its table takes nothing", async () => {
    const folder = path.join(tempDir(), "db");
    const storage = createSqliteLog(folder, "notes");
    let full = false;
    const table = new (class extends CatalogAround {
      override write(batch: CatalogBatch): void {
        if (full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
        super.write(batch);
      }
    })(openSqliteCatalog(folder));
    const log = new Log(storage, table, { onError: () => {} });
    for (const doc of ["notes/a", "notes/b", "notes/c"])
      await log.write(tx(write(doc, [first(log, doc, AA)])));
    await log.write(tx(write("notes/c", [], { deleted: true })));
    expect(log.counts()).toEqual({ documents: 2, deleted: 1 });
    full = true;
    for (const doc of ["notes/d", "other/e"]) await log.write(tx(write(doc, [first(log, doc, AA)])));
    await log.write(tx(write("notes/a", [], { deleted: true })));
    await log.write(tx(write("notes/c", [], { deleted: false })));
    const names = (prefix: string, after: string, limit: number, withDeleted = false) =>
      log.list(prefix, after, limit, withDeleted).map(({ name }) => name);
    const check = (): void => {
      expect(log.counts()).toEqual({ documents: 4, deleted: 1 });
      expect(names("", "", 10)).toEqual(["notes/b", "notes/c", "notes/d", "other/e"]);
      expect(names("", "", 10, true)).toEqual(["notes/a", "notes/b", "notes/c", "notes/d", "other/e"]);
      expect(names("", "", 5, true)).toEqual(["notes/a", "notes/b", "notes/c", "notes/d", "other/e"]);
      expect(names("notes/", "notes/b", 10)).toEqual(["notes/c", "notes/d"]);
      expect(names("notes/", "notes/b", 1)).toEqual(["notes/c"]);
      expect(names("notes/", "notes/d", 10)).toEqual([]);
      expect(log.touchedSince(5, 10).sort()).toEqual(["notes/a", "notes/c", "notes/d", "other/e"]);
      expect(log.touchedSince(2, 10).sort()).toEqual(["notes/a", "notes/b", "notes/c", "notes/d", "other/e"]);
      expect(log.touchedSince(5, 2)).toHaveLength(2);
      expect(log.touchedSince(1, 5)).toHaveLength(5);
      expect(log.touchedSince(1, 4)).toHaveLength(4);
      expect(log.history("notes/a", 100, 10)).toEqual([7, 1]);
      expect(log.history("notes/a", 6, 10)).toEqual([1]);
      expect(log.history("notes/a", 100, 1)).toEqual([7]);
      expect(log.history("notes/c", 100, 10)).toEqual([8, 4, 3]);
      expect(log.history("notes/c", 100, 2)).toEqual([8, 4]);
      expect(log.history("notes/c", 7, 1)).toEqual([4]);
      expect(log.changes("notes/c", 0, 100)).toHaveLength(1);
    };
    check();
    full = false;
    check();
    await log.close();
  });

  test("may be written to its table between a group's append and its end", async () => {
    const { log, storage, folder } = watchedLog();
    storage.after = () => void log.counts();
    await log.write(tx(write("notes/a", [first(log, "notes/a", AA)])));
    let doc = set(copyOf(log, "notes/b", AA), { n: 0 });
    const send = (more: typeof doc) => log.write(tx(write("notes/b", [lastChange((doc = more))])));
    await send(doc);
    await send(set(doc, { n: 1 }));
    await send(set(doc, { n: 2 }));
    expect(log.counts()).toEqual({ documents: 2, deleted: 0 });
    expect(log.history("notes/b", 10, 10)).toEqual([4, 3, 2]);
    await log.close();
    const again = openLog(folder);
    expect(again.log.history("notes/b", 10, 10)).toEqual([4, 3, 2]);
    await again.log.close();
  });

  test("answers the same from memory and from its table", async () => {
    const { log, folder } = createLog(root);
    const names = ["notes/b", "notes/a", "notes/\u{e9}", "other/a", "notes/\u{1f600}", "notes/\u{ffff}"];
    for (const doc of names) await log.write(tx(write(doc, [first(log, doc, AA)])));
    await log.write(tx(write("notes/b", [], { deleted: true })));
    const sorted = ["notes/a", "notes/\u{e9}", "notes/\u{ffff}", "notes/\u{1f600}"];
    const check = (held: typeof log): void => {
      expect(held.list("notes/", "", 10).map(({ name }) => name)).toEqual(sorted);
      expect(held.list("notes/", "", 10, true).map(({ name }) => name)).toEqual([
        sorted[0],
        "notes/b",
        ...sorted.slice(1),
      ]);
      expect(held.list("notes/", "notes/a", 2).map(({ name }) => name)).toEqual(sorted.slice(1, 3));
      expect(held.counts()).toEqual({ documents: 5, deleted: 1 });
    };
    check(log);
    await log.close();
    for (const cachedDocs of [0, 1, 100]) {
      const again = openLog(folder, { cachedDocs });
      check(again.log);
      for (const doc of [...names, ...names])
        expect(again.log.state(doc)).toMatchObject({
          name: doc,
          deleted: doc === "notes/b",
          changes: 1,
          bytes: first(log, doc, AA).length,
          refusedAt: 0,
        });
      await again.log.close();
    }
  });
});

async function refusalOr(written: Promise<{ seq: number }>): Promise<number | string> {
  return written.then(
    ({ seq }) => seq,
    async (error: unknown) => (await refusal(Promise.reject(error))).code,
  );
}
