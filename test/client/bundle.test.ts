import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { tempDir } from "../support/temp-dir.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** Bundles a compiled module for pages; gives the code, or what kept it from being bundled. */
function bundle(code: string): { readonly text: string; readonly stderr: string } {
  const dir = tempDir();
  const entry = path.join(dir, "entry.js");
  const out = path.join(dir, "out.js");
  writeFileSync(entry, code);
  const { stderr } = spawnSync(
    path.join(ROOT, "node_modules/.bin/esbuild"),
    [
      entry,
      "--bundle",
      "--minify",
      "--format=esm",
      "--platform=browser",
      "--log-level=error",
      "--external:@automerge/*",
      "--external:react",
      `--outfile=${out}`,
    ],
    { encoding: "utf8", cwd: ROOT },
  );
  return { text: stderr === "" ? readFileSync(out, "utf8") : "", stderr };
}

const exporting = (file: string): string => `export * from ${JSON.stringify(path.join(ROOT, "dist", file))};`;

test.each(["client/index.js", "client/react.js", "client/svelte.js"])("%s is for pages", (file) => {
  const { text, stderr } = bundle(exporting(file));
  expect(stderr).toBe("");
  expect(text).not.toMatch(/\bBuffer\b|"node:|process\.(?!env\.NODE_ENV)/);
});

test("what needs Node is seen", () => {
  expect(bundle(exporting("ids/hash.js")).stderr).toContain("node:crypto");
});

test("the whole client without Automerge is less than 26 KB on the wire", () => {
  expect(gzipSync(bundle(exporting("client/index.js")).text).length).toBeLessThan(26_000);
});
