import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { requires } from "../support/requires.ts";
import { tempDir } from "../support/temp-dir.ts";

const SCRIPT = fileURLToPath(new URL("../support/subscription-acks.mjs", import.meta.url));

/** Syncs of the subscriptions' write-ahead log that acknowledging makes. */
function syncs(count: number, atOnce: boolean): number {
  const dir = tempDir();
  const trace = path.join(dir, "trace");
  const options = JSON.stringify({ dir: path.join(dir, "data"), count, atOnce });
  const through = ["-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace, process.execPath, SCRIPT, options];
  expect(execFileSync("strace", through, { encoding: "utf8" })).toBe("done\n");
  return readFileSync(trace, "utf8")
    .split("\n")
    .filter((line) => /sync\(\d+<[^>]*\/subscriptions\.sqlite-wal>/.test(line)).length;
}

requires("strace")("every acknowledgement", () => {
  test("is synced before it is answered, and shares that with those of its turn", () => {
    expect(syncs(25, false) - syncs(25, true)).toBe(24);
  }, 60_000);
});
