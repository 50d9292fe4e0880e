import { SkaldError, isSkaldError } from "../errors.ts";

/** What helps who wrote a statement, by what refused it: its code and how its detail begins. */
const HINTS: readonly (readonly [code: string, detail: RegExp, hint: string])[] = [
  [
    "SQL_ERROR",
    /^no such table: /,
    "GET …/query/schema names the tables there are. CREATE TABLE makes one of a collection; without it, its documents are rows of `documents`. At a point of the past there are the tables of then.",
  ],
  [
    "SQL_ERROR",
    /^no such column: ["']/,
    "A text stands in single quotes, or is an argument; double quotes are for names.",
  ],
  [
    "SQL_ERROR",
    /^(?:no such column: |table .* has no column named )/,
    "GET …/query/schema names the columns there are. Fields without a column are in `documents.value`; ALTER TABLE … ADD COLUMN gives them one.",
  ],
  [
    "SQL_ERROR",
    /parameter/,
    "`args` is a list for ? and ?1, or an object for :name, with exactly what the statement has.",
  ],
  ["SQL_ERROR", /^no such function: /, "specs/25-query.md says which functions there are."],
  [
    "SQL_NOT_ALLOWED",
    /^The statement reads a table /,
    "GET …/query/schema names the tables there are, as PRAGMA table_list does.",
  ],
  [
    "SQL_NOT_ALLOWED",
    /^(?:BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE) /,
    "Every statement is a commit; POST …/query/batch runs several as one.",
  ],
  [
    "SQL_NOT_ALLOWED",
    /more than one statement/,
    "Send one at a time; POST …/query/batch runs several as one commit.",
  ],
];

/** The same refusal, with a hint for this case in the place of the code's own. */
export function withHint(error: unknown): unknown {
  if (!isSkaldError(error)) return error;
  const { code, message, details } = error;
  const { limit } = details as { limit?: unknown };
  const hint =
    code === "QUERY_LIMIT" && (limit === "rows" || limit === "bytes")
      ? "Add a LIMIT, or take the rows as text/csv or application/x-ndjson, which are streamed and may be many more."
      : HINTS.find(([of, detail]) => of === code && detail.test(message))?.[2];
  return hint === undefined ? error : new SkaldError(code, message, { hint, details, cause: error });
}
