import * as A from "@automerge/automerge";
import { CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { readChange, type ChangeHeader } from "../../src/log/change.ts";
import { decodeCommit, encodeCommit, type Commit, type CommitEntry } from "../../src/log/commit.ts";
import { decodeDocState, encodeDocState } from "../../src/log/doc-state.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { Log } from "../../src/log/log.ts";
import { CborWriter } from "../../src/ids/cbor.ts";
import { fromHex } from "../../src/ids/hash.ts";
import { RefusedSet, tipsOf } from "../../src/log/refusals.ts";
import { writeRecord } from "../../src/log/record.ts";
import { verifyLog } from "../../src/log/verify.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { realWorld } from "../../src/world.ts";

/** Changes that were set aside, as the log has them. Which ones they are is decided elsewhere. */

const DOC = "notes/one";

function changesOf(...actors: string[]): ChangeHeader[] {
  let doc = A.init<Record<string, unknown>>({ actor: "aa".repeat(16) });
  return ["aa".repeat(16), ...actors].map((actor, i) => {
    doc = A.change(A.clone(doc, { actor }), { time: 0 }, (draft) => {
      draft[`k${i}`] = i;
    });
    return readChange(A.getLastLocalChange(doc) as Uint8Array);
  });
}
const [FIRST, SECOND, THIRD] = changesOf("bb".repeat(16), "cc".repeat(16)) as [
  ChangeHeader,
  ChangeHeader,
  ChangeHeader,
];

function open() {
  const dir = tempDir();
  const storage = createSqliteLog(dir, "db");
  const log = new Log(storage, openSqliteCatalog(dir), {
    world: { ...realWorld, now: () => 1_700_000_000_000 },
  });
  const send = (...changes: ChangeHeader[]) =>
    log.write({ author: "alice", clientTxId: "", anyActor: true, writes: [{ doc: DOC, changes }] });
  return { dir, storage, log, send };
}

/** Appends a commit that the log itself would not make. */
async function append({ storage, log }: ReturnType<typeof open>, entry: CommitEntry): Promise<void> {
  const { seq, cid } = log.head();
  const commit: Commit = {
    version: 1,
    db: log.identity.uid,
    branch: "main",
    seq: seq + 1,
    parents: cid ? [cid] : [],
    time: 1_700_000_000_000,
    author: "skald",
    entries: [entry],
    events: [],
  };
  const bytes = encodeCommit(commit);
  const { body } = writeRecord({ digest: blake3(bytes), commit: bytes, blocks: [], clientTxId: "" });
  await storage.append([{ seq: seq + 1, body }]);
}

function findings({ storage }: ReturnType<typeof open>): string[] {
  const walk = verifyLog(storage);
  for (;;) {
    const step = walk.next();
    if (step.done) return step.value.findings.map(({ what }) => what);
  }
}

describe("an entry that sets changes aside", () => {
  const entry: CommitEntry = {
    doc: DOC,
    base: [SECOND.hash],
    changes: [],
    heads: [FIRST.hash],
    refused: [SECOND.hash],
  };
  const commit: Commit = {
    version: 1,
    db: new Uint8Array(16),
    branch: "main",
    seq: 3,
    parents: [cidOf(CODEC_RAW, new Uint8Array())],
    time: 1,
    author: "skald",
    entries: [entry, { ...entry, deleted: true }],
    events: [],
    message: "set aside 1 change: no reason",
  };

  test("reads back as it was written, with its key last", () => {
    const bytes = encodeCommit(commit);
    expect(decodeCommit(bytes)).toEqual(commit);
    const text = Buffer.from(bytes).toString("latin1");
    expect(text.indexOf("grefused")).toBeGreaterThan(text.indexOf("gchanges"));
    expect(text.lastIndexOf("grefused")).toBeGreaterThan(text.indexOf("gdeleted"));
  });

  test("leaves the bytes of every other entry as they were", () => {
    const plain = { ...commit, entries: [{ doc: DOC, base: [], changes: [], heads: [FIRST.hash] }] };
    expect(Buffer.from(encodeCommit(plain)).includes("refused")).toBe(false);
  });
});

describe("a document's row", () => {
  /** The bytes of a row, in parts as they are told. */
  function row(parts: {
    items?: number;
    heads?: string[];
    actors?: string[];
    refused?: string[];
    more?: boolean;
  }) {
    const { heads = ["ab"], actors = ["aa"], refused } = parts;
    const w = new CborWriter();
    w.reset();
    w.array(parts.items ?? (refused ? 7 : 5));
    for (const number of [9, 2, 300]) w.uint(number);
    w.array(heads.length * 2);
    for (const head of heads) {
      w.bytes(fromHex(head.repeat(32)));
      w.uint(9);
    }
    w.array(actors.length * 4);
    for (const actor of actors) {
      w.bytes(fromHex(actor.repeat(16)));
      w.uint(2);
      w.bytes(fromHex("ab".repeat(32)));
      w.text("ann");
    }
    if (refused) {
      w.uint(4);
      w.array(refused.length * 2);
      for (const hash of refused) {
        w.bytes(fromHex(hash.repeat(32)));
        w.bytes(fromHex("ee".repeat(16)));
      }
    }
    if (parts.more) w.uint(1);
    return { id: 3, name: DOC, state: w.take(), first: 1, last: 4, deleted: true };
  }
  const code = (work: () => unknown): unknown => {
    try {
      work();
      return "none";
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };

  test("reads back as the state that it was", () => {
    const plain = decodeDocState(row({}));
    expect(plain).toEqual({
      id: 3,
      name: DOC,
      maxOp: 9,
      changes: 2,
      bytes: 300,
      heads: new Map([["ab".repeat(32), 9]]),
      actors: new Map([["aa".repeat(16), { seq: 2, hash: "ab".repeat(32), principal: "ann" }]]),
      refused: new Map(),
      refusedAt: 0,
      first: 1,
      last: 4,
      deleted: true,
    });
    expect(Buffer.from(encodeDocState(plain))).toEqual(Buffer.from(row({}).state));
    const many = { heads: ["ab", "cd", "ef"], actors: ["aa", "bb", "cc"], refused: ["01", "02", "03"] };
    const aside = decodeDocState(row(many));
    const starts = (names: Iterable<string>) => [...names].map((name) => name.slice(0, 2));
    expect([aside.refusedAt, starts(aside.refused.keys())]).toEqual([4, many.refused]);
    expect([starts(aside.heads.keys()), starts(aside.actors.keys())]).toEqual([many.heads, many.actors]);
    expect(Buffer.from(encodeDocState(aside))).toEqual(Buffer.from(row(many).state));
  });

  test.each([
    ["a head twice", { heads: ["ab", "ab"] }],
    ["an actor twice", { actors: ["aa", "aa"] }],
    ["a change set aside twice", { refused: ["01", "01"] }],
    ["no change set aside where there should be one", { refused: [] }],
    ["other parts", { items: 6 }],
    ["too many parts", { items: 8 }],
    ["more behind it", { more: true }],
    ["more behind what is set aside", { refused: ["01"], more: true }],
  ])("with %s is damaged", (_, parts) => {
    expect(code(() => decodeDocState(row(parts)))).toBe("DERIVED_DAMAGED");
  });

  test("cut short anywhere is damaged", () => {
    const { state, ...rest } = row({ refused: ["01"] });
    for (let length = 0; length < state.length; length += 1)
      expect(code(() => decodeDocState({ ...rest, state: state.slice(0, length) }))).toBe("DERIVED_DAMAGED");
  });
});

describe("what is set aside", () => {
  test("takes along what builds on it and what its actor did after it, and nothing else", () => {
    const change = (hash: string, actor: string, ...deps: string[]) => ({ hash, actor, deps });
    const refused = new RefusedSet();
    refused.add(change("bad", "eve"));
    expect(refused.takesIn(change("a1", "ann", "other"))).toBe(false);
    expect(refused.takesIn(change("e2", "eve", "other"))).toBe(true);
    expect(refused.takesIn(change("a2", "ann", "a1", "bad"))).toBe(true);
    // Ann's number 2 is used up, so what she does on the good branch cannot stay either.
    expect(refused.takesIn(change("a3", "ann", "a1"))).toBe(true);
    expect(refused.takesIn(change("b1", "bob", "e2"))).toBe(true);
    expect(refused.takesIn(change("c1", "cid"))).toBe(false);
    expect([...refused.hashes]).toEqual(["bad", "e2", "a2", "a3", "b1"]);
  });

  test("leaves the tips of what none of the others builds on", () => {
    const tips = (...list: [string, ...string[]][]) =>
      tipsOf(list.map(([hash, ...deps]) => ({ hash, deps })));
    expect(tips()).toEqual([]);
    expect(tips(["a", "elsewhere"])).toEqual(["a"]);
    expect(tips(["a"], ["b", "a"], ["d", "a"], ["c", "a"])).toEqual(["b", "c", "d"]);
    expect(tips(["c", "b"], ["b", "a"], ["a"])).toEqual(["c"]);
  });
});

describe("a log with changes set aside", () => {
  test("answers without them from then on, and for the points before", async () => {
    const db = open();
    await db.send(FIRST);
    const bad = await db.send(SECOND, THIRD);
    const receipt = await db.log.setAside(
      DOC,
      [THIRD.hash],
      [SECOND.hash, THIRD.hash].sort(),
      [FIRST.hash],
      "no reason",
    );
    expect(receipt).toMatchObject({ seq: 3, heads: { [DOC]: [FIRST.hash] } });
    expect(db.log.changes(DOC, 0, 3)).toEqual([FIRST.bytes]);
    for (const seq of [1, 2, 3]) expect(db.log.stateAt(DOC, seq)?.heads).toEqual([FIRST.hash]);
    expect(db.log.entryOf(DOC, bad.seq).heads).toEqual([THIRD.hash]);
    expect(db.log.commit(3)?.commit).toMatchObject({
      author: "skald",
      message: "set aside 2 changes: no reason",
      entries: [{ changes: [], refused: [SECOND.hash, THIRD.hash].sort() }],
    });
    expect(findings(db)).toEqual([]);
    await db.log.close();
  });

  test("takes them as repeats, and nothing that builds on them", async () => {
    const db = open();
    await db.send(FIRST, SECOND);
    await db.log.setAside(DOC, [SECOND.hash], [SECOND.hash], [FIRST.hash], "no reason");
    expect(await db.send(SECOND)).toMatchObject({ duplicate: true, heads: { [DOC]: [FIRST.hash] } });
    await expect(db.send(THIRD)).rejects.toMatchObject({
      code: "CHANGE_REFUSED",
      details: { doc: DOC, change: THIRD.hash, refused: [SECOND.hash] },
    });
    await expect(db.send(SECOND, THIRD)).rejects.toMatchObject({ code: "CHANGE_REFUSED" });
    expect(db.log.head().seq).toBe(2);
    await db.log.close();
  });

  test("does nothing the second time, and nothing on heads that have moved", async () => {
    const db = open();
    await db.send(FIRST, SECOND);
    await db.send(THIRD);
    await expect(
      db.log.setAside(DOC, [SECOND.hash], [SECOND.hash], [FIRST.hash], "no reason"),
    ).rejects.toMatchObject({ code: "HEADS_CONFLICT" });
    const args = [DOC, [THIRD.hash], [THIRD.hash], [SECOND.hash], "no reason"] as const;
    const [once, twice] = await Promise.all([db.log.setAside(...args), db.log.setAside(...args)]);
    expect([once.duplicate, twice.duplicate]).toEqual([false, true]);
    expect(findings(db)).toEqual([]);
    await db.log.close();
  });

  test("does nothing to a document that is not there", async () => {
    const db = open();
    await expect(db.log.setAside(DOC, [FIRST.hash], [FIRST.hash], [], "no reason")).rejects.toMatchObject({
      code: "HEADS_CONFLICT",
      details: { doc: DOC, current_heads: [] },
    });
    expect(db.log.head().seq).toBe(0);
    await db.log.close();
  });

  test("takes nothing more of an actor of which one change was set aside, whatever it builds on", async () => {
    const db = open();
    let doc = A.init<Record<string, unknown>>({ actor: "aa".repeat(16) });
    const [first, second, third] = ["a", "b", "c"].map((key) => {
      doc = A.change(doc, { time: 0 }, (draft) => void (draft[key] = 1));
      return readChange(A.getLastLocalChange(doc) as Uint8Array);
    }) as [ChangeHeader, ChangeHeader, ChangeHeader];
    await db.send(first, second);
    await db.log.setAside(DOC, [second.hash], [second.hash], [first.hash], "no reason");
    // Its next number, on exactly the heads that are left.
    const { hash: _, ...parts } = A.decodeChange(third.bytes);
    const next = readChange(A.encodeChange({ ...parts, startOp: 2, deps: [first.hash] } as never));
    expect([next.seq, next.deps]).toEqual([3, [first.hash]]);
    await expect(db.send(next)).rejects.toMatchObject({
      code: "CHANGE_REFUSED",
      details: { change: next.hash, refused: [second.hash] },
    });
    await db.log.close();
  });

  test("finds what it sets aside in a bundle, also when its catalog is made anew", async () => {
    const db = open();
    await db.send(FIRST);
    await db.send(SECOND);
    await db.send(THIRD);
    await db.log.compact(packBundle);
    const receipt = await db.log.setAside(DOC, [THIRD.hash], [THIRD.hash], [SECOND.hash], "no reason");
    expect(receipt).toMatchObject({ seq: 4, heads: { [DOC]: [SECOND.hash] } });
    expect(findings(db)).toEqual([]);
    const state = db.log.state(DOC);
    expect(state?.heads).toEqual(new Map([[SECOND.hash, SECOND.maxOp]]));
    expect(state?.refused).toEqual(new Map([[THIRD.hash, THIRD.actor]]));
    const again = new Log(db.storage, openSqliteCatalog(tempDir()));
    expect(again.state(DOC)).toEqual({ ...state, id: expect.any(Number) });
    await db.log.close();
  });

  test("that names a change which is not there is damaged, whoever derives from it", async () => {
    const db = open();
    await db.send(FIRST);
    const entry = { doc: DOC, base: [FIRST.hash], changes: [], heads: [FIRST.hash] };
    await append(db, { ...entry, refused: ["ab".repeat(32)] });
    const derive = (): unknown => new Log(db.storage, openSqliteCatalog(tempDir()));
    expect(derive).toThrow(expect.objectContaining({ code: "DB_DAMAGED" }));
    await db.log.close();
  });

  test("leaves a deleted document deleted", async () => {
    const db = open();
    await db.send(FIRST, SECOND);
    await db.log.write({
      author: "alice",
      clientTxId: "",
      writes: [{ doc: DOC, changes: [], deleted: true }],
    });
    await db.log.setAside(DOC, [SECOND.hash], [SECOND.hash], [FIRST.hash], "no reason");
    expect(db.log.state(DOC)).toMatchObject({ deleted: true });
    expect(findings(db)).toEqual([]);
    await db.log.close();
  });

  test("is the same log with a new catalog, and its states read back from one", async () => {
    const db = open();
    await db.send(FIRST, SECOND);
    await db.log.setAside(DOC, [SECOND.hash], [SECOND.hash], [FIRST.hash], "no reason");
    const state = db.log.state(DOC);
    if (!state) throw new Error("no state");
    const again = new Log(db.storage, openSqliteCatalog(tempDir()));
    expect(again.state(DOC)).toEqual(state);
    expect(state).toMatchObject({ refusedAt: 2, heads: new Map([[FIRST.hash, FIRST.maxOp]]) });
    const row = { ...state, id: 1, state: encodeDocState(state) };
    expect(decodeDocState(row)).toEqual({ ...state, id: 1 });
    await db.log.close();
  });
});

describe("verify", () => {
  const refusal = { doc: DOC, base: [THIRD.hash], changes: [] };
  const wrong: Record<string, [CommitEntry, string[]]> = {
    "names a change that was never there": [
      { ...refusal, heads: [THIRD.hash], refused: ["ab".repeat(32)] },
      ["refused"],
    ],
    "leaves what builds on the change": [
      { ...refusal, heads: [FIRST.hash, THIRD.hash].sort(), refused: [SECOND.hash] },
      ["refused"],
    ],
    "has other heads than the tips of what is left": [
      { ...refusal, heads: [FIRST.hash], refused: [THIRD.hash] },
      ["heads"],
    ],
    "names nothing": [{ ...refusal, heads: [THIRD.hash], refused: [] }, ["refused"]],
    "is right": [{ ...refusal, heads: [SECOND.hash], refused: [THIRD.hash] }, []],
  };
  test.each(Object.entries(wrong))("sees that a refusal %s", async (_, [entry, expected]) => {
    const db = open();
    await db.send(FIRST, SECOND, THIRD);
    await append(db, entry);
    expect(findings(db)).toEqual(expected);
    await db.log.close();
  });
});
