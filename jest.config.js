import { availableParallelism } from "node:os";
import { memoryFolder } from "./test/support/memory-folder.mjs";

// What is tested is what a disk was told and what it holds, not how long it takes to sync: that would be most of
// the time. `tmpdir()` of every test and child follows; SKALD_TEST_DISK=1 leaves them on the disk.
const memory = process.env.SKALD_TEST_DISK === "1" ? undefined : memoryFolder();
if (memory !== undefined) process.env.TMPDIR = memory;

export default {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  // With the seed of CI: a red run has to mean the change that it is about.
  moduleNameMapper: { "^fast-check$": "<rootDir>/test/support/fast-check.ts" },
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      {
        jsc: { target: "es2022", parser: { syntax: "typescript" } },
        module: { type: "es6" },
        sourceMaps: "inline",
      },
    ],
  },
  // Tests wait for timers and children now and then: three files for two cores keep both busy.
  maxWorkers: Math.ceil(1.5 * availableParallelism()),
  testSequencer: "<rootDir>/test/support/longest-first.mjs",
  testTimeout: 30_000,
};
