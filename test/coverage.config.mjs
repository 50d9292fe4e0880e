// Coverage of the log, of what stands on it and of what goes from it to others: `npm run test:coverage`. Only what runs in the process of
// the tests is counted, so not the code of worker threads and of servers, which tests start from `dist`.
import base from "../jest.config.js";

const tests = [
  "log",
  "db",
  "store",
  "documents",
  "subscriptions",
  "sync",
  "replication",
  "fuzz/decoders-changes",
  "fuzz/decoders-records",
  "rebuild",
];

export default {
  ...base,
  rootDir: "..",
  testMatch: tests.map(
    (name) =>
      `<rootDir>/test/${name}${name.includes("/") || name === "rebuild" ? ".test.ts" : "/**/*.test.ts"}`,
  ),
  collectCoverage: true,
  coverageProvider: "v8",
  collectCoverageFrom: [
    "src/{log,db,subscriptions,sync,replication}/**",
    // What a thread starts from, out of `dist`: no line of it runs here.
    "!src/db/bundle-worker.ts",
    // Types alone: there is no line of it to run.
    "!src/db/checking.ts",
  ],
  coverageReporters: ["text"],
  coverageThreshold: { "src/log/": { branches: 95 }, "src/db/": { branches: 95 } },
};
