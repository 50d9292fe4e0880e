import { encodeEvent } from "../../src/log/event.ts";
import type { Log, Unchanged } from "../../src/log/log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, openLog, refusal, set, tx, write } from "./fixture.ts";

const root = tempDir();
const [AA] = ACTORS;

const first = (log: Log, doc: string) => write(doc, [lastChange(set(copyOf(log, doc, AA), { at: doc }))]);
const put = (log: Log, doc: string, unchanged?: Unchanged, branch?: string) =>
  log.write(tx(first(log, doc), { ...(unchanged && { unchanged }), ...(branch && { branch }) }));

describe("a write that was worked out from what was read", () => {
  test("is refused when a commit since touched a collection that was read, and that commit is named", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    await put(log, "b/1");
    await put(log, "c/1");
    const stale = (collections: readonly string[]) => refusal(put(log, "d/x", { since: 1, collections }));
    expect(await stale(["b"])).toEqual({ code: "SQL_CONFLICT", details: { since: 1, seq: 2 } });
    expect(await stale(["a", "c"])).toEqual({ code: "SQL_CONFLICT", details: { since: 1, seq: 3 } });
    expect(log.head().seq).toBe(3);
    // What was touched before it was read, or never, is nobody's business.
    expect(await stale(["a", "d"])).toMatchObject({ code: "none" });
    expect(log.head().seq).toBe(4);
  });

  test("is refused for any commit since when all of the db was read, and for one of the future", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    await put(log, "b/1");
    const all = (since: number) => refusal(put(log, "d/x", { since, collections: "all" }));
    expect(await all(1)).toMatchObject({ code: "SQL_CONFLICT" });
    expect(await all(3)).toMatchObject({ code: "SQL_CONFLICT" });
    expect(await all(2)).toMatchObject({ code: "none" });
  });

  test("is refused when a document that was named was touched since, and not for its neighbours", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    await put(log, "a/2");
    const named = (docs: string[]) => refusal(put(log, "a/9", { since: 1, collections: [], docs }));
    expect(await named(["a/1", "a/2"])).toMatchObject({ code: "SQL_CONFLICT" });
    expect(await named(["a/1", "a/9"])).toMatchObject({ code: "none" });
    expect(await named(["a/9"])).toMatchObject({ code: "SQL_CONFLICT" });
  });

  test("sees the writers before it in its own group", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    const since = 1;
    const answers = await Promise.all([
      refusal(put(log, "a/2", { since, collections: ["a"] })),
      refusal(put(log, "a/3", { since, collections: ["a"] })),
      refusal(put(log, "a/4", { since, collections: [], docs: ["a/4"] })),
      refusal(put(log, "b/1", { since, collections: ["b"] })),
    ]);
    expect(answers.map(({ code }) => code)).toEqual(["none", "SQL_CONFLICT", "none", "none"]);
  });

  test("is refused after a commit that changed the tables, whatever was read", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    await log.write(tx([], { events: [encodeEvent({ type: "other.thing" })] }));
    expect(await refusal(put(log, "b/1", { since: 1, collections: ["b"] }))).toMatchObject({ code: "none" });
    await log.write(tx([], { events: [encodeEvent({ type: "schema.change", sql: "DROP TABLE x" })] }));
    expect(await refusal(put(log, "c/1", { since: 3, collections: [] }))).toMatchObject({
      code: "SQL_CONFLICT",
    });
  });

  test("minds commits of its own branch alone, and what a merge brought there", async () => {
    const { log } = createLog(root);
    await put(log, "a/1");
    await log.createBranch("other", { author: "ann" });
    await put(log, "b/1");
    await put(log, "c/1", undefined, "other");
    expect(await refusal(put(log, "d/1", { since: 2, collections: ["b"] }, "other"))).toMatchObject({
      code: "none",
    });
    expect(await refusal(put(log, "d/2", { since: 2, collections: ["c"] }, "other"))).toMatchObject({
      code: "SQL_CONFLICT",
    });
    expect(await refusal(put(log, "d/3", { since: 2, collections: ["c"] }))).toMatchObject({ code: "none" });
    const since = log.head().seq;
    await log.merge({ author: "ann", clientTxId: "", from: "other", into: "main" });
    expect(await refusal(put(log, "e/1", { since, collections: ["e"] }))).toMatchObject({
      code: "SQL_CONFLICT",
    });
  });

  test("finds what it asks for in a log that was opened anew, and is not asked again when it is repeated", async () => {
    const { log, folder } = createLog(root);
    await put(log, "a/1");
    const once = () =>
      log.write(tx(first(log, "b/1"), { clientTxId: "x", unchanged: { since: 1, collections: ["b"] } }));
    const receipt = await once();
    expect(await once()).toMatchObject({ seq: receipt.seq, duplicate: true });
    await put(log, "c/1");
    await log.close();
    const again = openLog(folder).log;
    expect(await refusal(put(again, "d/1", { since: 1, collections: ["b"] }))).toMatchObject({
      code: "SQL_CONFLICT",
    });
    expect(() => again.checkUnchanged({ since: 1, collections: ["c"] })).toThrow("Commit 3 changed");
    expect(() => again.checkUnchanged({ since: 1, collections: ["d"] })).not.toThrow();
    await again.close();
  });
});
