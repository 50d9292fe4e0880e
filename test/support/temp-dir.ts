import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const dirs: string[] = [];

afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});

/** A fresh directory, removed after the tests of the file that asked for it. */
export function tempDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "skald-"));
  dirs.push(dir);
  return dir;
}
