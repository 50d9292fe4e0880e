import { existsSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { SkaldError } from "../../src/errors.ts";
import { tempDir } from "../support/temp-dir.ts";

test("a db can be deleted on a full disk, where it cannot be tidied up while it closes", async () => {
  const engine = new Engine({
    dir: path.join(tempDir(), "data"),
    reserve: 0,
    documents: { workers: 1 },
    // Told that the log, which is gone, did not close well.
    onError: () => {},
    files: {
      ...sqliteFiles,
      openLog: (...args) => {
        const storage = sqliteFiles.openLog(...args);
        storage.tidy = () => {
          throw new SkaldError("STORAGE_FULL", "The disk is full.");
        };
        return storage;
      },
    },
  });
  await engine.create("db");
  const folder = engine.folderOf("db");
  await engine.use("db", (db) =>
    db.tx({ author: "ann", writes: [{ doc: "c/a", edit: { kind: "put", value: "{}" } }] }),
  );
  await engine.delete("db");
  expect(engine.has("db")).toBe(false);
  expect(existsSync(folder)).toBe(false);
  await engine.close();
});
