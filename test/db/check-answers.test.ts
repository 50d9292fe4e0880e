import { checkDerived, checkLog, checkLogNow, finished, type CheckOptions } from "../../src/db/check.ts";
import { batches } from "../../src/db/check-documents.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { Documents } from "../../src/documents/documents.ts";
import { SkaldError, type ErrorCode } from "../../src/errors.ts";
import type { DocState } from "../../src/log/doc-state.ts";
import { newDocState } from "../../src/log/doc-state.ts";
import type { CatalogAnswers, Log } from "../../src/log/log.ts";
import type { WalkedDoc } from "../../src/log/walk.ts";
import type { LogStorage, StoredRecord } from "../../src/store/contract.ts";
import type { DocumentRow, Views } from "../../src/store/sqlite-views.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { workload, type Worked } from "../support/check-workload.ts";
import { tempDir } from "../support/temp-dir.ts";

/**
 * Whatever a db answers wrongly the check names: one sound db, and each of its answers in turn another.
 * (test/db/invariants.test.ts breaks the parts that it is made of.)
 */

const documents = new Documents({ workers: 1 });
let sound: Worked;
beforeAll(async () => {
  sound = await workload(tempDir(), documents);
});
afterAll(async () => {
  await sound.close();
  await documents.close();
});

/** `target` with some of its answers replaced; each gets the right answer's function. */
type Worse<T> = {
  [K in keyof T]?: T[K] extends (...args: infer A) => infer R
    ? (right: (...args: A) => R) => (...args: A) => unknown
    : never;
};

function around<T extends object>(
  target: T,
  worse: Worse<T>,
  parts: Partial<Record<keyof T, unknown>> = {},
): T {
  return new Proxy(target, {
    get: (of, name) => {
      if (Object.hasOwn(parts, name)) return parts[name as keyof T];
      const value: unknown = Reflect.get(of, name, of);
      if (typeof value !== "function") return value;
      const right = value.bind(of) as never;
      const replaced = Object.hasOwn(worse, name) ? worse[name as keyof T] : undefined;
      return replaced ? (replaced as (right: never) => unknown)(right) : right;
    },
  });
}

interface Wrong {
  readonly catalog?: Worse<CatalogAnswers>;
  readonly log?: Worse<Log>;
  readonly views?: Worse<Views>;
  readonly db?: Worse<Db>;
  readonly documents?: Worse<Documents>;
  /** What stands in the storage's place once the log itself was checked. */
  readonly storage?: LogStorage;
  readonly options?: CheckOptions;
}

async function checkedWith(wrong: Wrong) {
  const { catalog = {}, log = {}, views = {}, db = {}, storage = sound.storage, options = {} } = wrong;
  const { walk } = await finished(checkLog(sound.storage));
  const worse = around(sound.db, db, {
    log: around(sound.db.log, log, { answers: around(sound.db.log.answers, catalog) }),
    views: around(sound.db.views, views),
    documents: around(documents, wrong.documents ?? {}),
  });
  return finished(checkDerived(worse, storage, walk, options));
}

async function findingsWith(wrong: Wrong): Promise<string[]> {
  const { findings } = await checkedWith(wrong);
  return findings.map(({ what, where }) => `${what}: ${where}`);
}

/** The state of `name` with something altered; others as they are. */
const state =
  (name: string, alter: (state: DocState) => Partial<DocState>) =>
  (right: (doc: string) => DocState | undefined) =>
  (doc: string): unknown => {
    const given = right(doc);
    return given && doc === name ? { ...given, ...alter(given) } : given;
  };
const row =
  (name: string, alter: (row: DocumentRow) => Partial<DocumentRow> | undefined) =>
  (right: (doc: string) => DocumentRow | undefined) =>
  (doc: string): unknown => {
    const given = right(doc);
    if (!given || doc !== name) return given;
    const other = alter(given);
    return other && { ...given, ...other };
  };
const is = (value: unknown) => () => () => value;
const fails =
  (code: ErrorCode, details: Record<string, unknown> = {}) =>
  () =>
  () => {
    throw new SkaldError(code, "it does not answer", { details });
  };
