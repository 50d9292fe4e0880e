import * as A from "@automerge/automerge";
import { CODEC_RAW, cidOf, cidToString } from "../../src/ids/cid.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { readChange } from "../../src/log/change.ts";
import { decodeRecord, encodeRecord } from "../../src/log/record.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { prefixOf } from "../../src/log/address-map.ts";
import { Log } from "../../src/log/log.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, openLog, refusal, set, tx, write } from "./fixture.ts";
import { realWorld } from "../../src/world.ts";

const root = tempDir();
const [AA, BB] = ACTORS;

/** Three commits to one document, the second of another document, at the times given. */
async function withFour(times: number[]) {
  let at = 0;
  const { log, folder } = createLog(root, { world: { ...realWorld, now: () => times[at++] as number } });
  let doc = copyOf(log, "notes/a", AA);
  const heads: string[][] = [];
  for (const n of [1, 2, 3, 4]) {
    if (n === 2) {
      await log.write(tx(write("notes/b", [lastChange(set(copyOf(log, "notes/b", AA), { n }))])));
    } else {
      doc = set(doc, { n });
      await log.write(tx(write("notes/a", [lastChange(doc)], { deleted: n === 4 })));
    }
    heads.push(A.getHeads(doc));
  }
  return { log, folder, heads };
}

