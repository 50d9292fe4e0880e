// A copy of the project that plain node runs: sources and tests as JavaScript, the sources in `dist` as well,
// which threads and child processes start from; everything else linked.
import { transformSync } from "@swc/core";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  copyFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../..");
const LINKED = [
  "node_modules",
  "fixtures",
  "migrations",
  "specs",
  "bin",
  "package.json",
  "README.md",
  "CHANGELOG.md",
  "tsconfig.json",
];

/** TypeScript to JavaScript; imports of `.ts` files become imports of `.js` files. */
export function compiled(source) {
  const { code } = transformSync(source, {
    jsc: { target: "es2022", parser: { syntax: "typescript" } },
    module: { type: "es6" },
  });
  return code
    .replace(/((?:from|import)\s*\(?\s*"\.[^"]*)\.ts"/g, '$1.js"')
    .replace('import { jest } from "@jest/globals";', "const { jest } = globalThis;");
}

/** Puts the JavaScript of a TypeScript file of the project into a copy, wherever it runs from. */
export function put(dir, file, code) {
  const script = `${file.slice(0, -3)}.js`;
  for (const to of file.startsWith("src/") ? [script, script.replace("src/", "dist/")] : [script]) {
    mkdirSync(path.dirname(path.join(dir, to)), { recursive: true });
    writeFileSync(path.join(dir, to), code);
  }
}

/** Makes the copy in a new folder and gives its path. */
export function sandbox() {
  // In memory where there is such a place: nothing here is about the disk, and most of a run would wait for it.
  const dir = mkdtempSync(path.join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "skald-mutation-"));
  for (const name of LINKED) symlinkSync(path.join(ROOT, name), path.join(dir, name));
  for (const folder of ["src", "test"]) {
    for (const name of readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      if (!name.isFile() || name.parentPath.includes("node_modules")) continue;
      const from = path.join(name.parentPath, name.name);
      const to = path.relative(ROOT, from);
      mkdirSync(path.dirname(path.join(dir, to)), { recursive: true });
      if (name.name.endsWith(".ts")) put(dir, to, compiled(readFileSync(from, "utf8")));
      else copyFileSync(from, path.join(dir, to));
    }
  }
  mkdirSync(path.join(dir, "tmp"));
  return dir;
}
