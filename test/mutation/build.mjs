// A copy of the project that plain node runs: sources and tests as JavaScript, everything else linked.
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
  "dist",
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
  return code.replace(/((?:from|import)\s*\(?\s*"\.[^"]*)\.ts"/g, '$1.js"');
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
      const to = path.join(dir, path.relative(ROOT, from));
      mkdirSync(path.dirname(to), { recursive: true });
      if (name.name.endsWith(".ts"))
        writeFileSync(`${to.slice(0, -3)}.js`, compiled(readFileSync(from, "utf8")));
      else copyFileSync(from, to);
    }
  }
  mkdirSync(path.join(dir, "tmp"));
  return dir;
}