describe("the log", () => {
  test("gives times that never fall, however the clock jumps", async () => {
    const { log } = await withFour([5000, 9000, 100, 9500]);
    expect(log.commits(1, 10).map(({ commit }) => commit.time)).toEqual([5000, 9000, 9000, 9500]);
    expect([0, 4999, 5000, 8999, 9000, 9499, 9500, 1e15].map((time) => log.seqAt(time))).toEqual([
      0, 0, 1, 1, 3, 3, 4, 4,
    ]);
    await log.close();
  });

  test("knows after a restart what time it was", async () => {
    const { log, folder } = await withFour([5000, 6000, 7000, 9_000_000_000_000]);
    await log.close();
    const again = openLog(folder, { world: { ...realWorld, now: () => 1 } });
    const doc = set(copyOf(again.log, "notes/c", AA), { n: 1 });
    expect((await again.log.write(tx(write("notes/c", [lastChange(doc)])))).time).toBe(9_000_000_000_000);
    await again.log.close();
  });

  test("knows where a document stood at each seq, from memory and from disk", async () => {
    const { log, folder, heads } = await withFour([1, 2, 3, 4]);
    const check = (held: typeof log): void => {
      const points = [0, 1, 2, 3, 4, 5].map((seq) => held.stateAt("notes/a", seq));
      expect(points).toEqual([
        undefined,
        { seq: 1, heads: heads[0], deleted: false },
        { seq: 1, heads: heads[0], deleted: false },
        { seq: 3, heads: heads[2], deleted: false },
        { seq: 4, heads: heads[3], deleted: true },
        { seq: 4, heads: heads[3], deleted: true },
      ]);
      expect(held.stateAt("notes/b", 1)).toBeUndefined();
      expect(held.stateAt("notes/none", 4)).toBeUndefined();
      expect(held.history("notes/a", 4, 10)).toEqual([4, 3, 1]);
      expect(held.history("notes/a", 3, 1)).toEqual([3]);
      expect(held.history("notes/none", 3, 1)).toEqual([]);
      expect(held.changes("notes/a", 1, 4)).toHaveLength(2);
      expect(held.changes("notes/none", 0, 4)).toEqual([]);
      expect(held.commits(2, 2).map(({ commit }) => commit.seq)).toEqual([2, 3]);
      expect(held.commit(5)).toBeUndefined();
      expect(held.touchedSince(3, 10)).toEqual(["notes/a"]);
      expect(held.touchedSince(2, 10).sort()).toEqual(["notes/a", "notes/b"]);
    };
    check(log);
    await log.close();
    const again = openLog(folder);
    check(again.log);
    await again.log.close();
  });

  test("reads its tail again when the catalog stayed behind, and all of it when there is none", async () => {
    const { log, folder, heads } = await withFour([1, 2, 3, 4]);
    // As a process leaves it that was stopped: everything is in the log, nothing in the catalog.
    const behind = openSqliteCatalog(folder);
    expect(behind.head()).toBe(0);
    behind.close();
    const other = new Log(openSqliteLog(folder, "notes", { readonly: true }), openSqliteCatalog(folder));
    expect(other.stateAt("notes/a", 3)?.heads).toEqual(heads[2]);
    expect(other.head()).toEqual(log.head());
    await log.close();
    dropSqliteCatalog(folder);
    const again = openLog(folder);
    expect(again.log.stateAt("notes/a", 3)?.heads).toEqual(heads[2]);
    expect(again.log.counts()).toEqual({ documents: 1, deleted: 1 });
    await again.log.close();
  });

  test("reads bundles and the single commits after them again when there is no catalog", async () => {
    const { log, folder, heads } = await withFour([1, 2, 3, 4]);
    await log.compact(packBundle, { upTo: 3 });
    const [head, state] = [log.head(), log.state("notes/a")];
    await log.close();
    dropSqliteCatalog(folder);
    const again = openLog(folder);
    expect(again.log.head()).toEqual(head);
    expect(again.log.state("notes/a")).toEqual({ ...state, id: expect.any(Number) });
    expect(again.log.stateAt("notes/a", 3)?.heads).toEqual(heads[2]);
    expect(again.log.history("notes/a", 4, 10)).toEqual([4, 3, 1]);
    expect(again.log.counts()).toEqual({ documents: 1, deleted: 1 });
    await again.log.close();
  });

  test("knows its receipts and addresses after a crash, when nothing of them was in the catalog", async () => {
    const { log, folder } = createLog(root);
    const change = lastChange(set(copyOf(log, "notes/a", AA), { n: 1 }));
    const receipt = await log.write(tx(write("notes/a", [change]), { clientTxId: "once" }));
    await log.close();
    dropSqliteCatalog(folder);
    const again = openLog(folder);
    expect(again.log.head()).toEqual({ seq: 1, cid: receipt.cid, time: receipt.time });
    expect(again.log.findCommit(receipt.cid)).toBe(1);
    expect(again.log.block(cidOf(CODEC_RAW, change))).toEqual(change);
    expect(again.log.seqOfChange("notes/a", readChange(change).hash)).toBe(1);
    // Also for another write: it is known by its id alone.
    const other = lastChange(set(copyOf(again.log, "notes/a", AA), { n: 2 }));
    const repeat = await again.log.write(tx(write("notes/a", [other]), { clientTxId: "once" }));
    expect(repeat).toMatchObject({ seq: 1, duplicate: true, commit: receipt.commit });
    await again.log.close();
  });

  test("finds a change that is in two documents in either", async () => {
    const { log, folder } = createLog(root);
    // Of no named document's genesis, so it fits into any.
    const shared = set(A.init<Record<string, unknown>>({ actor: AA }), { n: 0 });
    for (const name of ["notes/a", "notes/b", "notes/c"]) {
      await log.write(tx(write(name, [lastChange(shared)])));
      await log.write(tx(write(name, [lastChange(set(A.clone(shared, { actor: BB }), { name }))])));
    }
    const check = async (held: typeof log, actor: string): Promise<void> => {
      expect(held.block(cidOf(CODEC_RAW, lastChange(shared)))).toEqual(lastChange(shared));
      for (const [i, name] of ["notes/a", "notes/b", "notes/c"].entries()) {
        expect(held.seqOfChange(name, A.getHeads(shared)[0] as string)).toBe(2 * i + 1);
        // On an older point of this document, which the other two have as well.
        const late = lastChange(set(A.clone(shared, { actor }), { late: name }));
        expect((await held.write(tx(write(name, [late])))).duplicate).toBe(false);
      }
    };
    await check(log, "cc".repeat(16));
    await log.close();
    const again = openLog(folder);
    await check(again.log, "dd".repeat(16));
    await again.log.close();
  });

  test("knows an address by its first 52 bits, which a number holds", () => {
    expect(prefixOf("fffffffffffff0000")).toBe(2 ** 52 - 1);
    expect(prefixOf("0000000000001ffff")).toBe(1);
    expect(prefixOf("8000000000000abcd")).toBe(2 ** 51);
  });

  test.each<[string, (block: Uint8Array) => Uint8Array[]]>([
    ["is not what its commit names", (block) => [block.map((byte, i) => (i === 20 ? byte ^ 1 : byte))]],
    ["is missing", () => []],
  ])("refuses to show a block that %s", async (_, spoil) => {
    const { log, folder } = await withFour([1, 2, 3, 4]);
    await log.close();
    const storage = openSqliteLog(folder, "notes");
    const record = decodeRecord(storage.read(1) as Uint8Array, 1);
    const blocks = record.blocks.flatMap(spoil);
    await storage.replace(1, 1, encodeRecord({ ...record, blocks }));
    storage.close();
    const again = openLog(folder);
    const [address] = again.log.commit(1)?.commit.entries[0]?.changes ?? [];
    expect(await refusal(() => again.log.block(address as Uint8Array))).toEqual({
      code: "DB_DAMAGED",
      details: { seq: 1, block: cidToString(address as Uint8Array) },
    });
    expect(await refusal(() => again.log.changes("notes/a", 0, 4))).toMatchObject({ code: "DB_DAMAGED" });
    await again.log.close();
  });

  test.each([1, 2])("tells a catalog of another log of %i commits from its own", async (commits) => {
    const folders: string[] = [];
    for (const n of [1, 2]) {
      const { log, folder } = createLog(root);
      let doc = copyOf(log, "notes/a", AA);
      for (let i = 0; i < commits; i += 1)
        await log.write(tx(write("notes/a", [lastChange((doc = set(doc, { n, i })))])));
      await log.close();
      folders.push(folder);
    }
    const [one = "", two = ""] = folders;
    const crossed = () => new Log(openSqliteLog(one, "notes"), openSqliteCatalog(two));
    expect(await refusal(crossed)).toMatchObject({ code: "DB_DAMAGED", details: { known_seq: commits } });
  });

  test("tells a catalog of another log from its own: acknowledged commits are missing", async () => {
    const one = await withFour([1, 2, 3, 4]);
    const two = await withFour([5, 6, 7, 8]);
    await one.log.close();
    await two.log.close();
    const crossed = () => new Log(openSqliteLog(one.folder, "notes"), openSqliteCatalog(two.folder));
    expect(await refusal(crossed)).toMatchObject({
      code: "DB_DAMAGED",
      details: { log_seq: 4, known_seq: 4 },
    });
    const short = createLog(root);
    const ahead = () => new Log(short.storage, openSqliteCatalog(two.folder));
    expect(await refusal(ahead)).toMatchObject({ code: "DB_DAMAGED", details: { log_seq: 0, known_seq: 4 } });
    await short.log.close();
  });

  test("takes no more writes once it closes, and finishes those under way", async () => {
    const { log } = createLog(root);
    const change = lastChange(set(copyOf(log, "notes/a", AA), { n: 1 }));
    const under = log.write(tx(write("notes/a", [change])));
    const closed = log.close();
    expect(await refusal(log.write(tx(write("notes/a", [change]))))).toMatchObject({ code: "UNAVAILABLE" });
    expect((await under).seq).toBe(1);
    await closed;
  });
});
