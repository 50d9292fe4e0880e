import { isNow, leavesTimeOut } from "../../src/query/time-now.ts";

test.each([
  ["SELECT date()", true],
  ["SELECT unixepoch( /* now */ ) - t FROM a", true],
  ["SELECT strftime('%Y')", true],
  ['SELECT "datetime"()', true],
  ["SELECT date(t) FROM a", false],
  ["SELECT strftime('%Y', t) FROM a", false],
  ["SELECT strftime(max('%Y', '%m'))", true],
  ["SELECT 'date()' FROM a", false],
  ["SELECT date FROM a WHERE (x)", false],
])("%s leaves the time out: %s", (sql, leaves) => {
  expect(leavesTimeOut(sql)).toBe(leaves);
});

test("an argument is the time now as SQLite reads it", () => {
  expect(["now", " NOW\n", "Now"].every(isNow)).toBe(true);
  expect(["nowhere", 1, null, "2020-01-01"].some(isNow)).toBe(false);
});
