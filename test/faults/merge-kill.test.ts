import { spawn } from "node:child_process";
import { cpSync } from "node:fs";
import path from "node:path";
import { openDb } from "../../src/index.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { ACTORS, copyOf, lastChange, set, tx, write } from "../log/fixture.ts";
import { findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";

const SCRIPT = path.resolve(import.meta.dirname, "../support/merge-kill.mjs");
const KILLS = Number(process.env["SKALD_TEST_RUNS"] ?? 1);
const DOCS = 60;
/** Three commits of this size are more than one commit of a merge brings. */
const LARGE = 3_500_000;

/** A db with a branch whose merge takes two commits, with the one that closes it, and some conflicts. */
async function prepared(dir: string): Promise<number> {
  const held = await openDb(dir, "killed", { reserve: 0 });
  const { db } = held;
  const put = (value: (i: number) => object, branch?: string) =>
    db.tx({
      author: "ann",
      writes: Array.from({ length: DOCS }, (_, i) => ({
        doc: `d/${i}`,
        edit: { kind: "put" as const, value: JSON.stringify(value(i)) },
      })),
      ...(branch === undefined ? {} : { branch }),
    });
  await put((i) => ({ n: i }));
  await db.log.createBranch("draft", { author: "ann" });
  await put((i) => ({ n: i + 1 }));
  await put((i) => ({ n: -1 - i }), "draft");
  let large = copyOf(db.log, "d/large", ACTORS[0]);
  for (const key of ["a", "b", "c"]) {
    large = set(large, { [key]: new Uint8Array(LARGE) });
    await db.log.write(tx(write("d/large", [lastChange(large)]), { branch: "draft" }));
  }
  const { seq } = db.log.head();
  await held.close();
  return seq;
}

/** Starts the merge in a process of its own and kills it after so long; resolves with what it said. */
async function killed(dir: string, after: number): Promise<string> {
  const child = spawn(process.execPath, [SCRIPT, dir], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on("data", (part: Buffer) => {
    if (said === "") timer = setTimeout(() => child.kill("SIGKILL"), after);
    said += part.toString();
  });
  await new Promise((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  return said;
}

test(
  "a merge that was killed is there whole or not at all, and made again it is the same",
  async () => {
    const seed = seedOf();
    const random = seeded(seed);
    const first = tempDir();
    const before = await prepared(first);
    const tally = { whole: 0, none: 0 };
    let time = 600;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const dir = path.join(tempDir(), "db");
      cpSync(first, dir, { recursive: true });
      const said = await killed(dir, Math.floor(random() * time));
      if (!said.startsWith("ready"))
        throw new Error(`kill ${kill} of SKALD_TEST_SEED=${seed}: it said "${said}"`);
      const held = await openDb(dir, "killed", { create: false, reserve: 0 });
      const { db } = held;
      const there = db.log.head().seq;
      expect([before, before + 3]).toContain(there);
      expect(db.log.branch("draft")?.state).toBe(there === before ? "open" : "closed");
      // Acknowledged is durable.
      if (said.includes("merged")) expect(there).toBe(before + 3);
      // About as many are killed before it as after.
      time = there === before ? time * 1.5 : time / 1.5;
      tally[there === before ? "none" : "whole"] += 1;
      const again = await db.merge({
        author: "mia",
        from: "draft",
        into: "main",
        clientTxId: "one",
        close: true,
      });
      expect(again).toMatchObject({ duplicate: there !== before, seq: before + 2, documents: DOCS + 1 });
      expect(again.conflicts).toHaveLength(DOCS);
      expect(db.log.head().seq).toBe(before + 3);
      expect(findingsIn(db.storage)).toEqual([]);
      await held.close();
    }
    if (process.env["SKALD_TEST_RUNS"]) process.stderr.write(`${KILLS} kills: ${JSON.stringify(tally)}\n`);
  },
  60_000 + KILLS * 20_000,
);
