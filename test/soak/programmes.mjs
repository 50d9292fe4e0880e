import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(fileURLToPath(new URL("../..", import.meta.url)));

/** The other hunts, with figures for hours instead of minutes: the tests of CI with their variables raised. */
export const PROGRAMMES = {
  "power-cut": { tests: ["test/faults/power-cut"], env: { SKALD_TEST_STATES: "1000000" } },
  "nth-call": { tests: ["test/faults/nth-call"], env: { SKALD_TEST_FAULTS: "5000", SKALD_TEST_DISK: "1" } },
  "sign-in": {
    tests: ["test/http/sign-in-hostile", "test/http/sign-in-canaries"],
    env: { SKALD_TEST_HOSTILE: "all" },
  },
  rot: { tests: ["test/faults/rot"], env: { SKALD_TEST_FLIPS: "20000" } },
  // Draws by itself where it begins: a seed asks it for that one alone.
  simulation: { tests: ["test/simulation"], env: { SKALD_TEST_SEEDS: "10000" }, draws: true },
  fuzz: { tests: ["test/fuzz", "test/log/guard-fuzz"], env: { SKALD_TEST_FUZZ: "200" } },
  models: {
    tests: ["test/log/model", "test/db/model", "test/db/json-cache"],
    env: { SKALD_TEST_RUNS: "20000" },
  },
  kill: { tests: ["test/faults/kill"], env: { SKALD_TEST_CYCLES: "5000", SKALD_TEST_DISK: "1" } },
};

export function listProgrammes() {
  return Object.entries(PROGRAMMES)
    .map(
      ([name, { tests, env }]) =>
        `${name.padEnd(12)} ${tests.join(", ")} with ${Object.entries(env)
          .map((pair) => pair.join("="))
          .join(" ")}`,
    )
    .join("\n");
}

/**
 * What a hunt runs with: what the environment sets already is left as it is, and a seed that nobody gave is drawn,
 * also in CI, whose one seed has been looked at.
 */
export function environmentOf(name, seed, own = process.env) {
  const { env, draws = false } = PROGRAMMES[name];
  const drawn = seed ?? own.SKALD_TEST_SEED ?? (draws ? undefined : Math.floor(Math.random() * 2 ** 31));
  return { ...env, ...own, ...(drawn === undefined ? {} : { SKALD_TEST_SEED: String(drawn) }) };
}

/** Runs one; what the environment sets already is left as it is. Gives whether it passed, undefined when it is not there. */
export function runProgramme(name, { seed, signal }) {
  const { tests } = PROGRAMMES[name];
  const env = environmentOf(name, seed);
  process.stderr.write(`${name}: SKALD_TEST_SEED=${env.SKALD_TEST_SEED ?? "drawn and told by itself"}\n`);
  const there = tests.filter(
    (each) => existsSync(path.join(ROOT, each)) || existsSync(path.join(ROOT, `${each}.test.ts`)),
  );
  if (there.length === 0) return Promise.resolve(undefined);
  const child = spawn(
    process.execPath,
    [
      "--experimental-vm-modules",
      "--no-warnings",
      path.join(ROOT, "node_modules/jest/bin/jest.js"),
      "--rootDir",
      ROOT,
      "--testTimeout",
      String(24 * 3600 * 1000),
      ...there,
    ],
    {
      cwd: ROOT,
      stdio: "inherit",
      env,
    },
  );
  const end = () => child.kill("SIGINT");
  signal.addEventListener("abort", end, { once: true });
  return new Promise((resolve) =>
    child.once("exit", (code) => {
      signal.removeEventListener("abort", end);
      resolve(code === 0);
    }),
  );
}
