import { Documents } from "../../src/documents/documents.ts";
import type { CatalogBatch } from "../../src/store/contract.ts";
import { CatalogAround } from "../support/broken-builds.ts";
import { workload } from "../support/check-workload.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const documents = new Documents({ workers: 1 });
afterAll(() => documents.close());

test("a catalog that lost a commit of a document has no good change set aside", async () => {
  const { db, ledger, close } = await workload(root, documents, {
    catalog: (sound) =>
      new (class extends CatalogAround {
        override write(batch: CatalogBatch): void {
          const docs = batch.docs.map((doc) => ({ ...doc, touches: doc.touches.filter((seq) => seq !== 5) }));
          super.write({ ...batch, docs });
        }
      })(sound),
  });
  // Without commit 5 the changes after it build on something that is not there.
  await expect(db.read("c/a", { at: String(db.log.head().seq), conflicts: true })).rejects.toMatchObject({
    code: "DERIVED_DAMAGED",
  });
  expect(db.log.state("c/a")?.refused.size).toBe(0);
  const found = await ledger.compare(db);
  expect(found).toContainEqual(
    expect.objectContaining({ what: "catalog", where: expect.stringContaining("c/a"), heals: "rebuild" }),
  );
  expect(found.filter((finding) => !("heals" in finding))).toEqual([]);
  await close();
});
