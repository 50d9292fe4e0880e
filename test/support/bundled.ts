import { buildSync } from "esbuild";
import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/**
 * A script of this folder with all that it imports in one file: a process has started with it in half the CPU
 * time, which counts where hundreds start. Gone after the tests of the file that asked for it.
 */
export function bundled(name: string): string {
  mkdirSync(DIST, { recursive: true });
  // One folder deep like the modules that look for threads and migrations from where they are.
  const folder = mkdtempSync(path.join(DIST, "bundled-"));
  folders.push(folder);
  const outfile = path.join(folder, name);
  buildSync({
    entryPoints: [fileURLToPath(new URL(name, import.meta.url))],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["better-sqlite3"],
    // Some dependencies are CommonJS and ask for what Node has.
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
  });
  return outfile;
}
