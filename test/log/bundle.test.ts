import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as A from "@automerge/automerge";
import Database from "better-sqlite3";
import { packBundle, unpackBundle } from "../../src/log/bundle.ts";
import type { Log, StoredCommit } from "../../src/log/log.ts";
import { verifyLog, type Verdict } from "../../src/log/verify.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { ACTORS, copyOf, createLog, lastChange, openLog, set, tx, write, type Doc } from "./fixture.ts";

const root = mkdtempSync(path.join(tmpdir(), "skald-bundle-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const [AA, BB] = ACTORS;

/** Two documents by two actors, with a merge, a deletion and a message among 60 commits. */
async function written(): Promise<{ log: Log; storage: LogStorage; folder: string; all: StoredCommit[] }> {
  const opened = createLog(root);
  const { log } = opened;
  let a: Doc = copyOf(log, "notes/a", AA);
  let b: Doc = copyOf(log, "notes/b", BB);
  for (let i = 0; i < 28; i += 1) {
    a = set(a, { n: i, text: `line ${i}` });
    b = set(b, { list: [i, i + 1] });
    await log.write(tx(write("notes/a", [lastChange(a)]), { anyActor: true, clientTxId: `a-${i}` }));
    await log.write(
      tx(write("notes/b", [lastChange(b)]), { anyActor: true, message: i % 7 === 0 ? "seven" : "other" }),
    );
  }
  const left = set(a, { left: 1 });
  const right = set(A.clone(a, { actor: BB }), { right: 1 });
  await log.write(tx(write("notes/a", [lastChange(left)]), { anyActor: true }));
  await log.write(tx(write("notes/a", [lastChange(right)]), { anyActor: true }));
  const merged = set(A.merge(A.clone(left, { actor: AA }), right), { merged: true });
  await log.write(
    tx([write("notes/a", [lastChange(merged)]), write("notes/b", [], { deleted: true })], { anyActor: true }),
  );
  return { ...opened, all: log.commits(1, 1000) };
}

function verdictOf(storage: LogStorage): Verdict {
  const walk = verifyLog(storage);
  for (;;) {
    const step = walk.next();
    if (step.done) return step.value;
  }
}

describe("a bundle", () => {
  test("gives back every byte of its commits and blocks", async () => {
    const { log, all } = await written();
    const body = packBundle(log.identity.uid, all);
    const back = unpackBundle(log.identity.uid, body);
    expect(
      back.map(({ cid, bytes, blocks }) => ({
        cid,
        bytes,
        blocks: blocks.map((block) => Buffer.from(block)),
      })),
    ).toEqual(
      all.map(({ cid, bytes, blocks }) => ({
        cid,
        bytes,
        blocks: blocks.map((block) => Buffer.from(block)),
      })),
    );
    const raw = all.reduce(
      (sum, { bytes, blocks }) => sum + bytes.length + blocks.reduce((n, block) => n + block.length, 0),
      0,
    );
    expect(body.length).toBeLessThan(raw / 8);
    await log.close();
  });

  test("with any bit flipped is refused", async () => {
    const { log, all } = await written();
    const body = packBundle(log.identity.uid, all);
    for (let at = 0; at < body.length; at += 1) {
      const spoilt = Uint8Array.from(body);
      spoilt[at] = (spoilt[at] as number) ^ (1 << (at % 8));
      expect(() => unpackBundle(log.identity.uid, spoilt)).toThrow(
        expect.objectContaining({ code: "DB_DAMAGED" }),
      );
    }
    await log.close();
  });

  test("of another db does not hash to what it vouches for", async () => {
    const { log, all } = await written();
    const body = packBundle(log.identity.uid, all);
    const other = Uint8Array.from(log.identity.uid, (byte) => byte ^ 1);
    expect(() => unpackBundle(other, body)).toThrow(expect.objectContaining({ code: "DB_DAMAGED" }));
    await log.close();
  });
});

describe("a compacted log", () => {
  test("answers everything as before, also when it is opened again or its catalog is new", async () => {
    const { log, storage, folder, all } = await written();
    const questions = async (asked: Log): Promise<unknown> => ({
      commits: all.map(({ commit: { seq } }) => Buffer.from(asked.commit(seq)?.bytes ?? [])),
      history: asked.history("notes/a", 1000, 1000),
      page: asked.history("notes/b", 30, 5),
      points: [1, 20, 56, 58, 59].map((seq) => ["notes/a", "notes/b"].map((doc) => asked.stateAt(doc, seq))),
      changes: asked.changes("notes/a", 10, 58).map((bytes) => Buffer.from(bytes)),
      found: await Promise.all(all.map(({ cid }) => asked.locate(cid))),
      blocks: await Promise.all(
        all
          .flatMap(({ commit }) => commit.entries.flatMap((entry) => entry.changes))
          .map(async (cid) => {
            await asked.locate(cid);
            return Buffer.from(asked.block(cid) ?? []);
          }),
      ),
      times: all.map(({ commit }) => asked.seqAt(commit.time)),
    });
    const before = await questions(log);
    const bytes = storage.bytes();
    expect(await log.compact(packBundle, { upTo: 50 })).toEqual({ bundles: 1, commits: 50 });
    expect(storage.ranges()).toEqual([{ first: 1, last: 50 }]);
    expect(await questions(log)).toEqual(before);
    // The rest joins the bundle, which has room.
    await log.compact(packBundle);
    expect(storage.ranges()).toEqual([{ first: 1, last: 59 }]);
    expect(await questions(log)).toEqual(before);
    expect(storage.bytes()).toBeLessThan(bytes);
    expect(verdictOf(storage)).toMatchObject({ checked: 59, findings: [], head: all.at(-1)?.cid });
    await log.close();

    const again = openLog(folder);
    expect(await questions(again.log)).toEqual(before);
    await again.log.close();

    for (const suffix of ["", "-wal", "-shm"])
      rmSync(path.join(folder, `catalog.sqlite${suffix}`), { force: true });
    const anew = openLog(folder);
    expect(await questions(anew.log)).toEqual(before);
    await anew.log.close();
  });

  test("takes new writes, knows old changes, and finds an old dependency", async () => {
    const { log, all } = await written();
    await log.compact(packBundle);
    const old = all[0]?.blocks[0] as Uint8Array;
    const repeat = await log.write(tx(write("notes/a", [old]), { anyActor: true }));
    expect(repeat).toMatchObject({ duplicate: true });
    // An edit on a point long past: its dependency is only in the bundle.
    const past = A.applyChanges(copyOf(log, "notes/a", ACTORS[2]), log.changes("notes/a", 0, 9))[0];
    const retried = { anyActor: true, clientTxId: "a-3" };
    const other = lastChange(set(copyOf(log, "notes/a", ACTORS[3]), { other: 1 }));
    expect(await log.write(tx(write("notes/a", [other]), retried))).toMatchObject({
      seq: 7,
      duplicate: true,
    });
    const late = await log.write(
      tx(write("notes/a", [lastChange(set(past, { late: true }))]), { anyActor: true }),
    );
    expect(late).toMatchObject({ seq: 60, duplicate: false });
    expect(log.stateAt("notes/a", 60)?.heads).toHaveLength(2);
    await log.close();
  });

  test("stays as it is when less of it is asked for, and goes on where it ended", async () => {
    const { log, storage, all } = await written();
    const progress: number[][] = [];
    expect(await log.compact(packBundle, { upTo: 0 })).toEqual({ bundles: 0, commits: 0 });
    // One commit alone would only grow.
    expect(await log.compact(packBundle, { upTo: 1 })).toEqual({ bundles: 0, commits: 1 });
    expect(storage.ranges()).toEqual([]);
    expect(await log.compact(packBundle, { upTo: 30 })).toEqual({ bundles: 1, commits: 30 });
    expect(await log.compact(packBundle, { upTo: 10 })).toEqual({ bundles: 0, commits: 0 });
    expect(await log.compact(packBundle, { upTo: 30 })).toEqual({ bundles: 0, commits: 0 });
    expect(storage.ranges()).toEqual([{ first: 1, last: 30 }]);
    const stopped = { signal: AbortSignal.abort(), onProgress: () => progress.push([]) };
    expect(await log.compact(packBundle, stopped)).toEqual({ bundles: 0, commits: 0 });
    expect(progress).toEqual([]);
    const onProgress = (done: number, of: number) => progress.push([done, of]);
    expect(await log.compact(packBundle, { upTo: 1000, onProgress })).toEqual({ bundles: 1, commits: 59 });
    expect(progress).toEqual([[59, 59]]);
    expect(storage.ranges()).toEqual([{ first: 1, last: 59 }]);
    expect(log.answers.bundledUpTo()).toBe(59);
    expect(log.commits(1, 1000).map(({ bytes }) => Buffer.from(bytes))).toEqual(
      all.map(({ bytes }) => Buffer.from(bytes)),
    );
    await log.close();
  });

  test.each([
    ["its first bundle", [[1, 10]], [[1, 59]]],
    [
      "one of several",
      [
        [1, 10],
        [11, 20],
        [21, 25],
      ],
      [
        [1, 10],
        [11, 20],
        [21, 59],
      ],
    ],
    [
      "the first of several",
      [
        [1, 5],
        [6, 10],
      ],
      [
        [1, 7],
        [8, 10],
      ],
    ],
    [
      "bundles that came after",
      [[1, 10]],
      [
        [1, 10],
        [11, 20],
        [21, 30],
      ],
    ],
  ] as [string, [number, number][], [number, number][]][])(
    "whose catalog does not know of %s yet, after a crash, is told of it on opening",
    async (_, before, after) => {
      const { log, storage, folder, all } = await written();
      await log.close();
      const asRanges = (ranges: [number, number][]) => ranges.map(([first, last]) => ({ first, last }));
      /** The storage with these bundles, whatever it had. */
      const meddle = (ranges: [number, number][]): void => {
        const sqlite = new Database(path.join(folder, "log.sqlite"));
        sqlite.exec("DELETE FROM record");
        const insert = sqlite.prepare("INSERT INTO record (seq, first, body) VALUES (?, ?, ?)");
        for (const [first, last] of ranges)
          insert.run(last, first, packBundle(storage.identity.uid, all.slice(first - 1, last)));
        const end = ranges.at(-1)?.[1] ?? 0;
        for (const { seq, body } of singles) if (seq > end) insert.run(seq, seq, body);
        sqlite.close();
        rmSync(path.join(folder, "log.sqlite.closed"), { force: true });
      };
      const whole = openSqliteLog(folder, "notes", { readonly: true });
      const singles = whole.page(1, 100);
      whole.close();
      meddle(before);
      const known = openLog(folder);
      expect(known.log.answers.bundles()).toEqual(asRanges(before));
      await known.log.close();
      meddle(after);
      const again = openLog(folder);
      expect(again.log.answers.bundles()).toEqual(asRanges(after));
      for (const doc of ["notes/a", "notes/b"])
        expect(again.log.history(doc, 100, 100)).toEqual(
          all
            .filter(({ commit }) => commit.entries.some((entry) => entry.doc === doc))
            .map(({ commit }) => commit.seq)
            .reverse(),
        );
      await again.log.close();
    },
  );

  test("whose bundle is damaged says which commits are lost", async () => {
    const { log, storage } = await written();
    await log.compact(packBundle);
    const body = Uint8Array.from(storage.read(59) as Uint8Array);
    body[100] = (body[100] as number) ^ 1;
    await storage.replace(1, 59, body);
    expect(verdictOf(storage).findings).toEqual([
      { what: "record", where: expect.stringContaining("commits 1 to 59") as string },
    ]);
    await log.close().catch(() => {});
  });
});
