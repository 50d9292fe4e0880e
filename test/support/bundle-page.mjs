// Bundles a page of fixtures/examples: `node bundle-page.mjs <entry> <folder>`. A process of its own, because
// esbuild's library insists on the realm of the process, which a test has not.
import { build } from "esbuild";
import { cp, readFile } from "node:fs/promises";
import path from "node:path";
import { compile } from "svelte/compiler";

const [entry, outdir] = process.argv.slice(2);

const svelte = {
  name: "svelte",
  setup: (build) =>
    build.onLoad({ filter: /\.svelte$/ }, async ({ path: file }) => ({
      contents: compile(await readFile(file, "utf8"), { filename: file, generate: "client" }).js.code,
      loader: "js",
    })),
};

await build({
  entryPoints: [entry],
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "browser",
  conditions: ["svelte"],
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [svelte],
  logLevel: "error",
});
await cp(path.join(path.dirname(entry), "index.html"), path.join(outdir, "index.html"));
