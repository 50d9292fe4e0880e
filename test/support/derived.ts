import { createHash } from "node:crypto";
import path from "node:path";
import Database from "better-sqlite3";
import type { Engine } from "../../src/db/engine.ts";

const TABLES = {
  // Row ids of documents depend on when batches were written, so rows name the document instead.
  "catalog.sqlite": {
    head: "SELECT seq FROM head",
    doc: "SELECT name, state, first, last, deleted FROM doc ORDER BY name",
    touch: "SELECT name, seq, before FROM touch JOIN doc ON doc.id = touch.doc ORDER BY name, seq",
    address: "SELECT prefix, seq FROM address ORDER BY prefix, seq",
    bundle: "SELECT last, first FROM bundle ORDER BY last",
    bundle_doc:
      "SELECT name, bundle_doc.last FROM bundle_doc JOIN doc ON doc.id = bundle_doc.doc ORDER BY name, bundle_doc.last",
    automerge:
      "SELECT automerge.id, name FROM automerge JOIN doc ON doc.id = automerge.doc ORDER BY automerge.id, name",
    witness: "SELECT name FROM witness ORDER BY name",
    fact: "SELECT replace(kind, 'erasing', 'erased'), name, seq, value FROM fact ORDER BY 1, 2",
    receipt: "SELECT principal, client_tx_id, seq FROM receipt ORDER BY principal, client_tx_id",
  },
  // Saved forms are a cache of the same history, made when it suits; what they hold is compared on reading.
  "views.sqlite": {
    head: "SELECT seq FROM head",
    document: "SELECT name, seq, deleted, json, problem FROM document ORDER BY name",
  },
} as const;

/** Tables that hold no row of their own and tables left out on purpose. */
const NOT_COMPARED = new Set(["saved"]);

export interface Derived {
  readonly head: number;
  /** Number of rows and canonical hash of each table. */
  readonly tables: Readonly<Record<string, string>>;
}

/** Everything derived of a db that has caught up with its log, as canonical hashes. */
export async function derivedOf(engine: Engine, dbId: string): Promise<Derived> {
  const head = await engine.use(dbId, async (db) => {
    await db.projection.catchUp();
    db.log.tidy();
    return db.log.head().seq;
  });
  const folder = engine.folderOf(dbId);
  return {
    head,
    tables: { ...tablesOf(folder, "catalog.sqlite"), ...tablesOf(folder, "views.sqlite") },
  };
}

/** The tables of one derived file, as canonical hashes. */
export function tablesOf(folder: string, file: keyof typeof TABLES): Record<string, string> {
  const tables: Record<string, string> = {};
  const queries: Record<string, string> = TABLES[file];
  const sqlite = new Database(path.join(folder, file), { readonly: true });
  try {
    const names = sqlite
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .pluck()
      .all() as string[];
    const forgotten = names.filter(
      (name) => !(name in queries) && !NOT_COMPARED.has(name) && !name.startsWith("sqlite_"),
    );
    if (forgotten.length > 0)
      throw new Error(`${file} has tables that no comparison covers: ${forgotten.join(", ")}`);
    for (const [name, sql] of Object.entries(queries)) {
      const hash = createHash("sha256");
      let rows = 0;
      for (const row of sqlite.prepare(sql).raw().iterate() as Iterable<unknown[]>) {
        rows += 1;
        const cells = row.map((cell) => (Buffer.isBuffer(cell) ? `x${cell.toString("hex")}` : cell));
        hash.update(`${JSON.stringify(cells)}\n`);
      }
      tables[`${file} ${name}`] = `${rows} rows ${hash.digest("hex")}`;
    }
  } finally {
    sqlite.close();
  }
  return tables;
}
