// What `npm run build` does after tsc: each program's own modules and those of its packages become a few files, in the
// place of the program's first one. Node finds, reads and links 950 files otherwise, which is half the processor
// time of a short command: specs/decisions/0011-programs-are-bundled.md has the figures. The modules themselves stay beside, for whoever imports the library.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";

const root = path.resolve(import.meta.dirname, "..");
const dist = path.join(root, "dist");
/** The programs: the command and what it starts as threads and processes. */
const PROGRAMS = ["cli/main", "documents/worker", "db/bundle-worker", "tables/worker", "query/process"];
/**
 * They have binaries beside their code, or nobody but `serve --dev` loads them, or they call what Node warns of
 * anywhere but in node_modules.
 */
const OUTSIDE = ["better-sqlite3", "@automerge/automerge", "oidc-provider", "passport-openidconnect"];

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: PROGRAMS.map((name) => ({ in: path.join(dist, `${name}.js`), out: name })),
  outdir: dist,
  // As deep as the programs: what is found from `import.meta.url` is found from there too.
  chunkNames: "run/[name]-[hash]",
  allowOverwrite: true,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  external: OUTSIDE,
  sourcemap: true,
  // Packages of the older kind ask for Node's own modules by `require`.
  banner: {
    js: 'import{createRequire as fromHere}from"node:module";const require=fromHere(import.meta.url);',
  },
  metafile: true,
  logLevel: "warning",
});
writeFileSync(path.join(dist, "run", "LICENSES.txt"), licences(Object.keys(metafile.inputs)));

/** Of the packages whose code is in the files now. */
function licences(inputs) {
  const folders = new Set(
    inputs.flatMap((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? []),
  );
  const texts = [...folders].sort().map((folder) => {
    const about = JSON.parse(readFileSync(path.join(root, folder, "package.json"), "utf8"));
    const file = readdirSync(path.join(root, folder)).find((name) => /^licen[cs]e/i.test(name));
    const text = file
      ? readFileSync(path.join(root, folder, file), "utf8").trim()
      : `Licence: ${about.license}`;
    return `${about.name} ${about.version}\n\n${text}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
