import { SkaldError } from "../errors.ts";
import type { Sqlite } from "../store/sqlite.ts";
import { is, isName, quoted, type Token } from "../tables/tokens.ts";
import type { Cell } from "./rows-text.ts";

/** PRAGMAs that only tell of the schema: of a table, of an index, or of all. */
const PRAGMAS: Readonly<Record<string, "table" | "index" | "all">> = {
  table_info: "table",
  table_xinfo: "table",
  index_list: "table",
  foreign_key_list: "table",
  index_info: "index",
  index_xinfo: "index",
  table_list: "all",
};

/** A tables file as a statement sees it. */
export interface Seen {
  readonly sqlite: Sqlite;
  /** Names of tables and views. */
  readonly visible: ReadonlySet<string>;
}

/** A PRAGMA written anew from what it asks for, if that is visible. Throws SQL_NOT_ALLOWED, SQL_ERROR. */
export function pragmaOf(
  tokens: readonly Token[],
  tables: Seen,
): { text: string; sift?: (row: Cell[]) => Cell[] | undefined } {
  let at = 1;
  if (is(tokens[at + 1], ".")) {
    if (tokens[at]?.value.toLowerCase() !== "main") throw notAllowed(tokens[at]);
    at += 2;
  }
  const name = tokens[at]?.value.toLowerCase() ?? "";
  const about = Object.hasOwn(PRAGMAS, name) ? PRAGMAS[name] : undefined;
  if (about === undefined) throw notAllowed(tokens[at]);
  const rest = tokens.slice(at + 1);
  const subject = subjectOf(rest);
  if (about === "all") {
    if (rest.length > 0) throw new SkaldError("SQL_ERROR", `PRAGMA ${name} takes nothing here.`);
    // Columns: schema, name, type, …
    return {
      text: "PRAGMA main.table_list",
      sift: (row) => (tables.visible.has(String(row[1])) ? row : undefined),
    };
  }
  if (subject === undefined) throw new SkaldError("SQL_ERROR", `PRAGMA ${name} takes a name in parentheses.`);
  // Of a name that nobody has, SQLite tells nothing.
  return { text: `PRAGMA main.${name}(${quoted(isVisible(tables, about, subject) ? subject : "")})` };
}

function subjectOf(rest: readonly Token[]): string | undefined {
  const [first, second, third] = rest;
  if (is(first, "(") && isName(second) && is(third, ")") && rest.length === 3) return second.value;
  if (is(first, "=") && isName(second) && rest.length === 2) return second.value;
  return undefined;
}

/** SQLite finds names without regard to the case of ASCII letters. */
function isVisible(tables: Seen, about: "table" | "index", name: string): boolean {
  const wanted = lower(name);
  const table =
    about === "table"
      ? wanted
      : (tables.sqlite
          .prepare("SELECT lower(tbl_name) FROM sqlite_schema WHERE type = 'index' AND lower(name) = ?")
          .pluck()
          .get(wanted) as string | undefined);
  return [...tables.visible].some((visible) => lower(visible) === table);
}

const lower = (name: string): string => name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

function notAllowed(token: Token | undefined): SkaldError {
  return new SkaldError(
    "SQL_NOT_ALLOWED",
    `PRAGMA ${token?.value ?? ""} is not for statements from outside.`,
    {
      details: { offset: token?.at ?? 0 },
    },
  );
}
