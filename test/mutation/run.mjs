// Runs test files in this process, one after the other, and ends with 1 at the first test that fails.
// Jest's own way of running costs seconds a file; its circus and its expect alone cost a tenth of one.
import { jestExpect } from "@jest/expect";
import * as circus from "jest-circus";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { addEventHandler, getState, resetState, run, setState, ...globals } = circus;
Object.assign(globalThis, { expect: jestExpect });
for (const name of ["describe", "test", "it", "beforeAll", "beforeEach", "afterAll", "afterEach"])
  globalThis[name] = globals[name];
// Of what Jest alone has, tests that are run here ask for more time and for nothing else.
globalThis.jest = { setTimeout: (testTimeout) => setState({ ...getState(), testTimeout }) };

function fail(why) {
  if (process.env.SKALD_MUTATION_SAYS) process.stderr.write(`${why}\n`);
  process.exit(1);
}

process.on("uncaughtException", (error) => fail(error?.stack));
process.on("unhandledRejection", (error) => fail(error?.stack));

for (const argument of process.argv.slice(2)) {
  const [file, names] = argument.split("#");
  resetState();
  setState({ ...getState(), testTimeout: 60_000, testNamePattern: names && new RegExp(names) });
  addEventHandler((event) => {
    if (event.name === "test_fn_failure" || event.name === "hook_failure")
      fail(`${file}: ${event.test?.name}: ${event.error?.stack ?? event.error}`);
  });
  await import(pathToFileURL(path.resolve(file)).href);
  const result = await run();
  const errors = [...result.unhandledErrors, ...result.testResults.flatMap((test) => test.errors)];
  if (errors.length > 0) fail(`${file}: ${errors[0]}`);
  if (process.env.SKALD_MUTATION_SAYS)
    process.stderr.write(
      `${file}: ${result.testResults.length} tests, ${Math.round(performance.now())} ms\n`,
    );
}
process.exit(0);
