/** What `query/schema` answers. */
export interface SqlSchema {
  readonly tables: readonly {
    readonly name: string;
    readonly type: "table" | "view" | "virtual";
    readonly columns: readonly { readonly name: string; readonly type: string; readonly key: boolean }[];
    readonly indexes: readonly {
      readonly name: string;
      readonly unique: boolean;
      readonly columns: readonly (string | null)[];
    }[];
  }[];
}

/** A name as it can stand in a statement. */
export function quotedName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !RESERVED.has(name.toUpperCase())
    ? name
    : `"${name.replaceAll('"', '""')}"`;
}

/** Words that SQLite takes for itself where a name could stand. */
const RESERVED: ReadonlySet<string> = new Set(
  "ADD ALL ALTER AND AS BETWEEN CASE CAST CHECK COLLATE COMMIT CONSTRAINT CREATE CROSS DEFAULT DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FROM FULL GROUP HAVING IN INDEX INNER INSERT INTERSECT INTO IS JOIN LEFT LIMIT NATURAL NOT NULL ON OR ORDER OUTER PRIMARY REFERENCES RIGHT SELECT SET TABLE THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES WHEN WHERE WITH".split(
    " ",
  ),
);

/** A first statement over a table, to be run as it is. */
export function selectAll(table: SqlSchema["tables"][number]): string {
  const columns = table.columns.map(({ name }) => quotedName(name)).join(", ");
  return `SELECT ${columns || "*"}\nFROM ${quotedName(table.name)}\nLIMIT 100`;
}

/** A statement that has a name, as `query/statements` lists it. */
export interface SavedStatement {
  readonly name: string;
  readonly sql: string;
  readonly description: string | null;
  readonly parameters: readonly string[];
  readonly author: string;
  readonly time: string;
}
