import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { memoryFolder } from "./memory-folder.mjs";

const dirs: string[] = [];

afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});

/** A fresh directory, removed after the tests of the file that asked for it. */
export function tempDir(base = tmpdir()): string {
  const dir = realpathSync(mkdtempSync(path.join(base, "skald-")));
  dirs.push(dir);
  return dir;
}

/** The same in memory where the machine has such a place: for tests that need no disk, only many files. */
export function memoryDir(): string {
  return tempDir(memoryFolder() ?? tmpdir());
}