/** Threads that fail one kind of work. */
const breaks = (code: ErrorCode) => () => () => Promise.reject(new SkaldError(code, "no"));

const CATALOG: [string, Worse<CatalogAnswers>, RegExp][] = [
  ["its head", { head: (right) => () => right() - 1 }, /^catalog: it is at commit \d+, the log at \d+$/],
  ["the address of its head", { headCid: is(undefined) }, /^catalog: its head is none$/],
  [
    "another address of its head",
    { headCid: (right) => () => right()?.map((byte) => byte ^ 1) },
    /its head is b\w+$/,
  ],
  [
    "its bundles",
    { bundles: is([{ first: 1, last: 9 }]) },
    /^catalog: it has the bundles \[\[1,9\]\], the log \[\[1,3\]\]$/,
  ],
  ["no document", { doc: is(undefined) }, /^catalog: c\/a is not in it$/],
  [
    "a document's size",
    { doc: state("c/a", ({ bytes }) => ({ bytes: bytes + 1 })) },
    /c\/a: bytes is \d+ and should be \d+$/,
  ],
  [
    "a document's heads",
    { doc: state("c/a", () => ({ heads: new Map([["ab", 1]]) })) },
    /c\/a: its heads are ab$/,
  ],
  [
    "a head's largest operation",
    {
      doc: state("c/a", ({ heads }) => ({ heads: new Map([...heads].map(([hash, op]) => [hash, op + 1])) })),
    },
    /c\/a: the largest operation of its head /,
  ],
  ["a document's actors", { doc: state("c/a", () => ({ actors: new Map() })) }, /c\/a: its actors$/],
  [
    "an actor's number",
    {
      doc: state("c/a", ({ actors }) => ({
        actors: new Map([...actors].map(([actor, known]) => [actor, { ...known, seq: known.seq + 1 }])),
      })),
    },
    /c\/a: its actor /,
  ],
  [
    "an actor's last change",
    {
      doc: state("c/a", ({ actors }) => ({
        actors: new Map([...actors].map(([actor, known]) => [actor, { ...known, hash: "ab" }])),
      })),
    },
    /c\/a: its actor /,
  ],
  [
    "an actor's principal",
    {
      doc: state("c/a", ({ actors }) => ({
        actors: new Map([...actors].map(([actor, known]) => [actor, { ...known, principal: "eve" }])),
      })),
    },
    /c\/a: its actor /,
  ],
  [
    "no change set aside",
    { doc: state("d/b", () => ({ refused: new Map() })) },
    /d\/b: the changes set aside$/,
  ],
  [
    "another actor of a change set aside",
    {
      doc: state("d/b", ({ refused }) => ({ refused: new Map([...refused].map(([hash]) => [hash, "ab"])) })),
    },
    /d\/b: the change \w+ that was set aside$/,
  ],
  ["the commits of a document", { touchesAfter: is([]) }, /c\/a: the commits that touched it after 3$/],
  [
    "the newest commits of a document",
    {
      touches:
        (right) =>
        (...of) =>
          right(...of).slice(1),
    },
    /c\/a: its newest commits$/,
  ],
  [
    "the commits up to a point",
    { touches: (right) => (doc, before, limit) => (limit === 1 ? [1] : right(doc, before, limit)) },
    /c\/a: its commits at or before \d+$/,
  ],
  ["no document of an Automerge id", { named: is([]) }, /c\/a: it is not found by its Automerge id$/],
  ["the bundles of a document", { bundlesOf: is([]) }, /c\/a: the bundles it is in$/],
  ["an empty list", { list: is([]) }, /^catalog: c\/put is not in its list$/],
  [
    "a list in another order",
    {
      list:
        (right) =>
        (...of) =>
          right(...of).reverse(),
    },
    /its list has c\/put after d\/b$/,
  ],
  [
    "a document that the log has not",
    {
      list: (right) => (prefix, after, limit, deleted) =>
        right(prefix, after, limit, deleted).map((doc) =>
          doc.name === "d/b" ? { ...doc, name: "d/z" } : doc,
        ),
    },
    /d\/z in its list: the log has no such document$/,
  ],
  [
    "another state in its list",
    {
      list:
        (right) =>
        (...of) =>
          right(...of).map((doc) => (doc.name === "c/a" ? { ...doc, maxOp: doc.maxOp + 1 } : doc)),
    },
    /c\/a in its list: maxOp is \d+ and should be \d+$/,
  ],
  [
    "a list without what is deleted that has it",
    { list: (right) => (prefix, after, limit) => right(prefix, after, limit, true) },
    /its list without deleted ones, after ""$/,
  ],
  [
    "the list of a collection",
    {
      list: (right) => (prefix, after, limit, deleted) =>
        prefix === "" ? right(prefix, after, limit, deleted) : [],
    },
    /its list of c\/ after ""$/,
  ],
  [
    "a list that does not go on",
    {
      list: (right) => (prefix, _after, limit, deleted) => right(prefix, "", limit, deleted),
    },
    /its list has c\/a after d\/b$/,
  ],
  ["a list that breaks off", { list: fails("DERIVED_DAMAGED") }, /its list after "": it does not answer$/],
  [
    "its counts",
    { counts: is({ documents: 9, deleted: 0 }) },
    /it counts 9 documents and 0 deleted ones, the log 3 and 2$/,
  ],
  ["the documents touched lately", { touchedSince: is(["c/a"]) }, /the documents touched since commit 1$/],
  ["no address", { find: is([]) }, /commit 4: it does not find \w+$/],
  ["no receipt", { receipt: is(undefined) }, /^receipts: commit 1: a repeat of ann's tx-1 finds nothing$/],
  [
    "another commit's receipt",
    { receipt: is(9) },
    /^receipts: commit 1: a repeat of ann's tx-1 finds commit 9$/,
  ],
];

const LOG: [string, Worse<Log>, RegExp][] = [
  [
    "pages that end early",
    { commits: (right) => (from, limit) => (from > 3 ? [] : right(from, limit)) },
    /^feed: read from the start it does not end with commit \d+$/,
  ],
  [
    "pages with a gap",
    { commits: (right) => (from, limit) => right(from + 1, limit) },
    /^feed: 64 commits from 1 on are 2, 3$/,
  ],
  ["no pages", { commits: fails("DB_DAMAGED") }, /^feed: 64 commits from 1 on: it does not answer$/],
  [
    "commits after its head",
    { commits: (right) => (from, limit) => right(Math.min(from, sound.db.log.head().seq), limit) },
    /^feed: there are commits after the head$/,
  ],
  [
    "another commit among others",
    {
      commits: (right) => (from, limit) =>
        right(from, limit).map((stored) =>
          limit === 7 ? { ...stored, cid: stored.cid.map((b) => b ^ 1) } : stored,
        ),
    },
    /^feed: commit \d+, read with others from \d+ on, is b/,
  ],
  [
    "commits under another address",
    {
      commits: (right) => (from, limit) =>
        right(from, limit).map((stored) => ({ ...stored, cid: stored.cid.map((b) => b ^ 1) })),
    },
    /^feed: commit 1 is not what its address says$/,
  ],
  [
    "commits that do not follow each other",
    {
      commits: (right) => (from, limit) =>
        right(from, limit).map((stored) => ({ ...stored, commit: { ...stored.commit, parents: [] } })),
    },
    /^feed: commit 2 does not follow the one read before it$/,
  ],
  ["no history", { history: is([]) }, /^catalog: c\/a: its history is not the commits that touched it$/],
  ["no changes", { changes: is([]) }, /^catalog: c\/a: its changes are not those of its commits$/],
  [
    "another change",
    {
      changes:
        (right) =>
        (...of) =>
          right(...of).map((bytes) => bytes.map((b) => b ^ 1)),
    },
    /^catalog: c\/a: its changes are not those of its commits$/,
  ],
  [
    "no change by its hash",
    { seqOfChange: is(undefined) },
    /c\/a: a change of commit \d+ is not found by its hash$/,
  ],
  [
    "damage instead of a commit by its address",
    { locate: () => () => Promise.reject(new SkaldError("DERIVED_DAMAGED", "it does not answer")) },
    /^catalog: c\/a: commit \d+ by its address b\w+: it does not answer$/,
  ],
  [
    "no commit by its address",
    { locate: () => async () => undefined },
    /c\/a: commit \d+ is not found by its address b/,
  ],
];

const VIEWS: [string, Worse<Views>, RegExp][] = [
  [
    "a head after the log's",
    { head: (right) => () => right() + 5 },
    /^projection: it is at commit \d+, the log at \d+$/,
  ],
  [
    "a row that the log has not",
    {
      page: (right) => (after, limit) =>
        right(after, limit).map((one) => (one.name === "d/b" ? { ...one, name: "d/z" } : one)),
    },
    /^projection: d\/z: the log has no such document$/,
  ],
  [
    "rows that do not go on",
    { page: (right) => (_after, limit) => right("", limit) },
    /^projection: its rows after "d\/b" go on with d\/b$/,
  ],
  [
    "no head",
    { head: fails("DERIVED_DAMAGED", { file: "/data/views.sqlite" }) },
    /^projection: it does not answer$/,
  ],
  [
    "no row",
    { document: row("c/a", () => undefined) },
    /^projection: c\/a: it has no row, and was touched by commit \d+$/,
  ],
  [
    "a row of another commit",
    { document: row("c/a", ({ seq }) => ({ seq: seq - 1 })) },
    /c\/a: its row is of commit \d+ and should be of \d+$/,
  ],
  [
    "a row before the first commit",
    { head: is(1) },
    /^projection: c\/put: it has a row of commit \d+ before its first commit$/,
  ],
  [
    "a row that says it is deleted",
    { document: row("c/a", () => ({ deleted: true })) },
    /c\/a: its row says it is deleted in commit \d+$/,
  ],
  [
    "a row that says it is there",
    { document: row("c/gone", () => ({ deleted: false })) },
    /c\/gone: its row says it is not deleted in commit \d+$/,
  ],
  [
    "a value of what is deleted",
    { document: row("c/gone", () => ({ json: "{}" })) },
    /c\/gone: it is deleted and has a value$/,
  ],
  [
    "a problem of what loads",
    { document: row("c/a", () => ({ json: undefined as never, problem: "DOC_UNREADABLE" })) },
    /c\/a: it has none but DOC_UNREADABLE, and its changes load$/,
  ],
  [
    "another value",
    { document: row("c/a", () => ({ json: '{"n":77}' })) },
    /c\/a: its value is not that of its changes up to commit \d+$/,
  ],
  [
    "rows that cannot be read",
    { document: fails("DERIVED_DAMAGED") },
    /^projection: c\/a: it does not answer$/,
  ],
  [
    "a saved form of a commit that is not there",
    {
      saved: (right) => (doc) => {
        const one = right(doc);
        return one && { ...one, seq: 999 };
      },
    },
    /^saved: c\/a: it has one of commit 999, which the log has not$/,
  ],
  [
    "a saved form from before there was anything",
    { saved: (right) => (doc) => (doc === "c/put" ? { ...right("c/a"), seq: 1 } : right(doc)) },
    /^saved: c\/put: it has one of commit 1, before its first commit$/,
  ],
  [
    "a saved form that is none",
    {
      saved: (right) => (doc) => {
        const one = right(doc);
        return one && { ...one, bytes: new Uint8Array([1, 2, 3]) };
      },
    },
    /^saved: c\/a: that of commit \d+ does not load: /,
  ],
  [
    "another document's saved form",
    {
      saved: (right) => (doc) =>
        doc === "c/put" ? { ...right("c/a"), seq: sound.db.log.head().seq } : right(doc),
    },
    /^saved: c\/put: that of commit \d+ has \w{64}, which is of no commit up to it$/,
  ],
  [
    "a saved form under an earlier commit",
    {
      saved: (right) => (doc) => {
        const one = right(doc);
        return one && { ...one, seq: one.seq - 5 };
      },
    },
    /^saved: c\/a: that of commit \d+ has the heads /,
  ],
];

const READS: [string, Worse<Db>, RegExp][] = [
  [
    "another value",
    {
      read:
        (right) =>
        async (...of) => ({ ...(await right(...of)), json: '{"n":77}' }),
    },
    /^routes: c\/a at commit 1: a reader does not give what its changes give$/,
  ],
  [
    "another newest value",
    {
      read: (right) => async (doc, options) => {
        const read = await right(doc, options);
        return options?.at === undefined ? { ...read, json: "{}" } : read;
      },
    },
    /^routes: c\/a at commit \d+: a reader of the newest value does not give what its changes give$/,
  ],
  [
    "nothing of what is there",
    {
      read: () => async () => {
        throw new SkaldError("DOC_NOT_FOUND", "no");
      },
    },
    /^routes: c\/a at commit 1: a reader does not give/,
  ],
  [
    "damage where there is none",
    {
      read: () => async () => {
        throw new SkaldError("DERIVED_DAMAGED", "no");
      },
    },
    /^routes: c\/a at commit 1: a reader does not give/,
  ],
];

const THREADS: [string, Worse<Documents>, RegExp][] = [
  [
    "do not read any change",
    { read: breaks("DOC_UNREADABLE") },
    /^projection: c\/a: it has a value in commit \d+, and its changes do not load$/,
  ],
  [
    "read a saved form as another value",
    {
      read: (right) => async (job) => {
        const { chunks } = await job.source([]);
        return { ...(await right(job)), ...(chunks.length === 1 ? { json: "{}" } : {}) };
      },
    },
    /^saved: c\/a: that of commit \d+ does not read as its changes do$/,
  ],
  [
    "give no saved form of some changes",
    { save: breaks("DOC_UNREADABLE") },
    /^routes: c\/put at commit \d+: its saved form does not give what its changes give$/,
  ],
  [
    "take no saved form apart",
    { split: breaks("IMPORT_INVALID") },
    /^saved: c\/a: that of commit \d+ does not load: IMPORT_INVALID$/,
  ],
  [
    "take a saved form apart into what are no changes",
    { split: () => () => Promise.resolve({ changes: [new Uint8Array(3)], heads: [] }) },
    /^saved: c\/a: that of commit \d+ does not load: CHANGE_MALFORMED$/,
  ],
];

/** A storage that lost a record after it was read. */
class Rotten extends StorageAround {
  override read(seq: number): Uint8Array | undefined {
    return seq === 5 ? undefined : super.read(seq);
  }
  override page(from: number, limit: number): StoredRecord[] {
    return super.page(from, limit).filter(({ seq }) => seq !== 5);
  }
}

describe("the check names", () => {
  test("nothing when every answer is right", async () => {
    expect(await findingsWith({})).toEqual([]);
  });

  test.each(CATALOG)("of a catalog that gives %s, what is wrong", async (_, catalog, named) => {
    expect(await findingsWith({ catalog })).toContainEqual(expect.stringMatching(named));
  });

  test.each(LOG)("of a log that gives %s, what is wrong", async (_, log, named) => {
    expect(await findingsWith({ log })).toContainEqual(expect.stringMatching(named));
  });

  test.each(VIEWS)("of views that give %s, what is wrong", async (_, views, named) => {
    expect(await findingsWith({ views })).toContainEqual(expect.stringMatching(named));
  });

  test.each(THREADS)("with threads that %s, what is wrong", async (_, worse, named) => {
    expect(await findingsWith({ documents: worse })).toContainEqual(expect.stringMatching(named));
  });

  test("a record that is lost after it was read, and looks at nothing that is derived of it", async () => {
    const { findings, stages } = await checkedWith({ storage: new Rotten(sound.storage) });
    expect(findings).toEqual([{ what: "record", where: "Commit 5 is missing." }]);
    expect(stages).toEqual(["feed"]);
  });

  test("what nobody sent, by its client_tx_id where it has one", () => {
    const sent = { hashes: new Set<string>(), txIds: new Set(["tx-1"]) };
    const invented = checkLogNow(sound.storage, { sent }).findings.map(({ where }) => where);
    expect(invented).toContainEqual(expect.stringMatching(/^commit 2 \(b\w+\) by ann, client_tx_id tx-2$/));
    expect(invented).not.toContainEqual(expect.stringMatching(/^commit 1 /));
    // What it sets aside by itself is no invention.
    const aside = sound.db.log.state("d/b")?.refusedAt ?? 0;
    expect(invented).not.toContainEqual(expect.stringMatching(new RegExp(`^commit ${aside} `)));
  });

  test.each(READS)("of a reader who gets %s, what is wrong", async (_, db, named) => {
    expect(await findingsWith({ db })).toContainEqual(expect.stringMatching(named));
  });
});

describe("the check", () => {
  test("ends with a disk that fails, which is no finding", async () => {
    await expect(findingsWith({ catalog: { doc: fails("STORAGE_FAILED") } })).rejects.toMatchObject({
      code: "STORAGE_FAILED",
    });
  });

  test("takes what could not be read in time for no finding", async () => {
    const late: Worse<Db> = {
      read: () => async () => {
        throw new SkaldError("WORK_TIMEOUT", "late");
      },
    };
    expect(await findingsWith({ db: late })).toEqual([]);
    const slow: Worse<Documents> = {
      read: breaks("WORK_TIMEOUT"),
      save: breaks("WORK_TIMEOUT"),
      split: breaks("WORK_TIMEOUT"),
    };
    expect(await findingsWith({ documents: slow })).toEqual([]);
  });

  test("waits for threads that are busy, and finds nothing for it", async () => {
    let busy = 3;
    const read: Worse<Documents>["read"] = (right) => (job) =>
      (busy -= 1) >= 0 ? Promise.reject(new SkaldError("WORK_BUSY", "later")) : right(job);
    expect(await findingsWith({ documents: { read } })).toEqual([]);
    expect(busy).toBeLessThan(0);
  });

  test("ends where it is told to stop, with what it has found", async () => {
    const early = await checkedWith({ options: { stop: () => true }, catalog: { receipt: is(undefined) } });
    expect(early.findings[0]).toMatchObject({ what: "receipts" });
    expect(early.stages).toEqual(["feed"]);
    // Also where a stage has nothing to go through, as in a db without a commit.
    const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
    await engine.create("empty");
    const stages = await engine.use("empty", async (db) => {
      const { walk } = await finished(checkLog(db.storage));
      return (await finished(checkDerived(db, db.storage, walk, { stop: () => true }))).stages;
    });
    expect(stages).toEqual(["feed"]);
    await engine.close();
  });

  test("replays documents in batches that do not take much memory, a large one alone", () => {
    const sizes = (...bytes: number[]) =>
      [
        ...batches(
          bytes.map((size): WalkedDoc => ({ state: { ...newDocState("c/a"), bytes: size }, touches: [] })),
        ),
      ].map((batch) => batch.map(({ state: { bytes: size } }) => size));
    const MIB = 1024 * 1024;
    expect(sizes()).toEqual([]);
    expect(sizes(7 * MIB, 9 * MIB, 1, 40 * MIB, 2)).toEqual([[7 * MIB, 9 * MIB], [1], [40 * MIB], [2]]);
    expect(sizes(...Array.from({ length: 501 }, () => 1)).map(({ length }) => length)).toEqual([500, 1]);
  });

  test("ends with what is nobody's fault in the db", async () => {
    const broken: Worse<Db> = {
      read: () => async () => {
        throw new SkaldError("UNAVAILABLE", "closing");
      },
    };
    await expect(findingsWith({ db: broken })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const bug: Worse<Db> = { read: () => () => Promise.reject(new TypeError("a bug")) };
    await expect(findingsWith({ db: bug })).rejects.toThrow("a bug");
    for (const work of ["read", "split"] as const)
      await expect(findingsWith({ documents: { [work]: breaks("UNAVAILABLE") } })).rejects.toMatchObject({
        code: "UNAVAILABLE",
      });
  });
});
