/**
 * Given to a server by `--import`: replaces pieces of the compiled program while it is loaded, so that a test can
 * see its checks fail on a build that lacks one. SKALD_TEST_PATCHES names a JSON file with a list of {find, replace},
 * `find` a regular expression; every hit is noted in SKALD_TEST_PATCHED. What is put in may ask `skaldBroken(name)`:
 * whether the file of SKALD_TEST_BROKEN has that line now.
 */
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { isMainThread } from "node:worker_threads";

const env = process.env;

globalThis.skaldBroken = (name) => readFileSync(env.SKALD_TEST_BROKEN, "utf8").split("\n").includes(name);

// Not in the threads and processes that the server starts: they are given the same variables.
if (isMainThread && /\bskald$/.test(process.argv[1] ?? "")) {
  const patches = JSON.parse(readFileSync(env.SKALD_TEST_PATCHES, "utf8"));
  register("./patched-build-hooks.mjs", import.meta.url, {
    data: { patches, noted: env.SKALD_TEST_PATCHED },
  });
}
