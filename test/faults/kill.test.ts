import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { bundled } from "../support/bundled.ts";
import { derivedOf } from "../support/derived.ts";
import { seedOf, seeded, startWriter } from "../support/fault-process.ts";
import { Ledger, addressesIn, findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";

const CYCLES = Number(process.env["SKALD_TEST_CYCLES"] ?? 20);
const root = tempDir();

describe("a process that is killed while it writes", () => {
  test(
    `loses nothing it acknowledged, ${CYCLES} times over`,
    async () => {
      const dir = root;
      const seed = seedOf();
      const random = seeded(seed);
      const ledger = new Ledger();
      let early = 0;
      const script = bundled("fault-writer.mjs");
      const start = (cycle: number) =>
        startWriter(
          { dir, seed: seed + cycle, warm: true, commands: [{ do: "storm", writes: 8 }] },
          { script },
        );
      let following = start(0);
      for (let cycle = 0; cycle < CYCLES; cycle += 1) {
        const writer = following;
        following = start(cycle + 1);
        writer.go();
        const kind = random();
        // Some die while they open and recover, most under load at any moment, some after their last write.
        if (kind < 0.1 && cycle > 0) {
          early += 1;
          await new Promise((resolve) => setTimeout(resolve, random() * 80));
        } else if (kind < 0.9) {
          await writer.heard((line) => line.ready === true);
          const after = writer.said.length + Math.floor(random() * 64);
          await writer.heard(() => writer.said.length > after || writer.said.some((line) => line.through));
        } else {
          await writer.heard((line) => line.through === true);
        }
        await writer.kill();
        const bad = writer.said.filter((line) => line.failed ?? line.refused);
        if (bad.length > 0) throw new Error(`seed ${seed}, cycle ${cycle}: ${JSON.stringify(bad[0])}`);
        ledger.add(writer.said);
      }
      await following.kill();
      const folder = path.join(dir, "dbs", "faults");
      const addresses = addressesIn(folder, "faults");
      expect({ seed, lost: ledger.lost(addresses) }).toEqual({ seed, lost: [] });
      expect(ledger.size).toBeGreaterThan(CYCLES * 10);
      // What was written but not acknowledged may be there, and little of it: one group a cycle.
      expect(addresses.length - ledger.size).toBeLessThan(CYCLES * 9);
      expect(early).toBeGreaterThan(0);
      const storage = openSqliteLog(folder, "faults", { readonly: true });
      expect({ seed, findings: findingsIn(storage) }).toEqual({ seed, findings: [] });
      storage.close();

      const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
      await engine.use("faults", (db) => db.projection.catchUp());
      const lived = await derivedOf(engine, "faults");
      await engine.rebuild("faults");
      expect(await derivedOf(engine, "faults")).toEqual(lived);
      expect(lived.head).toBe(addresses.length);
      await engine.close();
    },
    Math.max(300_000, CYCLES * 3000),
  );
});
