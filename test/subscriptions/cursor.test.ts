import path from "node:path";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { cidToString } from "../../src/ids/cid.ts";
import { encodeCursor } from "../../src/ids/cursor.ts";
import type { Life } from "../../src/store/contract.ts";
import { cursorAt, resolveSince, seqOfCursor } from "../../src/subscriptions/cursor.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { memoryDir } from "../support/temp-dir.ts";

const LIVES: readonly Life[] = [
  { epoch: 2, after: 3 },
  { epoch: 3, after: 2 },
];

/** A db of five commits that is in its third life: the second began after commit 3, the third after 2. */
const engine = new Engine({
  dir: path.join(memoryDir(), "data"),
  reserve: 0,
  documents: { workers: 1 },
  files: {
    ...sqliteFiles,
    openLog: (folder, dbId, options) =>
      new (class extends StorageAround {
        override lives(): readonly Life[] {
          return LIVES;
        }
      })(sqliteFiles.openLog(folder, dbId, options)),
  },
});
afterAll(() => engine.close());
beforeAll(async () => {
  await engine.create("n");
  await use(async (db) => {
    for (let i = 1; i <= 5; i += 1)
      await db.tx({ author: "ann", writes: [{ doc: "k/1", edit: { kind: "put", value: `{"i":${i}}` } }] });
  });
});
const use = <T>(work: (db: Db) => T | Promise<T>): Promise<T> => engine.use("n", work);

test("a cursor of an earlier life is good as far as that life is this one's, and beyond it says how far that is", () =>
  use(async (db) => {
    const of = (epoch: number, seq: number): string => encodeCursor(db.log.identity.uid, { epoch, seq });
    expect(cursorAt(db, 5)).toBe(of(3, 5));
    for (const [epoch, seqs] of [
      [3, [0, 2, 5]],
      [2, [0, 2]],
      [1, [0, 2]],
    ] as const) {
      for (const seq of seqs) expect(await resolveSince(db, of(epoch, seq))).toBe(seq);
    }
    for (const [epoch, seq, common] of [
      [2, 3, 2],
      [1, 3, 2],
      [1, 5, 2],
      [4, 1, 0],
    ] as const) {
      const commit = common === 0 ? null : cidToString(db.log.commit(common)?.cid as Uint8Array);
      expect(() => seqOfCursor(db, of(epoch, seq))).toThrow(
        expect.objectContaining({
          code: "EPOCH_CHANGED",
          status: 410,
          details: { last_common_seq: common, last_common_commit: commit, cursor: of(3, common) },
        }) as Error,
      );
    }
  }));

test("a cursor of this life that the log has not got to is of the future", () =>
  use(async (db) => {
    for (const since of ["6", cursorAt(db, 6)]) {
      await expect(resolveSince(db, since)).rejects.toMatchObject({
        code: "CURSOR_FUTURE",
        details: { seq: 5, cursor: cursorAt(db, 5) },
      });
    }
  }));

test("a feed begins where a seq, a commit, a time or `now` says", () =>
  use(async (db) => {
    const { cid, commit } = db.log.commit(3) as NonNullable<ReturnType<typeof db.log.commit>>;
    expect(await resolveSince(db, undefined)).toBe(0);
    expect(await resolveSince(db, "now")).toBe(5);
    expect(await resolveSince(db, "4")).toBe(4);
    expect(await resolveSince(db, cidToString(cid))).toBe(3);
    const at = await resolveSince(db, new Date(commit.time).toISOString());
    expect(at).toBeGreaterThanOrEqual(3);
    expect(db.log.commit(at)?.commit.time).toBe(commit.time);
    await db.compact();
    expect(await resolveSince(db, cidToString(cid))).toBe(3);
    await expect(resolveSince(db, "")).rejects.toMatchObject({ code: "CURSOR_INVALID" });
  }));
