import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import { tempDir } from "../support/temp-dir.ts";

test("nobody opens a db after the engine began to close, also who waited for that db", async () => {
  const dir = path.join(tempDir(), "data");
  const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
  await engine.create("db");
  await engine.create("other");
  const held = engine.hold("db");
  const closed = engine.close();
  const late = engine.use("db", (db) => db.log.head().seq);
  const refusal = expect(late).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await expect(engine.use("other", () => 0)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  held?.release();
  await closed;
  await refusal;
  await expect(engine.use("db", () => 0)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await expect(engine.create("third")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const next = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
  await next.close();
});
