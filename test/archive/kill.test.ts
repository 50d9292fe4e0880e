import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import { readChange } from "../../src/log/change.ts";
import { plainChange } from "../support/plain-change.mjs";
import { seedOf, seeded } from "../support/fault-process.ts";
import { BIN, cleanEnv, runSkald } from "../support/skald-process.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { closeEngine, openEngine, wrongWith } from "../replication/fixture.ts";
import { historyOf } from "./fixture.ts";

/**
 * Commands that export and import are killed at any moment, on a plain directory: nothing is half there afterwards, and
 * the same command again finishes.
 */
jest.setTimeout(900_000);
const seed = seedOf();
const random = seeded(seed);
const CYCLES = Number(process.env["SKALD_TEST_KILLS"] ?? 1);
const COMMITS = 2000;
const dir = memoryDir();
const files = memoryDir();
const car = path.join(files, "shop.car");
const env = cleanEnv({});

const skald = (...args: string[]) => runSkald([...args, "--dir", dir, "--quiet"]);
const dbs = (): string[] => readdirSync(path.join(dir, "dbs"));

/** Runs a command and kills it after a while; gives how it ended. */
async function killed(args: string[], most: number): Promise<"killed" | "done"> {
  const child = spawn(process.execPath, [BIN, ...args, "--dir", dir, "--quiet"], { stdio: "ignore", env });
  const over = once(child, "exit") as Promise<[number | null]>;
  await Promise.race([over, new Promise((resolve) => setTimeout(resolve, 200 + random() * most))]);
  child.kill("SIGKILL");
  const [code] = await over;
  return code === null ? "killed" : "done";
}

test(`what is killed in an export or an import is done by the same again (seed ${seed})`, async () => {
  const engine = openEngine(dir);
  await engine.create("shop");
  await engine.use("shop", async (db) => {
    const docs = Array.from({ length: 30 }, (_, i) => ({ doc: `items/${i}`, deps: [] as string[], seq: 0 }));
    let due: Promise<unknown>[] = [];
    for (let n = 0; n < COMMITS; n += 1) {
      const one = docs[n % docs.length] as (typeof docs)[number];
      one.seq += 1;
      const actor = String(n % docs.length).padStart(32, "a");
      const bytes = plainChange({
        deps: one.deps,
        actor,
        seq: one.seq,
        startOp: one.seq,
        key: "k",
        pad: 300,
      });
      const change = readChange(bytes);
      one.deps = [change.hash];
      due.push(
        db.log.write({ author: "ann", clientTxId: "", writes: [{ doc: one.doc, changes: [change] }] }),
      );
      if (due.length === 500) {
        await Promise.all(due);
        due = [];
      }
    }
    await Promise.all(due);
  });
  const whole = await historyOf(engine, "shop");
  await closeEngine(engine);
  const tally: Record<string, number> = {};
  const count = (what: string): void => void (tally[what] = (tally[what] ?? 0) + 1);
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    rmSync(car, { force: true });
    count(`export ${await killed(["snapshot", "export", "shop", "-o", car], 600)}`);
    // The file has its name when it is whole, and not before.
    if (existsSync(car)) expect(readFileSync(car).equals(whole)).toBe(true);
    expect(await skald("snapshot", "export", "shop", "-o", car)).toMatchObject({ code: 0 });
    expect(readFileSync(car).equals(whole)).toBe(true);
    const name = `copy-${cycle}`;
    count(`import ${await killed(["snapshot", "import", name, car], 1500)}`);
    const { out } = await runSkald(["db", "list", "--json", "--dir", dir]);
    const listed = out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { db: string }).db);
    if (listed.includes(name)) {
      const { out: info } = await runSkald(["db", "info", name, "--json", "--dir", dir]);
      expect(JSON.parse(info)).toMatchObject({ seq: COMMITS });
    } else {
      // The next start took away what was half there.
      expect(dbs()).toHaveLength(listed.length);
      expect(await skald("snapshot", "import", name, car)).toMatchObject({ code: 0 });
    }
    expect(await skald("snapshot", "verify", car)).toMatchObject({ code: 0 });
  }
  const after = openEngine(dir);
  expect(await wrongWith(after, "copy-0")).toEqual([]);
  expect((await historyOf(after, `copy-${CYCLES - 1}`)).equals(whole)).toBe(true);
  expect(readdirSync(dir).filter((name) => name.startsWith("archive-"))).toEqual([]);
  if (process.env["SKALD_TEST_KILLS"])
    process.stderr.write(`${JSON.stringify({ seed, CYCLES, ...tally })}\n`);
});
