// Writes documents of the db in the directory named, and has its tables follow, until it is killed. Says each batch.
import { Engine } from "../../dist/db/engine.js";
import { TablesOf } from "../../dist/tables/tables.js";

const engine = new Engine({ dir: process.argv[2], reserve: 0, documents: { workers: 1 } });
const onError = (error) => {
  throw error;
};
const tablesOf = new TablesOf({ engine, onError });
await engine.use("killed", async (db) => {
  for (let n = 0; ; n += 1) {
    const writes = Array.from({ length: 12 }, (_, i) => ({
      doc: `c/${(n * 7 + i) % 60}`,
      edit: { kind: "put", value: JSON.stringify({ title: `${n} of ${i}`, n: (n + i) % 40 }) },
    }));
    await db.tx({ author: "ann", writes });
    process.stdout.write("begins\n");
    const { seq } = await tablesOf.of(db).current();
    process.stdout.write(`${seq}\n`);
  }
});
