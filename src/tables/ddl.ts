import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkExpression } from "./ddl-expressions.ts";
import { schemaInvalid } from "./ddl-refusal.ts";
import { columnsIn, splitAtCommas, tableOptions, type DeclaredTable } from "./ddl-columns.ts";
import type { Column } from "./rows.ts";
import { is, isName, quoted, tokensOf, type Token } from "./tokens.ts";

/**
 * What a schema statement does. `sql` is what is run in the file of tables: the user's own words, with what makes the
 * order of a table's rows say nothing of the order in which they came.
 */
export type Ddl =
  | ({ readonly kind: "create-table" } & Made & DeclaredTable)
  | ({ readonly kind: "create-index"; readonly table: string; readonly unique: boolean } & Made)
  | ({ readonly kind: "create-view" } & Made)
  | CreateFts
  | { readonly kind: "add-column"; readonly table: string; readonly column: Column; readonly sql: string }
  | { readonly kind: "drop-column"; readonly table: string; readonly column: string; readonly sql: string }
  | {
      readonly kind: "drop";
      readonly what: "table" | "view" | "index";
      readonly name: string;
      readonly ifExists: boolean;
      readonly sql: string;
    };

interface Made {
  readonly name: string;
  readonly ifNotExists: boolean;
  readonly sql: string;
}

/** Full text over columns of a table: what is run depends on the table's key, see `ftsSql`. */
export interface CreateFts extends Made {
  readonly kind: "create-fts";
  readonly table: string;
  readonly columns: readonly string[];
  /** As they were written. */
  readonly options: readonly string[];
}

/** Tables that every file has. */
export const BUILT_IN: ReadonlySet<string> = new Set([
  "documents",
  "commits",
  "changes",
  "schema_violations",
]);

/**
 * What a statement of a schema does. Throws SQL_ERROR for what is no SQL, SCHEMA_INVALID with a hint for what a schema
 * cannot have. Whether it can be applied where other statements were is for SQLite to say.
 */
export function ddlOf(sql: string): Ddl {
  const { value: most } = LIMITS.schema.statementBytes;
  if (sql.length > most) throw schemaInvalid(`A schema statement has at most ${most} bytes.`);
  const tokens = tokensOf(sql);
  while (is(tokens.at(-1), ";")) tokens.pop();
  const parser = new DdlParser(sql, tokens);
  return parser.statement();
}

/** What makes a full-text table of which this is the table's key column. */
export function ftsSql({ name, columns, options }: CreateFts, key: string): string {
  const own = ftsColumns(key, columns);
  const parts = own.map((column) =>
    columns.includes(column) ? quoted(column) : `${quoted(column)} UNINDEXED`,
  );
  return `CREATE VIRTUAL TABLE ${quoted(name)} USING fts5(${[...parts, ...options].join(", ")})`;
}

/** The columns of a full-text table: the key first, unless it is among those that were asked for. */
export function ftsColumns(key: string, columns: readonly string[]): readonly string[] {
  return columns.some((column) => column.toLowerCase() === key.toLowerCase()) ? columns : [key, ...columns];
}

class DdlParser {
  readonly #sql: string;
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(sql: string, tokens: readonly Token[]) {
    this.#sql = sql;
    this.#tokens = tokens;
    const other = tokens.find((token) => is(token, ";"));
    if (other) throw schemaInvalid("A schema statement stands alone.", "Send one statement at a time.");
    const bound = tokens.find(({ kind }) => kind === "variable");
    if (bound) throw schemaInvalid("A schema statement has no parameters.", "Write the value itself.");
  }

