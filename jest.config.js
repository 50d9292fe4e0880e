export default {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" }, sourceMaps: "inline" },
    ],
  },
  // Tests wait for timers and children now and then: three files at once keep two cores busy.
  maxWorkers: "150%",
  testSequencer: "<rootDir>/test/support/longest-first.mjs",
  testTimeout: 30_000,
};
