import fc from "../../node_modules/fast-check/lib/fast-check.js";
import { CI_SEED } from "./fault-process.ts";

// What `import … from "fast-check"` is in a test (jest.config.js): a property that is given no seed has the one of
// CI there, and the one that is asked for elsewhere. fast-check prints it with each failure.
const asked = process.env["SKALD_TEST_SEED"] ?? (process.env["CI"] === undefined ? undefined : CI_SEED);
if (asked !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(asked) });

export * from "../../node_modules/fast-check/lib/fast-check.js";
export default fc;
