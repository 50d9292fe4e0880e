import { checkDb, finished } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Commits written before and during the check; more with SKALD_TEST_LIVE. */
const COMMITS = Number(process.env["SKALD_TEST_LIVE"] ?? 300);
const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());

const put = (db: Db, doc: string, n: number) =>
  db.tx({
    author: "ann",
    clientTxId: `tx-${n}`,
    writes: [{ doc, edit: n % 11 === 10 ? { kind: "clear" } : { kind: "put", value: `{"n":${n}}` } }],
  });

describe("a check", () => {
  test("of a db that is written, compacted and tidied meanwhile finds nothing", async () => {
    const seed = seedOf();
    const random = seeded(seed);
    await engine.create("live");
    await engine.use("live", async (db) => {
      const doc = (): string => `c/${Math.floor(random() ** 2 * COMMITS)}`;
      for (let n = 0; n < COMMITS; n += 10) {
        await Promise.all(Array.from({ length: 10 }, (_, i) => put(db, doc(), n + i)));
      }
      await db.compact({ upTo: COMMITS / 2 });
      const start = db.log.head().seq;
      let n = COMMITS;
      let writing = true;
      const writer = (async () => {
        while (writing) {
          await put(db, doc(), n++);
          if (n % 50 === 0) db.log.tidy();
          if (n % 200 === 0) await db.compact({ upTo: db.log.head().seq - 20 });
        }
      })();
      const cpu = process.cpuUsage();
      const found = await finished(checkDb(db, { random, sample: 8 }));
      const { user, system } = process.cpuUsage(cpu);
      writing = false;
      await writer;
      expect({ seed, findings: found.findings }).toEqual({ seed, findings: [] });
      expect(db.log.head().seq).toBeGreaterThan(start);
      expect(findingsIn(db.storage)).toEqual([]);
      if (process.env["SKALD_TEST_LIVE"])
        process.stderr.write(
          `${start} commits, ${n - COMMITS} meanwhile, ${(user + system) / 1e6} s of CPU\n`,
        );
    });
  }, 120_000);

  test("does little at a time, and can be left", async () => {
    await engine.use("live", async (db) => {
      const stages = new Set<string>();
      const check = checkDb(db);
      for await (const { stage } of check) {
        stages.add(stage);
        if (stage === "catalog") break;
      }
      expect([...stages]).toEqual(["log", "feed", "catalog"]);
      expect(await check.next()).toEqual({ done: true, value: undefined });
    });
  });
});
