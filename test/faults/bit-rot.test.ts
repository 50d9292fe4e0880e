import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { seedOf, seeded, startWriter } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 300);

/** A closed log of 200 commits by one to eight documents. */
async function aLog(): Promise<string> {
  const dir = path.join(root, "data");
  const writes = Array.from({ length: 20 }, (_, i) => ({
    do: "write",
    count: 10,
    doc: `notes/${i % 8}`,
    pad: i % 3 === 0 ? 700 : 0,
  }));
  const writer = startWriter({ dir, seed: 1, commands: [...writes, { do: "close" }] });
  await writer.ended;
  return path.join(dir, "dbs", "faults");
}

const everything = (storage: LogStorage): string =>
  JSON.stringify([
    storage.identity,
    storage.last(),
    storage.page(1, 1000).map(({ seq, body }) => [seq, Buffer.from(body).toString("hex")]),
  ]);

describe("a bit that flipped in a log on disk", () => {
  test("is found by verify, stops the db from opening, or changes nothing that is read", async () => {
    const folder = await aLog();
    const sound = readFileSync(path.join(folder, "log.sqlite"));
    const damaged = path.join(root, "damaged");
    mkdirSync(damaged);
    cpSync(path.join(folder, "log.sqlite"), path.join(damaged, "log.sqlite"));
    const healthy = openSqliteLog(damaged, "faults");
    expect(healthy.last()).toBe(200);
    expect(findingsIn(healthy)).toEqual([]);
    const before = everything(healthy);
    healthy.close();

    const seed = seedOf();
    const random = seeded(seed);
    const tally = { refused: 0, found: 0, "without effect": 0 };
    const silent: string[] = [];
    for (let flip = 0; flip < FLIPS; flip += 1) {
      const bytes = Buffer.from(sound);
      const at = Math.floor(random() * bytes.length);
      const bit = Math.floor(random() * 8);
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      writeFileSync(path.join(damaged, "log.sqlite"), bytes);
      let storage: LogStorage | undefined;
      try {
        storage = openSqliteLog(damaged, "faults", { readonly: true });
      } catch (error) {
        expect((error as { code?: unknown }).code).toMatch(/^DB_(DAMAGED|FOREIGN|NEWER)$/);
        tally.refused += 1;
        continue;
      }
      try {
        if (findingsIn(storage).length > 0) tally.found += 1;
        else if (everything(storage) === before) tally["without effect"] += 1;
        else
          silent.push(
            `seed ${seed}, flip ${flip}: bit ${bit} of byte ${at} (page ${Math.floor(at / 4096) + 1})`,
          );
      } finally {
        storage.close();
      }
    }
    if (process.env["SKALD_TEST_FLIPS"]) process.stderr.write(`${JSON.stringify(tally)}\n`);
    expect(silent).toEqual([]);
    expect(tally.refused + tally.found + tally["without effect"]).toBe(FLIPS);
    // Most of a log is records; the rest is free space of pages.
    expect(tally.found).toBeGreaterThan(FLIPS / 2);
  });

  test("is named by the commit it hit", async () => {
    const folder = path.join(root, "data", "dbs", "faults");
    const bytes = readFileSync(path.join(folder, "log.sqlite"));
    const at = bytes.indexOf(Buffer.from("x".repeat(600))) + 300;
    bytes[at] = (bytes[at] as number) ^ 1;
    writeFileSync(path.join(root, "damaged", "log.sqlite"), bytes);
    const storage = openSqliteLog(path.join(root, "damaged"), "faults", { readonly: true });
    const [finding] = findingsIn(storage);
    expect(finding).toMatchObject({ what: "record", where: expect.stringMatching(/^commit \d+:/) });
    storage.close();
  });
});
