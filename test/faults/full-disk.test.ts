import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startWriter } from "../support/fault-process.ts";
import { Ledger, addressesIn, findingsIn } from "../support/ledger.ts";
import { requires } from "../support/requires.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const disk = path.join(root, "disk");
const filler = path.join(disk, "filler");

/** Takes what is left of the disk but `spare` bytes. */
function fill(spare: number): void {
  rmSync(filler, { force: true });
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - spare)));
}

requires("mount")("a small disk", () => {
  beforeEach(() => {
    mkdirSync(disk, { recursive: true });
    const done = spawnSync("mount", ["-t", "tmpfs", "-o", "size=6m", "none", disk]);
    if (done.status !== 0) throw new Error(done.stderr.toString());
  });
  afterEach(() => {
    spawnSync("umount", ["-l", disk]);
  });

  test.each([
    ["to the last byte", 0, 0],
    ["but for a few pages", 0, 20_000],
    ["but for the reserve", 2_000_000, 1_900_000],
  ])("filled %s refuses writes, reads on, and recovers once there is room", async (_, reserve, spare) => {
    const ledger = new Ledger();
    const dir = path.join(disk, "data");
    const writer = startWriter({ dir, seed: 3, reserve, listen: true });
    await writer.heard((line) => line.ready === true);
    await writer.tell({ do: "write", count: 3 });
    fill(spare);
    const struck = await writer.tell({ do: "write", count: 10, pad: 60_000 });
    expect(struck.at(-1)).toMatchObject({ failed: "STORAGE_FULL" });
    expect(struck.every((line) => line.commit ?? line.failed === "STORAGE_FULL")).toBe(true);
    const before = 3 + struck.filter((line) => line.commit).length;
    expect(await writer.tell({ do: "read" })).toEqual([
      expect.objectContaining({ commits: before, seq: before, listed: 1 }),
    ]);
    rmSync(filler);
    expect(await writer.tell({ do: "write", count: 2 })).toEqual([
      expect.objectContaining({ seq: before + 1 }),
      expect.objectContaining({ seq: before + 2 }),
    ]);
    expect(await writer.tell({ do: "close" })).toEqual([{ closed: true, failures: [] }]);
    await writer.kill();
    ledger.add(writer.said);
    const folder = path.join(dir, "dbs", "faults");
    expect(ledger.lost(addressesIn(folder, "faults"))).toEqual([]);
    const storage = openSqliteLog(folder, "faults", { readonly: true });
    expect(findingsIn(storage)).toEqual([]);
    storage.close();
  });

  test("filled to the last byte has no room to open a db, which is no failure of the disk", () => {
    const folder = path.join(disk, "db");
    createSqliteLog(folder, "closed", { reserve: 0 }).close();
    fill(0);
    expect(() => openSqliteLog(folder, "closed", { reserve: 0 })).toThrow(
      expect.objectContaining({ code: "STORAGE_FULL" }),
    );
    rmSync(filler);
    const storage = openSqliteLog(folder, "closed", { reserve: 0 });
    expect(storage.last()).toBe(0);
    storage.close();
  });
});
