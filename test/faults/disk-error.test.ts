import { existsSync } from "node:fs";
import path from "node:path";
import { startWriter } from "../support/fault-process.ts";
import { FailingDisk, type ShimOptions } from "../support/io-shim.ts";
import { Ledger, addressesIn, findingsIn } from "../support/ledger.ts";
import { requires } from "../support/requires.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
let count = 0;

/** A writer on a failing disk, with three commits acknowledged. */
async function begun(options: ShimOptions) {
  const dir = path.join(root, `run-${++count}`);
  const disk = new FailingDisk(root, options);
  const writer = startWriter({ dir, seed: count, listen: true }, { env: disk.env });
  await writer.heard((line) => line.ready === true);
  await writer.tell({ do: "write", count: 3 });
  const ledger = new Ledger();
  disk.seen();
  return {
    dir,
    disk,
    writer,
    ledger,
    /** Opens what is left and checks it: every acknowledged commit is there, and all of it is sound. */
    check: (): string[] => {
      ledger.add(writer.said);
      const folder = path.join(dir, "dbs", "faults");
      const addresses = addressesIn(folder, "faults");
      expect(ledger.lost(addresses)).toEqual([]);
      const storage = openSqliteLog(folder, "faults", { readonly: true });
      expect(findingsIn(storage)).toEqual([]);
      storage.close();
      return addresses;
    },
  };
}

requires("cc")("a disk that fails", () => {
  test.each([
    ["a sync", "fsync", 0],
    ["a write", "write", 0],
    ["a write in the middle of a commit", "write", 2],
  ] as const)("on %s stops the writer, and loses nothing it acknowledged", async (_, call, good) => {
    const { dir, disk, writer, check } = await begun({ file: "/log.sqlite-wal", call });
    disk.fail(good);
    const struck = await writer.tell({ do: "write", pad: 9000 });
    expect(struck).toEqual([expect.objectContaining({ failed: "STORAGE_FAILED" })]);
    // The disk is well again, but what is on it is unknown: nothing more is written or moved.
    disk.heal();
    disk.seen();
    const after = await writer.tell({ do: "write", count: 3 });
    expect(after.map(({ failed }) => failed)).toEqual(["STORAGE_FAILED", "STORAGE_FAILED", "STORAGE_FAILED"]);
    expect(await writer.tell({ do: "tidy" })).toEqual([{ failed: "STORAGE_FAILED" }]);
    expect(await writer.tell({ do: "read" })).toEqual([expect.objectContaining({ commits: 3, seq: 3 })]);
    void writer.tell({ do: "exit", code: 70 }).catch(() => {});
    expect((await writer.ended).code).toBe(70);
    expect(disk.seen().filter((line) => line.includes(" log.sqlite"))).toEqual([]);

    const next = startWriter({
      dir,
      seed: 1000 + count,
      commands: [{ do: "write", count: 2 }, { do: "close" }],
    });
    await next.ended;
    expect(next.said.at(-2)).toMatchObject({ closed: true });
    writer.said.push(...next.said);
    expect(check().length).toBeGreaterThanOrEqual(5);
  });

  test("while the log is tidied is not passed over", async () => {
    const { disk, writer, check } = await begun({ file: "/log.sqlite", call: "fsync" });
    disk.fail();
    expect(await writer.tell({ do: "tidy" })).toEqual([{ failed: "STORAGE_FAILED" }]);
    disk.heal();
    expect(await writer.tell({ do: "write" })).toEqual([
      expect.objectContaining({ failed: "STORAGE_FAILED" }),
    ]);
    await writer.kill();
    expect(check()).toHaveLength(3);
  });
});

