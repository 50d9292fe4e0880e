import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { quotedName, type SqlSchema } from "./sql-schema.ts";

type Table = SqlSchema["tables"][number];

const KEYWORDS =
  "SELECT DISTINCT FROM WHERE GROUP BY HAVING ORDER BY LIMIT OFFSET AS ON USING JOIN LEFT JOIN INNER JOIN CROSS JOIN UNION UNION ALL EXCEPT INTERSECT WITH RECURSIVE VALUES INSERT INTO UPDATE SET DELETE FROM RETURNING CREATE TABLE CREATE INDEX CREATE VIEW ALTER TABLE DROP TABLE PRIMARY KEY NOT NULL DEFAULT CHECK UNIQUE AND OR NOT IN IS NULL LIKE GLOB MATCH BETWEEN EXISTS CASE WHEN THEN ELSE END CAST COLLATE ASC DESC EXPLAIN QUERY PLAN OVER PARTITION BY FILTER"
    .split(" ")
    .filter((word, i, all) => all.indexOf(word) === i);

/** Functions that a statement may use and that people look for; the server has more. */
const FUNCTIONS =
  "abs avg ceil char coalesce count date datetime floor format group_concat hex ifnull iif instr json json_array json_array_length json_each json_extract json_group_array json_group_object json_object json_set json_tree json_type length lower ltrim max min nullif printf quote rank replace round row_number rtrim sign strftime substr sum time total trim typeof unicode upper".split(
    " ",
  );

const MENTION =
  /\b(?:from|join|into|update|table)\s+("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_]*)(?:\s+(?:as\s+)?("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_]*))?/giu;

const plain = (name: string): string =>
  name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;

/** Tables that the statement speaks of, by the names that it knows them by. */
export function tablesIn(sql: string, schema: SqlSchema): Map<string, Table> {
  const known = new Map(schema.tables.map((table) => [table.name.toLowerCase(), table]));
  const found = new Map<string, Table>();
  for (const [, name = "", alias] of sql.matchAll(MENTION)) {
    const table = known.get(plain(name).toLowerCase());
    if (!table) continue;
    found.set(table.name.toLowerCase(), table);
    if (alias !== undefined && !NO_ALIAS.has(alias.toUpperCase()))
      found.set(plain(alias).toLowerCase(), table);
  }
  return found;
}

const NO_ALIAS: ReadonlySet<string> = new Set(
  "WHERE ON USING JOIN LEFT INNER CROSS NATURAL GROUP ORDER HAVING LIMIT UNION EXCEPT INTERSECT SET VALUES SELECT DEFAULT RETURNING".split(
    " ",
  ),
);

/** What can stand at a place: behind a table's name and a point its columns, else columns, tables, functions, words. */
export function completionsAt(sql: string, before: string, schema: SqlSchema): Completion[] {
  const tables = tablesIn(sql, schema);
  const owner = /("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_]*)\.\s*[\p{L}\p{N}_]*$/u.exec(before)?.[1];
  if (owner !== undefined) {
    const name = plain(owner).toLowerCase();
    const table = tables.get(name) ?? schema.tables.find((one) => one.name.toLowerCase() === name);
    return table ? columnsOf(table, 0) : [];
  }
  const wantsTable = /\b(?:from|join|into|update|table)\s+[\p{L}\p{N}_]*$/iu.test(before);
  const columns = wantsTable ? [] : [...new Set(tables.values())].flatMap((table) => columnsOf(table, 2));
  const seen = new Set<string>();
  return [
    ...columns.filter(({ label }) => !seen.has(label) && seen.add(label)),
    ...schema.tables.map(({ name, type }): Completion => ({
      label: name,
      type: "type",
      detail: type,
      boost: wantsTable ? 3 : 1,
      ...applied(name),
    })),
    ...(wantsTable
      ? []
      : FUNCTIONS.map((name): Completion => ({ label: name, type: "function", apply: `${name}(` }))),
    ...KEYWORDS.map((word): Completion => ({ label: word, type: "keyword", boost: -1 })),
  ];
}

function columnsOf(table: Table, boost: number): Completion[] {
  return table.columns.map(({ name, type, key }) => ({
    label: name,
    type: "property",
    detail: [type.toLowerCase(), key ? "key" : ""].filter((word) => word !== "").join(" "),
    boost,
    ...applied(name),
  }));
}

function applied(name: string): { apply?: string } {
  const quoted = quotedName(name);
  return quoted === name ? {} : { apply: quoted };
}

/** For the editor; `schema` gives the one that is known by then. */
export function sqlCompletion(schema: () => SqlSchema | undefined) {
  return (context: CompletionContext): CompletionResult | null => {
    const known = schema();
    const word = context.matchBefore(/[\p{L}_][\p{L}\p{N}_]*$/u);
    const behindPoint = context.matchBefore(/\.$/);
    if (!known || (!word && !behindPoint && !context.explicit)) return null;
    const sql = context.state.doc.toString();
    const before = sql.slice(0, context.pos);
    // Within a text or a comment there is nothing to complete.
    if (/'(?:[^']|'')*$/.test(before.replaceAll(/'(?:[^']|'')*'/g, "")) || /--[^\n]*$/.test(before))
      return null;
    const options = completionsAt(sql, before, known);
    return options.length === 0
      ? null
      : { from: word ? word.from : context.pos, options, validFor: /^[\p{L}\p{N}_]*$/u };
  };
}
