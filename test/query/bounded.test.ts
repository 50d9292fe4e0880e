import fc from "fast-check";
import { isBounded } from "../../src/query/bounded.ts";
import type { Instruction } from "../../src/query/walls.ts";
import { tablesFile } from "./tables-file.ts";

let opened: ReturnType<typeof tablesFile> | undefined;
afterAll(() => opened?.sqlite.close());
const programOf = (sql: string): Instruction[] => {
  const { sqlite } = (opened ??= tablesFile(3));
  const parameters = sql.split("?").length - 1;
  return sqlite
    .prepare(`EXPLAIN ${sql}`)
    .raw()
    .all(...Array.from({ length: parameters }, () => null)) as unknown as Instruction[];
};

test.each([
  "SELECT * FROM tasks WHERE id = ?",
  "SELECT title, done FROM tasks WHERE id = 't1'",
  "SELECT value FROM documents WHERE collection = ? AND key = ?",
  "SELECT * FROM commits WHERE seq = ?",
  "SELECT * FROM tasks WHERE id = ? AND done = 1",
  "SELECT 1",
])("%s is bounded", (sql) => {
  expect(isBounded(programOf(sql))).toBe(true);
});

test.each([
  "SELECT * FROM tasks",
  "SELECT count(*) FROM tasks",
  "SELECT * FROM tasks WHERE done = 1",
  "SELECT * FROM tasks WHERE id > 't'",
  "SELECT * FROM tasks WHERE id IN ('t1', 't2')",
  "SELECT max(id) FROM tasks",
  "SELECT * FROM tasks ORDER BY price LIMIT 1",
  "SELECT hex(zeroblob(1000000000))",
  "SELECT upper(title) FROM tasks WHERE id = ?",
  "SELECT title || title FROM tasks WHERE id = ?",
  "SELECT * FROM tasks_fts WHERE tasks_fts MATCH 'x'",
  "SELECT * FROM json_each(?)",
  "SELECT * FROM tasks a, tasks b WHERE a.id = ?",
  "SELECT (SELECT count(*) FROM tasks) FROM tasks WHERE id = ?",
  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
  "SELECT * FROM documents WHERE collection = ?",
])("%s is not", (sql) => {
  expect(isBounded(programOf(sql))).toBe(false);
});

/** Of those in the programs below. */
const MAY_JUMP: ReadonlySet<string> = new Set(["SeekGE", "IdxGT", "Next"]);

/** Runs what decides where a program goes on, as SQLite would if every comparison fell as `choices` say. */
function stepsOf(program: readonly Instruction[], choices: () => boolean): number {
  let at = 0;
  for (let steps = 1; ; steps += 1) {
    const [, opcode, , p2] = program[at] as Instruction;
    if (opcode === "Halt" || steps > 10_000) return steps;
    if (opcode === "Init" || opcode === "Goto") at = p2 === 0 ? at + 1 : p2;
    else if (MAY_JUMP.has(opcode) && p2 > 0 && choices()) at = p2;
    else at += 1;
    if (at >= program.length) return steps;
  }
}

test("whatever is called bounded ends, however its comparisons fall", () => {
  const opcode = fc.constantFrom(
    "Goto",
    "SeekGE",
    "Column",
    "IdxGT",
    "ResultRow",
    "Next",
    "Halt",
    "Noop",
    "Transaction",
  );
  const body = fc.array(fc.tuple(opcode, fc.nat(14)), { minLength: 1, maxLength: 12 });
  let bounded = 0;
  fc.assert(
    fc.property(body, fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }), (instructions, falls) => {
      const setup = instructions.length + 1;
      const program: Instruction[] = [
        ["Init", setup] as const,
        ...instructions,
        ["Transaction", 0] as const,
        ["Goto", 1] as const,
      ].map(([name, p2], at) => [at, name, 0, p2, 0, null, 0, null]);
      if (!isBounded(program)) return;
      bounded += 1;
      let n = 0;
      expect(stepsOf(program, () => falls[n++ % falls.length] as boolean)).toBeLessThanOrEqual(
        program.length + 1,
      );
    }),
    { numRuns: 3000 },
  );
  expect(bounded).toBeGreaterThan(0);
});