requires("cc")("a disk that is full", () => {
  test("refuses writes, goes on reading, and takes writes again without a restart", async () => {
    const { disk, writer, check } = await begun({ file: ".sqlite", call: "write", error: "ENOSPC" });
    disk.fail();
    const full = await writer.tell({ do: "write", count: 2 });
    expect(full.map(({ failed }) => failed)).toEqual(["STORAGE_FULL", "STORAGE_FULL"]);
    expect(await writer.tell({ do: "read" })).toEqual([
      { counts: { documents: 1, deleted: 0 }, listed: 1, commits: 3, seq: 3 },
    ]);
    disk.heal();
    const again = await writer.tell({ do: "write", count: 2 });
    expect(again.map(({ seq }) => seq)).toEqual([4, 5]);
    expect(await writer.tell({ do: "close" })).toEqual([{ closed: true, failures: [] }]);
    await writer.kill();
    expect(check()).toHaveLength(5);
  });

  test("in the middle of a commit keeps nothing of it", async () => {
    const { disk, writer, check } = await begun({ file: "/log.sqlite-wal", call: "write", error: "ENOSPC" });
    disk.fail(3);
    expect(await writer.tell({ do: "write", pad: 60_000 })).toEqual([
      expect.objectContaining({ failed: "STORAGE_FULL" }),
    ]);
    disk.heal();
    expect(await writer.tell({ do: "write", pad: 60_000 })).toEqual([expect.objectContaining({ seq: 4 })]);
    await writer.kill();
    expect(check()).toHaveLength(4);
  });

  test("while the log is tidied keeps what it has in the write-ahead log", async () => {
    const { disk, writer, check } = await begun({ file: "/log.sqlite", call: "write", error: "ENOSPC" });
    disk.fail();
    expect(await writer.tell({ do: "tidy" })).toEqual([{ failed: "STORAGE_FULL" }]);
    disk.heal();
    expect(await writer.tell({ do: "write" })).toEqual([expect.objectContaining({ seq: 4 })]);
    expect(await writer.tell({ do: "tidy" })).toEqual([{ tidied: true }]);
    await writer.kill();
    expect(check()).toHaveLength(4);
  });

  test("when the emptying of the write-ahead log is synced leaves no note that the log was closed with it", async () => {
    const { dir, disk, writer, check } = await begun({
      file: "/log.sqlite-wal",
      call: "fsync",
      error: "ENOSPC",
    });
    // SQLite's own sync comes first, before it moves anything.
    disk.fail(1);
    expect(await writer.tell({ do: "tidy" })).toEqual([{ failed: "STORAGE_FULL" }]);
    expect(await writer.tell({ do: "close" })).toEqual([
      expect.objectContaining({ closed: false, code: "STORAGE_FULL" }),
    ]);
    await writer.kill();
    expect(existsSync(path.join(dir, "dbs", "faults", "log.sqlite.closed"))).toBe(false);
    expect(check()).toHaveLength(3);
  });

  test("while a start moves what a crash left is no reason not to read it, and not for ever", async () => {
    const { dir, disk, writer, ledger, check } = await begun({
      // Not the index of its write-ahead log, without which there is no opening it.
      file: "/log.sqlite$",
      call: "write",
      error: "ENOSPC",
    });
    await writer.kill();
    disk.fail();
    const next = startWriter({ dir, seed: count, create: false, listen: true }, { env: disk.env });
    await next.heard((line) => line.ready === true);
    expect(await next.tell({ do: "read" })).toEqual([expect.objectContaining({ commits: 3, seq: 3 })]);
    // Its write-ahead log has room, and takes commits as before.
    expect(await next.tell({ do: "write" })).toEqual([expect.objectContaining({ seq: 4 })]);
    expect(await next.tell({ do: "tidy" })).toEqual([{ failed: "STORAGE_FULL" }]);
    disk.heal();
    expect(await next.tell({ do: "tidy" })).toEqual([{ tidied: true }]);
    expect(await next.tell({ do: "write" })).toEqual([expect.objectContaining({ seq: 5 })]);
    await next.kill();
    ledger.add(next.said);
    expect(check()).toHaveLength(5);
  });

  test("but for the reserve refuses writes before the disk does", async () => {
    const dir = path.join(root, `run-${++count}`);
    const writer = startWriter({
      dir,
      reserve: Number.MAX_SAFE_INTEGER,
      commands: [{ do: "write" }, { do: "read" }],
    });
    await writer.ended;
    expect(writer.said.find((line) => line.failed)).toMatchObject({ failed: "STORAGE_FULL" });
    expect(writer.said.find((line) => line.counts)).toMatchObject({ seq: 0 });
  });
});
