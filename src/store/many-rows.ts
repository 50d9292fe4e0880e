import type { Sqlite, Statement } from "./sqlite.ts";

type Cell = string | number | Uint8Array | null;

/** Rows of one statement: calling it costs several times what one row does. */
const AT_ONCE = 32;

/** Inserts rows into a table, many with one statement. Those that were put are there after `end`, inside one transaction. */
export class ManyRows {
  readonly #many: Statement;
  readonly #one: Statement;
  readonly #columns: number;
  #cells: Cell[] = [];
  #changes = 0;

  /** `conflict` is what the statement says about rows that are there already. */
  constructor(sqlite: Sqlite, table: string, columns: number, conflict = "") {
    const row = `(${Array.from({ length: columns }, () => "?").join(", ")})`;
    const rows = Array.from({ length: AT_ONCE }, () => row).join(", ");
    this.#one = sqlite.prepare(`INSERT INTO ${table} VALUES ${row} ${conflict}`);
    this.#many = sqlite.prepare(`INSERT INTO ${table} VALUES ${rows} ${conflict}`);
    this.#columns = columns;
  }

  /** Forgets what was put and not ended: that transaction broke off. */
  begin(): void {
    this.#cells = [];
    this.#changes = 0;
  }

  put(...cells: Cell[]): void {
    for (const cell of cells) this.#cells.push(cell);
    if (this.#cells.length < AT_ONCE * this.#columns) return;
    this.#changes += this.#many.run(this.#cells).changes;
    this.#cells = [];
  }

  /** Gives how many rows were inserted since `begin`. */
  end(): number {
    for (let at = 0; at < this.#cells.length; at += this.#columns)
      this.#changes += this.#one.run(this.#cells.slice(at, at + this.#columns)).changes;
    this.#cells = [];
    return this.#changes;
  }
}
