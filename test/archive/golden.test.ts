import { readFileSync, writeFileSync } from "node:fs";
import { cidToString } from "../../src/ids/cid.ts";
import { toHex } from "../../src/ids/hash.ts";
import type { DocState } from "../../src/log/doc-state.ts";
import { lineOf, openEngine, wrongWith } from "../replication/fixture.ts";
import { everything, historyOf, importInto, stateOf } from "./fixture.ts";

/**
 * Archives that versions of Skald wrote: every later version reads them, to the same addresses and values, and writes
 * histories again as they are. A new form of an archive adds files here and takes none away.
 */
const FOLDER = new URL("../../fixtures/archive/", import.meta.url);
const VERSIONS = ["1"];
const fileOf = (name: string): URL => new URL(name, FOLDER);
const engine = openEngine();

interface Expected {
  readonly uid: string;
  readonly commits: readonly string[];
  readonly documents: Readonly<
    Record<string, { readonly heads: readonly string[]; readonly value: unknown }>
  >;
  readonly deleted: readonly string[];
  readonly refused: Readonly<Record<string, readonly string[]>>;
  readonly receipts: Readonly<Record<string, number>>;
}

async function found(db: string): Promise<Expected> {
  const commits = await lineOf(engine, db);
  return engine.use(db, async (held) => {
    const states = held.log.list("", "", 1000, true).map(({ name }) => held.log.state(name) as DocState);
    const documents: Record<string, Expected["documents"][string]> = {};
    for (const { name, heads, deleted } of states) {
      if (deleted) continue;
      const { json } = await held.read(name);
      documents[name] = { heads: [...heads.keys()].sort(), value: JSON.parse(json) as unknown };
    }
    const receipts: Record<string, number> = {};
    for (let seq = 1; seq <= held.log.head().seq; seq += 1) {
      const { clientTxId = "" } = held.log.commit(seq) ?? {};
      if (clientTxId !== "") receipts[clientTxId] = seq;
    }
    return {
      uid: toHex(held.log.identity.uid),
      commits,
      documents,
      deleted: states.flatMap(({ name, deleted }) => (deleted ? [name] : [])),
      refused: Object.fromEntries(
        states.flatMap(({ name, refused }) => (refused.size > 0 ? [[name, [...refused.keys()].sort()]] : [])),
      ),
      receipts,
    };
  });
}

// For a new form alone: what is there is never written again.
const making = process.env["SKALD_MAKE_ARCHIVES"];
if (making !== undefined) {
  test("files of this version", async () => {
    await everything(engine, "made");
    writeFileSync(fileOf(`history-${making}.car`), await historyOf(engine, "made"), { flag: "wx" });
    writeFileSync(fileOf(`state-${making}.car`), await stateOf(engine, "made"), { flag: "wx" });
    writeFileSync(fileOf(`expected-${making}.json`), `${JSON.stringify(await found("made"), null, 1)}\n`, {
      flag: "wx",
    });
  });
}

describe.each(VERSIONS)("archives of form %s", (version) => {
  let expected: Expected;
  beforeAll(() => {
    expected = JSON.parse(readFileSync(fileOf(`expected-${version}.json`), "utf8")) as Expected;
  });

  test("a history is read to the db that it was, and written again as it is", async () => {
    const file = readFileSync(fileOf(`history-${version}.car`));
    const db = `history-${version}`;
    const { root } = await importInto(engine, db, file);
    expect(cidToString(root)).toBe(expected.commits.at(-1));
    expect(await found(db)).toEqual(expected);
    expect(await wrongWith(engine, db)).toEqual([]);
    expect((await historyOf(engine, db)).equals(file)).toBe(true);
    // It has in it what makes reading it mean something.
    const commits = await engine.use(db, ({ log }) => log.commits(1, 100));
    expect(commits.some(({ commit }) => commit.parents.length > 1)).toBe(true);
    expect(commits.some(({ commit }) => commit.events.length > 0 && commit.entries.length === 0)).toBe(true);
    expect(commits.some(({ commit }) => commit.entries.length > 1)).toBe(true);
    expect([expected.deleted, Object.keys(expected.refused)].every(({ length }) => length > 0)).toBe(true);
    expect(Object.keys(expected.receipts).length).toBeGreaterThan(1);
  });

  test("a state is read to the documents that there were", async () => {
    const file = readFileSync(fileOf(`state-${version}.car`));
    await importInto(engine, `state-${version}`, file);
    const { uid, documents } = await found(`state-${version}`);
    expect({ uid, documents }).toEqual({ uid: expected.uid, documents: expected.documents });
  });
});
