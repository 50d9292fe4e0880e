import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import { BackupFolder } from "../../src/backup/folder.ts";
import { verifyBackup } from "../../src/backup/verify.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { FailingDisk } from "../support/io-shim.ts";
import { addressesIn } from "../support/ledger.ts";
import { requires } from "../support/requires.ts";
import { BIN, cleanEnv, runSkald, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/**
 * `skald backup` and `skald restore` as processes: killed at any moment, on a disk that is full or fails. The
 * backups that were there stay whole, and the same command again finishes.
 */
jest.setTimeout(900_000);
const seed = seedOf();
const random = seeded(seed);
const CYCLES = Number(process.env["SKALD_TEST_CYCLES"] ?? 1);
const dir = tempDir();
const files = tempDir();
let server: SkaldServer;
let writes = 0;

/** Writes a document of some kilobytes; resolves when it is acknowledged. */
async function write(db: string, bytes = 8_000): Promise<{ seq: number; commit: string }> {
  writes += 1;
  const text = Array.from({ length: bytes / 8 }, () => Math.floor(random() * 2 ** 32).toString(36)).join("");
  const reply = await fetch(`${server.url}/api/v1/db/${db}/docs/items/${writes}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
    body: JSON.stringify({ text }),
  });
  return (await reply.json()) as { seq: number; commit: string };
}

beforeAll(async () => {
  server = await startServer(dir);
  for (const db of ["a", "b"]) {
    await fetch(`${server.url}/api/v1/db/${db}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${server.token}` },
    });
    for (let n = 0; n < 20; n += 1) await write(db);
  }
});

const backup = (target: string, env: Record<string, string> = {}) =>
  runSkald(["backup", target, "--dir", dir, "--quiet"], { env });

/** That every backup in a folder is whole; gives their number. */
async function whole(target: string): Promise<number> {
  if (!existsSync(path.join(target, "skald-backup"))) return 0;
  const { manifests, problems } = await verifyBackup(BackupFolder.open(target));
  expect({ seed, problems }).toEqual({ seed, problems: [] });
  return manifests;
}

/** Runs a command and kills it after so many milliseconds; gives whether it was over before. */
async function killed(args: readonly string[], ms: number): Promise<boolean> {
  const child = spawn(process.execPath, [BIN, ...args], { stdio: "ignore", env: cleanEnv() });
  const over = once(child, "exit");
  const done = await Promise.race([
    over.then(() => true),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), ms)),
  ]);
  child.kill("SIGKILL");
  await over;
  return done;
}

test(`a backup and a restore that are killed leave nothing half done (seed ${seed})`, async () => {
  const target = path.join(files, "killed");
  const begun = performance.now();
  expect(await backup(path.join(files, "first"))).toMatchObject({ code: 0 });
  const takes = performance.now() - begun;
  const tally = { killed: 0, over: 0 };
  let sound = 0;
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    await Promise.all([write("a"), write("b")]);
    const over = await killed(["backup", target, "--dir", dir, "--quiet"], takes * (0.3 + random() * 0.8));
    tally[over ? "over" : "killed"] += 1;
    const now = await whole(target);
    expect(now).toBeGreaterThanOrEqual(sound + (over ? 1 : 0));
    sound = now;
  }
  const last = await write("b");
  expect(await backup(target)).toMatchObject({ code: 0 });
  expect(await whole(target)).toBe(sound + 1);

  const into = path.join(files, "into");
  const started = performance.now();
  expect(await runSkald(["restore", target, "--into", path.join(files, "once"), "--quiet"])).toMatchObject({
    code: 0,
  });
  const restores = performance.now() - started;
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    const over = await killed(
      ["restore", target, "--into", into, "--quiet"],
      restores * (0.4 + random() * 0.7),
    );
    tally[over ? "over" : "killed"] += 1;
    if (existsSync(path.join(into, "service.sqlite"))) {
      // All of it is there, though the command may not have said so.
      expect(addressesIn(path.join(into, "dbs", "b"), "b").at(-1)).toBe(last.commit);
      rmSync(into, { recursive: true });
    } else if (existsSync(path.join(into, "restoring"))) {
      const refused = await runSkald(["serve", "--dir", into, "--port", "0"]);
      expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("RESTORE_UNFINISHED") });
    }
  }
  const done = await runSkald(["restore", target, "--into", into, "--quiet"]);
  if (done.code !== 0) expect(done.err).toContain("DIR_NOT_EMPTY");
  expect(readdirSync(into).sort()).toEqual(["dbs", "lock.sqlite", "service.sqlite"]);
  const { code, out } = await runSkald(["verify", "--all", "--log-only", "--dir", into]);
  expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining(last.commit) });
  if (process.env["SKALD_TEST_CYCLES"])
    process.stderr.write(`${JSON.stringify({ seed, CYCLES, ...tally })}\n`);
});

requires("cc")("a disk that fails", () => {
  test.each([
    ["write", "ENOSPC", "STORAGE_FULL"],
    ["fsync", "EIO", "STORAGE_FAILED"],
  ] as const)("under a backup, in a %s with %s, leaves what was there", async (call, error, code) => {
    const target = path.join(files, `failing-${call}-${error}`);
    expect(await backup(target)).toMatchObject({ code: 0 });
    for (let n = 0; n < 2; n += 1) await write("a");
    const before = await whole(target);
    const disk = new FailingDisk(files, { file: `${target}/`, call, error });
    disk.fail(Math.floor(random() * 3));
    const struck = await backup(target, disk.env);
    expect({ seed, ...struck }).toMatchObject({ seed, code: 1, err: expect.stringContaining(code) });
    expect(struck.err).toContain("backups that were there are whole");
    expect(await whole(target)).toBe(before);
    disk.heal();
    expect(await backup(target, disk.env)).toMatchObject({ code: 0 });
    expect(await whole(target)).toBe(before + 1);
  });
});

requires("mount")("a small disk", () => {
  const disk = path.join(files, "disk");
  const filler = path.join(disk, "filler");
  beforeAll(() => {
    mkdirSync(disk);
    const done = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "none", disk]);
    if (done.status !== 0) throw new Error(done.stderr.toString());
  });
  afterAll(() => {
    spawnSync("umount", ["-l", disk]);
  });

  function fill(spare: number): void {
    rmSync(filler, { force: true });
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - spare)));
  }

  test("that fills up under a backup or a restore keeps what was there, and takes the rest once there is room", async () => {
    const target = path.join(disk, "backup");
    expect(await backup(target)).toMatchObject({ code: 0 });
    for (let n = 0; n < 4; n += 1) await write("b", 40_000);
    fill(60_000);
    expect(await backup(target)).toMatchObject({ code: 1, err: expect.stringContaining("STORAGE_FULL") });
    rmSync(filler);
    expect(await whole(target)).toBe(1);
    expect(await backup(target)).toMatchObject({ code: 0 });
    expect(await whole(target)).toBe(2);
    const into = path.join(disk, "data");
    fill(200_000);
    const full = await runSkald(["restore", target, "--into", into, "--quiet"], {
      env: { SKALD_RESERVE_MB: "0" },
    });
    expect(full).toMatchObject({ code: 1, err: expect.stringContaining("STORAGE_FULL") });
    expect(readdirSync(into).filter((name) => name !== "lock.sqlite")).toEqual([]);
  });
});
