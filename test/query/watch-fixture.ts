import Database from "better-sqlite3";
import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { WatchFollower } from "../../src/http/watch-follower.ts";
import { wireArgs, type Args } from "../../src/query/args.ts";
import { QueryProcesses } from "../../src/query/processes.ts";
import { ResultHash, rowText, type TypedValue } from "../../src/query/result-hash.ts";
import { applyDelta } from "../../src/protocol/row-delta.ts";
import { WatchClock } from "../../src/query/watch-clock.ts";
import { Watches, type WatchedTables, type WatchesParts } from "../../src/query/watches.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import { realWorld } from "../../src/world.ts";

/** An engine with all that watches need. */
export class WatchingEngine {
  readonly engine: Engine;
  readonly tables: TablesOf;
  readonly processes: QueryProcesses;
  readonly clock = new WatchClock(realWorld);
  readonly errors: unknown[] = [];

  constructor(dir: string, processes = new QueryProcesses({ processes: 1 })) {
    this.engine = new Engine({ dir: path.join(dir, "data"), reserve: 0, documents: { workers: 1 } });
    this.tables = new TablesOf({ engine: this.engine, onError: (error) => this.errors.push(error) });
    this.processes = processes;
  }

  watches(
    db: Db,
    wrapped: (tables: WatchedTables) => WatchedTables,
    more: Partial<WatchesParts> = {},
  ): Watches {
    const made = new Watches({
      db,
      tables: wrapped(this.tables.of(db)),
      at: () => Promise.reject(new Error("no points here")),
      processes: this.processes,
      world: realWorld,
      ...more,
    });
    db.onClose(() => made.close());
    return made;
  }

  async close(): Promise<void> {
    await this.processes.close();
    await this.engine.close();
    await this.tables.close();
  }
}

export interface Told {
  readonly event: string;
  readonly seq: number;
  readonly hash: string;
  /** What its client then has. */
  readonly rows: readonly string[];
  readonly columns: readonly string[];
}

/** A client of a watch: applies what it is sent as specs/25-query.md says, and keeps all that it was told. */
export class WatchClient {
  readonly sql: string;
  readonly args: Args;
  readonly delta: boolean;
  readonly told: Told[] = [];
  error: Record<string, unknown> | undefined;
  bytes = 0;
  deltas = 0;
  #follower: WatchFollower | undefined;
  place: () => { seq: number; hash: string } = () => ({ seq: -1, hash: "" });

  constructor(sql: string, args: Args = [], delta = false) {
    this.sql = sql;
    this.args = args;
    this.delta = delta;
  }

  get last(): Told | undefined {
    return this.told.at(-1);
  }

  /** Joins, and again after a restart: then with what it knows. */
  async open(on: WatchingEngine, db: Db, watches: Watches, bounds = BOUNDS, branch = "main"): Promise<void> {
    const follower = new WatchFollower({
      db,
      format: "frame",
      delta: this.delta,
      clock: on.clock,
      world: realWorld,
      valid: () => true,
      heartbeat: 200,
      unreadBytes: 2 ** 30,
      unreadMs: 2 ** 30,
      requestId: "",
      failed: (error) => on.errors.push(error),
      done: () => {},
    });
    const ask = {
      sql: this.sql,
      args: wireArgs(this.args),
      branch,
      bounds,
      principal: "me",
      delta: this.delta,
    };
    const joined = await follower
      .join((listener) => watches.join(ask, listener))
      .catch((error: unknown) => {
        follower.gone();
        throw error;
      });
    this.#follower = follower;
    this.place = () => joined.place();
    const { last } = this;
    const since = last === undefined ? undefined : { seq: last.seq, hash: last.hash };
    follower.open(
      { write: (bytes) => this.#take(bytes), unread: 0, end: (_, bytes) => this.#take(bytes) },
      since,
      undefined,
    );
  }

  close(): void {
    this.#follower?.gone();
  }

  #take(bytes: Buffer): void {
    this.bytes += bytes.byteLength;
    const text = bytes.toString("utf8");
    const said = JSON.parse(text) as Record<string, unknown>;
    const { event, seq, result_hash: hash } = said as { event: string; seq: number; result_hash: string };
    if (event === "error") {
      this.error = said;
      return;
    }
    const { last } = this;
    let rows = last?.rows ?? [];
    let columns = last?.columns ?? [];
    if ("rows" in said) {
      rows = textsIn(text, "rows");
      columns = said["columns"] as string[];
    } else if ("added" in said) {
      if (said["from"] !== last?.hash) throw new Error("a delta from rows that its client does not have");
      this.deltas += 1;
      rows = applyDelta(rows, {
        changed: placed(text, "changed"),
        removed: placed(text, "removed"),
        added: placed(text, "added"),
      });
    } else if (hash !== last?.hash) throw new Error(`${event} of a result that its client does not have`);
    if (rows.length !== (said["row_count"] ?? rows.length)) throw new Error("not as many rows as were told");
    this.told.push({ event, seq, hash, rows, columns });
  }
}

export const BOUNDS = { ms: 5000, rows: 5000, bytes: 1024 * 1024 };

/** The items of a list of lists in JSON text, as they were written: a parser would take 1.0 for 1. */
function textsIn(text: string, member: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  let inText = false;
  for (let at = text.indexOf(`"${member}":[`) + member.length + 4; ; at += 1) {
    const char = text[at] as string;
    if (inText) {
      if (char === "\\") at += 1;
      else if (char === '"') inText = false;
    } else if (char === '"') inText = true;
    else if (char === "[" || char === "{") {
      if (depth === 0) start = at;
      depth += 1;
    } else if (char === "]" || char === "}") {
      if (depth === 0) return items;
      depth -= 1;
      if (depth === 0) items.push(text.slice(start, at + 1));
    }
  }
}

function placed(text: string, member: string): [number, string][] {
  return textsIn(text, member).map((item) => {
    const comma = item.indexOf(",");
    return [Number(item.slice(1, comma)), item.slice(comma + 1, -1)];
  });
}

/** What SQLite itself answers. Throws as it does. */
export function answered(
  sqlite: Database.Database,
  { sql, args }: Pick<WatchClient, "sql" | "args">,
): {
  rows: string[];
  columns: string[];
  hash: string;
} {
  const statement = sqlite.prepare(sql).raw(true).safeIntegers(true);
  const columns = statement.columns().map(({ name }) => name);
  const bound = Array.isArray(args) ? args : [args];
  const rows = statement.all(...(bound as unknown[])) as TypedValue[][];
  const hash = new ResultHash(columns);
  for (const row of rows) hash.row(row);
  return { rows: rows.map(rowText), columns, hash: hash.digest() };
}

export async function until(done: () => boolean, what: () => string): Promise<void> {
  const end = Date.now() + 30_000;
  while (!done()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
