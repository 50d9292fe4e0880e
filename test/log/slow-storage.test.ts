import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, set } from "./fixture.ts";
import { readChange } from "../../src/log/change.ts";

test("a list of commits ends at the head, also while the storage has more than it said durable", async () => {
  let durable = (): void => {};
  const { log } = createLog(tempDir(), {}, (storage) => {
    const append = storage.append.bind(storage);
    storage.append = async (records) => {
      await append(records);
      await new Promise<void>((resolve) => (durable = resolve));
    };
    return storage;
  });
  const change = readChange(lastChange(set(copyOf(log, "c/a", ACTORS[0]), { a: 1 })));
  const written = log.write({ author: "ann", clientTxId: "", writes: [{ doc: "c/a", changes: [change] }] });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(log.head().seq).toBe(0);
  expect(log.commits(1, 10)).toEqual([]);
  durable();
  await written;
  expect(log.commits(1, 10).map(({ commit }) => commit.seq)).toEqual([1]);
  expect(log.commits(2, 10)).toEqual([]);
  await log.close();
});
