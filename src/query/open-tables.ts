import { statSync } from "node:fs";
import { SkaldError } from "../errors.ts";
import { openForStatements } from "../store/sqlite-query.ts";
import type { Sqlite, Statement } from "../store/sqlite.ts";
import { quoted } from "../tables/tokens.ts";
import { failureOf } from "./failure.ts";
import type { Openable } from "./walls.ts";
import { prepare, type Prepared } from "./prepared.ts";

/** What a tables file holds, as it says itself within the transaction that is open. */
export interface Head {
  readonly branch: number;
  readonly seq: number;
  readonly schema: number;
  /** Address of the commit at `seq`; null before the first. */
  readonly commit: string | null;
}

/** Virtual tables that every connection has and a statement may use. */
const EVERYWHERE: readonly string[] = ["json_each", "json_tree", "jsonb_each", "jsonb_tree"];

/** Names of the file's own tables, which statements do not see. */
export const HIDDEN = /^(?:sqlite_|skald_)/i;

/** What holds as long as the schema does. */
interface State {
  /** SQLite's own count of the schema's changes. */
  readonly version: number;
  readonly openable: Openable;
  readonly visible: ReadonlySet<string>;
}

/**
 * A tables file that a query process has open, with the statements that were asked of it. What was prepared holds
 * for one state of the schema: SQLite counts them, and each transaction looks first.
 */
export class OpenTables {
  readonly sqlite: Sqlite;
  readonly #file: string;
  readonly #inode: string;
  readonly #begin: Statement;
  readonly #end: Statement;
  readonly #head: Statement;
  readonly #commit: Statement;
  readonly #version: Statement;
  readonly #statements = new Map<string, Prepared>();
  #dropped = 0;
  #state: State | undefined;
  #at: Head | undefined;

  /** `near`: in the server itself, which waits for nobody and keeps little. */
  constructor(file: string, where: "process" | "near" = "process") {
    this.#file = file;
    this.#inode = inodeOf(file);
    this.sqlite = openForStatements(file, where === "near" ? NEAR : undefined);
    try {
      this.#begin = this.sqlite.prepare("BEGIN");
      this.#end = this.sqlite.prepare("COMMIT");
      this.#head = this.sqlite.prepare("SELECT branch, seq, schema FROM skald_head").raw();
      this.#commit = this.sqlite.prepare("SELECT id FROM commits WHERE seq = ?").pluck();
      this.#version = this.sqlite.prepare("PRAGMA schema_version").pluck();
    } catch (error) {
      this.sqlite.close();
      throw failureOf(error);
    }
  }

  /** Whether another file has taken its place, or it is worn. */
  get stale(): boolean {
    return this.worn || inodeOf(this.#file) !== this.#inode;
  }

  /** Whether so many statements passed that a fresh start is cheaper. */
  get worn(): boolean {
    return this.#dropped > DROPPED_MAX;
  }

  /** Runs work in a read transaction of its own: everything it reads is of one state, that of the head. */
  within<T>(work: (head: Head) => T): T {
    this.begin();
    try {
      return work(this.head());
    } finally {
      this.end();
    }
  }

  begin(): void {
    this.#begin.run();
    const version = this.#version.get() as number;
    if (this.#state?.version !== version) this.#look(version);
  }

  end(): void {
    if (this.sqlite.inTransaction) this.#end.run();
  }

  /** Within a transaction. */
  head(): Head {
    const row = this.#head.get() as [number, number, number] | undefined;
    if (row === undefined) throw new SkaldError("DERIVED_DAMAGED", "The tables have no head.");
    const [branch, seq, schema] = row;
    const last = this.#at;
    if (last !== undefined && last.seq === seq && last.branch === branch && last.schema === schema)
      return last;
    const commit = (this.#commit.get(seq) as string | undefined) ?? null;
    return (this.#at = { branch, seq, schema, commit });
  }

  /** Within a transaction: names of tables and views that statements see. */
  get visible(): ReadonlySet<string> {
    return (this.#state as State).visible;
  }

  get openable(): Openable {
    return (this.#state as State).openable;
  }

  /** The statement, looked through. Within a transaction. Throws what refuses it. */
  statement(sql: string): Prepared {
    const known = this.#statements.get(sql);
    if (known !== undefined) {
      if (this.#statements.size > KEPT / 2) {
        this.#statements.delete(sql);
        this.#statements.set(sql, known);
      }
      return known;
    }
    const prepared = prepare(this, sql);
    this.#statements.set(sql, prepared);
    for (const oldest of this.#statements.keys()) {
      if (this.#statements.size <= KEPT) break;
      this.#statements.delete(oldest);
      this.#dropped += 1;
    }
    return prepared;
  }

  close(): void {
    this.sqlite.close();
  }

  #look(version: number): void {
    this.#dropped += this.#statements.size;
    this.#statements.clear();
    const shadows = new Set<string>();
    const virtual = new Map<string, string>();
    const visible = new Set<string>();
    const list = this.sqlite.pragma("main.table_list") as { schema: string; name: string; type: string }[];
    for (const { schema, name, type } of list) {
      if (schema !== "main") continue;
      if (type === "shadow") shadows.add(name);
      else if (!HIDDEN.test(name)) visible.add(name);
      if (type === "virtual" && !HIDDEN.test(name)) this.#virtual(virtual, name);
    }
    for (const name of EVERYWHERE) if (!visible.has(name)) this.#virtual(virtual, name);
    const roots = new Map<number, string>();
    const rows = this.sqlite
      .prepare("SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 1")
      .raw()
      .all() as [number, string][];
    for (const [root, table] of rows) if (!shadows.has(table) && !HIDDEN.test(table)) roots.set(root, table);
    this.#state = { version, openable: { roots, virtual }, visible };
  }

  /** EXPLAIN names a virtual table by the address that it has on this connection. */
  #virtual(found: Map<string, string>, name: string): void {
    const program = this.sqlite
      .prepare(`EXPLAIN SELECT 1 FROM ${quoted(name)}`)
      .raw()
      .all() as unknown[][];
    for (const [, opcode, , , , p4] of program) if (opcode === "VOpen") found.set(String(p4), name);
  }
}

const NEAR = { busyMs: 0, cacheKib: 1000 };

/** Statements that a connection keeps prepared. */
const KEPT = 200;
/** Only the collector or closing ends a statement: beyond these the connection is opened anew. */
const DROPPED_MAX = 400;

function inodeOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) throw new SkaldError("DERIVED_DAMAGED", "The tables are gone.");
  return `${stat.dev}-${stat.ino}`;
}

/** Files that a process keeps open. */
const OPEN_FILES = 4;
const open = new Map<string, OpenTables>();

/** The tables of a file, opened when they are not; with others than those before when another has its place. */
export function tablesOf(file: string): OpenTables {
  const known = open.get(file);
  if (known !== undefined) {
    open.delete(file);
    if (!known.stale) {
      open.set(file, known);
      return known;
    }
    known.close();
  }
  for (const [oldest, tables] of open) {
    if (open.size < OPEN_FILES) break;
    open.delete(oldest);
    tables.close();
  }
  const opened = openTables(file);
  open.set(file, opened);
  return opened;
}

export function openTables(file: string): OpenTables {
  try {
    return new OpenTables(file);
  } catch (error) {
    throw failureOf(error);
  }
}
