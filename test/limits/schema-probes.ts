import { mkdtempSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { writeEvents, type SchemaEvent } from "../../src/db/write-events.ts";
import { LIMITS } from "../../src/limits.ts";
import { PointCache } from "../../src/tables/point-cache.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { outcomeOf, type Probe, type ProbeSpec } from "./probe.ts";

const root = memoryDir();

/** What events are answered with in a db that has none. */
async function written(events: readonly SchemaEvent[]): Promise<string> {
  const engine = new Engine({
    dir: mkdtempSync(path.join(root, "db-")),
    reserve: 0,
    documents: { workers: 1 },
  });
  try {
    await engine.create("a");
    return await engine.use("a", (db: Db) => outcomeOf(() => writeEvents(db, { author: "ann", events })));
  } finally {
    await engine.close();
  }
}

const make = (sql: string): SchemaEvent => ({ type: "schema.change", sql });
const save = (name: string, sql = "select 1", description?: string): SchemaEvent => ({
  type: "query.save",
  name,
  sql,
  description,
});
const probe = (events: (n: number) => readonly SchemaEvent[]): ProbeSpec => {
  const run: Probe = (n) => written(events(n));
  return { run, cheap: true };
};

export const statementCharacters = probe((n) => [save("x".repeat(n))]);

export const schemaProbes: Readonly<Record<string, ProbeSpec>> = {
  statementBytes: probe((n) => [make("é".repeat(Math.floor(n / 2)).padEnd(n - Math.floor(n / 2), "x"))]),
  statements: probe((n) => Array.from({ length: n }, (_, i) => make(`create table t${i} (id primary key)`))),
  stored: probe((n) => Array.from({ length: n }, (_, i) => save(`q${i}`))),
  descriptionBytes: probe((n) => [save("q", "select 1", "x".repeat(n))]),
};

export const tablesProbes: Readonly<Record<string, ProbeSpec>> = {
  pointBytes: {
    cheap: true,
    run: (n) => {
      const dropped: string[] = [];
      const cache = new PointCache(LIMITS.tables.pointBytes.value, ({ file }) => dropped.push(file));
      cache.put("old", { file: "old", bytes: 1 });
      cache.put("new", { file: "new", bytes: n - 1 });
      cache.trim();
      return dropped.join() === "old" ? "dropped" : dropped.length === 0 ? "ok" : dropped.join();
    },
  },
};