  statement(): Ddl {
    if (this.#take("CREATE")) return this.#create();
    if (this.#take("DROP")) return this.#drop();
    if (this.#take("ALTER")) return this.#alter();
    throw schemaInvalid("It is no schema statement.", "A schema is made of CREATE, ALTER TABLE and DROP.");
  }

  #create(): Ddl {
    if (this.#take("TEMP") || this.#take("TEMPORARY"))
      throw schemaInvalid("A schema has nothing temporary.", "Leave TEMP out, or use WITH in the query.");
    if (this.#take("TABLE")) return this.#table();
    if (this.#take("VIEW")) return this.#view();
    if (this.#take("VIRTUAL")) return this.#virtual();
    if (this.#take("TRIGGER"))
      throw schemaInvalid(
        "There are no triggers.",
        "Write what the trigger would in one batch with the write.",
      );
    const unique = this.#take("UNIQUE");
    if (this.#take("INDEX")) return this.#index(unique);
    throw this.#unexpected();
  }

  #table(): Ddl {
    const ifNotExists = this.#ifNotExists();
    const name = this.#newName();
    if (is(this.#peek(), "AS"))
      throw schemaInvalid(
        "A table is the view of a collection, so it cannot be made of a query.",
        "Use CREATE VIEW, or create the table and INSERT INTO it.",
      );
    if (!is(this.#peek(), "(")) throw this.#unexpected();
    const body = this.#group();
    const table = columnsIn(body);
    const rest = this.#tokens.slice(this.#at);
    const options = tableOptions(rest);
    const sql = this.#text();
    const separator = rest.length > 0 ? ", " : " ";
    const whole = options.has("WITHOUT ROWID") ? sql : `${sql}${separator}WITHOUT ROWID`;
    return { kind: "create-table", name, ifNotExists, ...table, sql: whole };
  }

  #view(): Ddl {
    const ifNotExists = this.#ifNotExists();
    const name = this.#newName();
    for (const token of this.#tokens.slice(this.#at))
      if (isName(token) && token.kind !== "string" && INTERNAL.test(token.value))
        throw schemaInvalid(`A view cannot read ${token.value}.`);
    return { kind: "create-view", name, ifNotExists, sql: this.#text() };
  }

  #index(unique: boolean): Ddl {
    const ifNotExists = this.#ifNotExists();
    const name = this.#newName();
    if (!this.#take("ON")) throw this.#unexpected();
    const table = this.#oldName();
    if (!is(this.#peek(), "(")) throw this.#unexpected();
    const builtIn = BUILT_IN.has(table.toLowerCase());
    if (unique && builtIn)
      throw schemaInvalid(
        `${table} takes whatever there is.`,
        "Make a UNIQUE index on a collection's table.",
      );
    checkExpression(this.#group(), builtIn ? "total" : "row");
    if (this.#take("WHERE")) checkExpression(this.#tokens.slice(this.#at), builtIn ? "total" : "row");
    else if (this.#peek()) throw this.#unexpected();
    return { kind: "create-index", name, ifNotExists, table, unique, sql: this.#text() };
  }

  #virtual(): Ddl {
    if (!this.#take("TABLE")) throw this.#unexpected();
    const ifNotExists = this.#ifNotExists();
    const name = this.#newName();
    if (!this.#take("USING")) throw this.#unexpected();
    const module = this.#next();
    if (!is(module, "FTS5"))
      throw schemaInvalid(`There are no virtual tables of ${module.value}.`, "Full text is USING fts5(…).");
    if (!is(this.#peek(), "(")) throw this.#unexpected();
    const body = this.#group();
    if (this.#peek()) throw this.#unexpected();
    const columns: string[] = [];
    const options: string[] = [];
    let table: string | undefined;
    for (const part of splitAtCommas(body)) {
      const [first, sign, ...value] = part;
      if (!isName(first)) throw schemaInvalid("A column of a full-text table is a name.");
      if (!is(sign, "=")) {
        if (sign)
          throw schemaInvalid(`The column ${first.value} takes no options.`, "Name the column alone.");
        columns.push(first.value);
        continue;
      }
      const option = first.value.toLowerCase();
      if (option === "content") {
        const [content, ...more] = value;
        if (!isName(content) || more.length > 0) throw schemaInvalid("content= names a collection's table.");
        table = content.value;
      } else if (FTS_OPTIONS.has(option)) {
        const last = part.at(-1) as Token;
        options.push(this.#sql.slice(first.at, last.at + last.text.length));
      } else
        throw schemaInvalid(
          `A full-text table has no option ${first.value}.`,
          `It takes content, ${[...FTS_OPTIONS].join(", ")}.`,
        );
    }
    if (table === undefined || table === "")
      throw schemaInvalid(
        "A full-text table is over a collection's table.",
        "Name it: fts5(title, plot, content='movies').",
      );
    if (columns.length === 0) throw schemaInvalid("A full-text table has at least one column.");
    return { kind: "create-fts", name, ifNotExists, table, columns, options, sql: this.#text() };
  }

  #alter(): Ddl {
    if (!this.#take("TABLE")) throw this.#unexpected();
    const table = this.#oldName();
    if (BUILT_IN.has(table.toLowerCase()))
      throw schemaInvalid(`${table} is as it is.`, "Alter a table of your own.");
    if (this.#take("RENAME"))
      throw schemaInvalid(
        "Nothing is renamed: documents keep the names of their fields and collections.",
        "Make a view with the other names, or another table.",
      );
    if (this.#take("ADD")) {
      this.#take("COLUMN");
      const { columns } = columnsIn(this.#tokens.slice(this.#at), "column");
      return { kind: "add-column", table, column: columns[0] as Column, sql: this.#text() };
    }
    if (!this.#take("DROP")) throw this.#unexpected();
    this.#take("COLUMN");
    const column = this.#next();
    if (!isName(column) || this.#peek()) throw this.#unexpected();
    return { kind: "drop-column", table, column: column.value, sql: this.#text() };
  }

  #drop(): Ddl {
    const what = this.#next();
    const word = what.word.toLowerCase();
    if (word !== "table" && word !== "view" && word !== "index") throw this.#unexpected();
    const ifExists = this.#take("IF");
    if (ifExists && !this.#take("EXISTS")) throw this.#unexpected();
    const name = this.#oldName();
    if (this.#peek()) throw this.#unexpected();
    if (BUILT_IN.has(name.toLowerCase())) throw schemaInvalid(`${name} cannot be dropped.`);
    return { kind: "drop", what: word, name, ifExists, sql: this.#text() };
  }

  #ifNotExists(): boolean {
    if (!this.#take("IF")) return false;
    if (!this.#take("NOT") || !this.#take("EXISTS")) throw this.#unexpected();
    return true;
  }

  /** A name that nothing of ours has. */
  #newName(): string {
    const name = this.#oldName();
    if (BUILT_IN.has(name.toLowerCase()) || name === "")
      throw schemaInvalid(`The name ${quoted(name)} is taken.`, "Choose another name.");
    return name;
  }

  #oldName(): string {
    let token = this.#next();
    if (is(this.#peek(), ".")) {
      if (token.value.toLowerCase() !== "main") throw schemaInvalid("There is one schema, which is main.");
      this.#at += 1;
      token = this.#next();
    }
    if (!isName(token)) throw this.#unexpected();
    if (INTERNAL.test(token.value))
      throw schemaInvalid(`Names that start with ${token.value.split("_")[0]}_ are taken.`);
    return token.value;
  }

  /** What stands between the brackets that begin here. */
  #group(): readonly Token[] {
    const from = this.#at + 1;
    let depth = 0;
    for (; this.#at < this.#tokens.length; this.#at += 1) {
      if (is(this.#peek(), "(")) depth += 1;
      else if (is(this.#peek(), ")") && --depth === 0) {
        this.#at += 1;
        return this.#tokens.slice(from, this.#at - 1);
      }
    }
    throw this.#unexpected();
  }

  /** The statement without what stands after it. */
  #text(): string {
    const first = this.#tokens[0] as Token;
    const last = this.#tokens.at(-1) as Token;
    return this.#sql.slice(first.at, last.at + last.text.length);
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #take(word: string): boolean {
    const found = is(this.#peek(), word);
    if (found) this.#at += 1;
    return found;
  }

  #next(): Token {
    const token = this.#peek();
    if (!token) throw this.#unexpected();
    this.#at += 1;
    return token;
  }

  #unexpected(): SkaldError {
    const token = this.#peek();
    return new SkaldError(
      "SQL_ERROR",
      token ? `near "${token.text.slice(0, 40)}": syntax error` : "incomplete input",
      {
        details: { offset: token ? token.at : this.#sql.length },
      },
    );
  }
}

const INTERNAL = /^(?:sqlite|skald|pragma)_/i;
const FTS_OPTIONS: ReadonlySet<string> = new Set(["tokenize", "prefix", "detail", "columnsize"]);
