import * as A from "@automerge/automerge";
import { cidFromString, cidOf, cidToString, CODEC_RAW } from "../../src/ids/cid.ts";
import { verifyLog } from "../../src/log/verify.ts";
import { LIMITS } from "../../src/limits.ts";
import { tempDir } from "../support/temp-dir.ts";
import {
  ACTORS,
  copyOf,
  createLog,
  forge,
  lastChange,
  load,
  openLog,
  refusal,
  set,
  tx,
  write,
} from "./fixture.ts";
import { realWorld } from "../../src/world.ts";

const root = tempDir();
const DOC = "notes/a";
const [AA, BB, CC] = ACTORS;
const hashOf = (change: Uint8Array): string => A.decodeChange(change).hash as string;

/** A log with one document of one change, and the client's copy of it. */
async function withOne() {
  const { log, folder, storage } = createLog(root, {
    world: { ...realWorld, now: () => 1_700_000_000_000 },
  });
  const doc = set(copyOf(log, DOC, AA), { a: 1, b: 2 });
  const receipt = await log.write(tx(write(DOC, [lastChange(doc)])));
  return { log, folder, storage, doc, receipt };
}

describe("a write", () => {
  test("answers with the commit, its seq and the new heads", async () => {
    const { log, doc, receipt } = await withOne();
    expect(receipt).toMatchObject({ seq: 1, duplicate: false, heads: { [DOC]: A.getHeads(doc) } });
    const stored = log.commit(1);
    expect(stored && cidToString(stored.cid)).toBe(receipt.commit);
    expect(stored?.commit).toMatchObject({ seq: 1, author: "ann", branch: "main", time: receipt.time });
    expect(log.head()).toMatchObject({ seq: 1, time: receipt.time });
    await log.close();
  });

  test("of a change that is there already is a duplicate and adds nothing", async () => {
    const { log, doc, receipt } = await withOne();
    const again = await log.write(tx(write(DOC, [lastChange(doc)])));
    expect(again).toEqual({ ...receipt, duplicate: true });
    const other = await log.write(tx(write(DOC, [lastChange(doc)]), { author: "bob" }));
    expect(other.duplicate).toBe(true);
    const stale = await log.write(tx(write(DOC, [lastChange(doc)], { base: [] })));
    expect(stale.duplicate).toBe(true);
    expect(log.head().seq).toBe(1);
    await log.close();
  });

  test("of old and new changes together keeps the new ones only", async () => {
    const { log, doc } = await withOne();
    const next = set(doc, { c: 3 });
    const all = A.getAllChanges(next);
    await log.write(tx(write(DOC, [...all, lastChange(next)])));
    expect(log.commit(2)?.commit.entries[0]?.changes).toHaveLength(1);
    expect(A.toJS(load(log, DOC))).toEqual({ a: 1, b: 2, c: 3 });
    await log.close();
  });

  test("may say that it builds on nothing, or on the start that all copies share, while there is no more", async () => {
    const { log } = createLog(root);
    const born = copyOf(log, DOC, AA);
    const one = lastChange(set(born, { a: 1 }));
    const start = A.getHeads(born);
    const conflict = { code: "HEADS_CONFLICT", details: { doc: DOC } };
    expect(await refusal(log.write(tx(write(DOC, [one], { base: [hashOf(one)] }))))).toMatchObject(conflict);
    const both = [...start, hashOf(one)].sort();
    expect(await refusal(log.write(tx(write(DOC, [one], { base: both }))))).toMatchObject(conflict);
    expect(log.dryRun(tx(write(DOC, [one], { base: [] }))).seq).toBe(1);
    expect((await log.write(tx(write(DOC, [one], { base: start })))).seq).toBe(1);
    const two = lastChange(set(A.clone(born, { actor: BB }), { b: 1 }));
    expect(await refusal(log.write(tx(write(DOC, [two], { base: start }))))).toMatchObject(conflict);
    await log.close();
  });

  test("on stale heads is a conflict that names the current ones", async () => {
    const { log, doc } = await withOne();
    const mine = set(doc, { a: 2 });
    const theirs = set(A.clone(doc, { actor: BB }), { a: 3 });
    await log.write(tx(write(DOC, [lastChange(mine)], { base: A.getHeads(doc) })));
    expect(
      await refusal(log.write(tx(write(DOC, [lastChange(theirs)], { base: A.getHeads(doc) })))),
    ).toMatchObject({ code: "HEADS_CONFLICT", details: { doc: DOC, current_heads: A.getHeads(mine) } });
    expect(log.head().seq).toBe(2);
    await log.close();
  });

  test("of concurrent changes leaves several heads, and a merge of them one", async () => {
    const { log, doc } = await withOne();
    const mine = set(doc, { a: 2 });
    const theirs = set(A.clone(doc, { actor: BB }), { b: 3 });
    await log.write(tx(write(DOC, [lastChange(mine)])));
    const both = await log.write(tx(write(DOC, [lastChange(theirs)]), { author: "bob" }));
    expect(both.heads[DOC]).toEqual([...A.getHeads(mine), ...A.getHeads(theirs)].sort());
    const merged = set(A.merge(A.clone(mine, { actor: CC }), theirs), { c: 1 });
    const one = await log.write(tx(write(DOC, [lastChange(merged)], { base: both.heads[DOC] as string[] })));
    expect(one.heads[DOC]).toEqual(A.getHeads(merged));
    expect(A.toJS(load(log, DOC))).toEqual({ a: 2, b: 3, c: 1 });
    await log.close();
  });

  test("on several heads names them in any order, and all of them", async () => {
    const { log, doc } = await withOne();
    const others = [AA, BB].map((actor, i) => set(A.clone(doc, { actor }), { [`n${i}`]: i }));
    await log.write(tx(write(DOC, others.map(lastChange)), { anyActor: true }));
    const heads = log.state(DOC)?.heads.keys() ?? [];
    const [low = "", high = ""] = [...heads].sort();
    const merged = A.merge(A.clone(others[0] as never, { actor: AA }), others[1] as never);
    const merge = write(DOC, [lastChange(set(merged, { m: 1 }))]);
    const on = (...base: string[]) => tx({ ...merge, base }, { anyActor: true });
    for (const base of [[low], [high], [], [low, low], [low, high, high]])
      expect(await refusal(log.write(on(...base)))).toMatchObject({ code: "HEADS_CONFLICT" });
    expect((await log.write(on(high, low))).heads[DOC]).toHaveLength(1);
    await log.close();
  });

  test("over several documents is kept whole or not at all", async () => {
    const { log, doc } = await withOne();
    const fresh = set(copyOf(log, "notes/b", AA), { x: 1 });
    const gap = set(set(doc, { c: 1 }), { d: 1 });
    expect(
      await refusal(
        log.write(
          tx([write("notes/b", [lastChange(fresh)]), write(DOC, [lastChange(gap)])], { clientTxId: "t" }),
        ),
      ),
    ).toMatchObject({ code: "CHANGE_DEPS_MISSING" });
    expect([
      log.head().seq,
      log.state("notes/b"),
      log.seqOfChange("notes/b", hashOf(lastChange(fresh))),
    ]).toEqual([1, undefined, undefined]);
    const both = await log.write(
      tx([write("notes/b", [lastChange(fresh)]), write(DOC, A.getAllChanges(gap).slice(2))], {
        clientTxId: "t",
      }),
    );
    expect(both).toMatchObject({ seq: 2, duplicate: false });
    expect(Object.keys(both.heads)).toEqual(["notes/b", DOC]);
    await log.close();
  });

  test("with reads is refused once one of them moved, and with a seq once the db did", async () => {
    const { log, doc } = await withOne();
    const heads = A.getHeads(doc);
    const other = set(copyOf(log, "notes/b", AA), { x: 1 });
    await log.write(
      tx(write("notes/b", [lastChange(other)], {}), { reads: [{ doc: DOC, heads }], expectSeq: 1 }),
    );
    const moved = set(doc, { a: 9 });
    await log.write(tx(write(DOC, [lastChange(moved)])));
    const later = write("notes/b", [lastChange(set(other, { x: 2 }))]);
    expect(await refusal(log.write(tx(later, { reads: [{ doc: DOC, heads }] })))).toMatchObject({
      code: "HEADS_CONFLICT",
      details: { doc: DOC, current_heads: A.getHeads(moved) },
    });
    expect(await refusal(log.write(tx(later, { expectSeq: 2 })))).toMatchObject({
      code: "SEQ_CONFLICT",
      details: { seq: 3 },
    });
    expect((await log.write(tx(later, { expectSeq: 3 }))).seq).toBe(4);
    await log.close();
  });

  test("tried dry answers the same and keeps nothing", async () => {
    const { log, doc } = await withOne();
    const next = tx(write(DOC, [lastChange(set(doc, { c: 1 }))]), { clientTxId: "dry" });
    const dry = log.dryRun(next);
    expect(log.head().seq).toBe(1);
    const real = await log.write(next);
    expect(real).toEqual(dry);
    expect(real.duplicate).toBe(false);
    expect(
      await refusal(() => log.dryRun(tx(write(DOC, [lastChange(set(set(doc, { q: 1 }), { r: 1 }))])))),
    ).toMatchObject({ code: "CHANGE_DEPS_MISSING" });
    await log.close();
  });

  test("with half a surrogate pair in its message is refused", async () => {
    const { log, doc } = await withOne();
    const next = write(DOC, [lastChange(set(doc, { c: 1 }))]);
    expect(await refusal(log.write(tx(next, { message: "\ud800" })))).toMatchObject({ code: "BAD_REQUEST" });
    const message = "\u{FEFF}a mark, a \0 and a \u{1F600}";
    await log.write(tx(next, { message }));
    expect(log.commit(2)?.commit.message).toBe(message);
    await log.close();
  });
});

describe("a document", () => {
  test("has no more heads than it may, and whoever joins some is let in", async () => {
    const { log } = createLog(root);
    const most = LIMITS.document.heads.value;
    const start = lastChange(set(A.init<Record<string, unknown>>({ actor: AA }), { n: 0 }));
    const rival = (n: number) => forge(start, { actor: n.toString(16).padStart(32, "0") });
    const rivals = Array.from({ length: most + 1 }, (_, n) => rival(n + 1));
    const tooMany = { code: "DOC_TOO_LARGE", details: { doc: DOC, limit: "heads", max: most } };
    expect(await refusal(log.write(tx(write(DOC, rivals))))).toEqual(tooMany);
    expect(log.head().seq).toBe(0);
    await log.write(tx(write(DOC, rivals.slice(1))));
    expect(log.state(DOC)?.heads.size).toBe(most);
    expect(await refusal(log.write(tx(write(DOC, rivals.slice(0, 1)))))).toEqual(tooMany);
    const deps = [...(log.state(DOC)?.heads.keys() ?? [])].slice(0, 2).sort();
    const join = forge(start, { actor: BB, startOp: 2, deps });
    await log.write(tx(write(DOC, [rivals[0] as Uint8Array, join])));
    expect(log.state(DOC)?.heads.size).toBe(most);
    await log.close();
  });
});

describe("a write of nothing", () => {
  test("is answered with where the db is, also before its first commit", async () => {
    const { log } = createLog(root);
    const none = await log.write(tx(write(DOC, [])));
    expect(none).toMatchObject({ seq: 0, duplicate: true, commit: "", time: 0, heads: { [DOC]: [] } });
    expect(none.cid).toHaveLength(0);
    const first = await log.write(tx(write(DOC, [lastChange(set(copyOf(log, DOC, AA), { a: 1 }))])));
    const second = await log.write(
      tx(write("notes/b", [lastChange(set(copyOf(log, "notes/b", AA), { a: 1 }))])),
    );
    // Of a document that is there it names that one's newest commit, else the db's.
    for (const [doc, { seq, commit, time, heads }] of [
      ["notes/none", { ...second, heads: { "notes/none": [] } }],
      [DOC, first],
      ["notes/b", second],
    ] as const)
      expect(await log.write(tx(write(doc, [])))).toEqual(
        expect.objectContaining({ seq, commit, time, heads, duplicate: true }),
      );
    await log.close();
  });
});

describe("a repeated client_tx_id", () => {
  test("gets the first receipt in the same group, later and after the log was opened again", async () => {
    const { log, folder, doc } = await withOne();
    const next = tx(write(DOC, [lastChange(set(doc, { c: 1 }))]), { clientTxId: "one" });
    // A retry authors anew: other bytes, the same intent.
    const retried = tx(write(DOC, [lastChange(set(A.clone(doc, { actor: BB }), { c: 1 }))]), {
      clientTxId: "one",
    });
    const [first, same] = await Promise.all([log.write(next), log.write(retried)]);
    expect(first.duplicate).toBe(false);
    expect(same).toEqual({ ...first, duplicate: true });
    expect(await log.write(retried)).toEqual({ ...first, duplicate: true });
    await log.close();
    const again = openLog(folder);
    expect(await again.log.write(retried)).toEqual({ ...first, duplicate: true });
    expect(again.log.head().seq).toBe(2);
    await again.log.close();
  });

  test("of another principal is another write", async () => {
    const { log, doc } = await withOne();
    const mine = lastChange(set(doc, { c: 1 }));
    const theirs = lastChange(set(A.clone(doc, { actor: BB }), { c: 1 }));
    await log.write(tx(write(DOC, [mine]), { clientTxId: "one" }));
    expect(await log.write(tx(write(DOC, [theirs]), { clientTxId: "one", author: "bob" }))).toMatchObject({
      seq: 3,
      duplicate: false,
    });
    await log.close();
  });

  test("for another document is refused and names the commit", async () => {
    const { log, doc } = await withOne();
    const { commit } = await log.write(
      tx(write(DOC, [lastChange(set(doc, { c: 1 }))]), { clientTxId: "one" }),
    );
    const other = lastChange(set(copyOf(log, "notes/b", AA), { x: 1 }));
    expect(await refusal(log.write(tx(write("notes/b", [other]), { clientTxId: "one" })))).toMatchObject({
      code: "TX_ID_REUSED",
      details: { seq: 2, commit },
    });
    await log.close();
  });
});

describe("a change is refused that", () => {
  test("builds on one that is not here, naming it", async () => {
    const { log, doc } = await withOne();
    const between = set(doc, { c: 1 });
    expect(await refusal(log.write(tx(write(DOC, [lastChange(set(between, { d: 1 }))]))))).toMatchObject({
      code: "CHANGE_DEPS_MISSING",
      details: { doc: DOC, missing: [hashOf(lastChange(between))], current_heads: A.getHeads(doc) },
    });
    await log.close();
  });

  test("leaves out a number of its actor", async () => {
    const { log, doc } = await withOne();
    const forged = forge(lastChange(set(doc, { c: 1 })), { seq: 3 });
    expect(await refusal(log.write(tx(write(DOC, [forged]))))).toMatchObject({
      code: "CHANGE_SEQ",
      details: { actor: AA, expected: 2, got: 3 },
    });
    await log.close();
  });

  test("starts at an op that is too large or too small", async () => {
    const { log, doc } = await withOne();
    const honest = lastChange(set(doc, { c: 1 }));
    for (const startOp of [1, 2, 4, 1000])
      expect(await refusal(log.write(tx(write(DOC, [forge(honest, { startOp })]))))).toMatchObject({
        code: "CHANGE_START_OP",
        details: { expected: 3, got: startOp },
      });
    await log.write(tx(write(DOC, [honest])));
    await log.close();
  });

  test("has the number of another change of its actor, naming both", async () => {
    const { log, doc } = await withOne();
    const one = lastChange(set(doc, { c: 1 }));
    const two = lastChange(set(A.load<Record<string, unknown>>(A.save(doc), { actor: AA }), { c: 2 }));
    const inOne = await refusal(log.write(tx(write(DOC, [one, two]))));
    expect(inOne).toMatchObject({
      code: "CHANGE_EQUIVOCATION",
      details: { hashes: [hashOf(one), hashOf(two)] },
    });
    // Another actor's change, and another number of the same one, are not what is meant.
    const bs = set(A.clone(doc, { actor: BB }), { z: 1 });
    const later = lastChange(
      set(A.load<Record<string, unknown>>(A.save(A.applyChanges(doc, [one])[0]), { actor: AA }), { c: 3 }),
    );
    const amongOthers = await refusal(
      log.write(tx(write(DOC, [lastChange(bs), lastChange(set(bs, { z: 2 })), one, later, two]))),
    );
    expect(amongOthers).toMatchObject({ details: { actor: AA, seq: 2, hashes: [hashOf(one), hashOf(two)] } });
    const [, after] = await Promise.all([
      log.write(tx(write(DOC, [one]))),
      refusal(log.write(tx(write(DOC, [two])))),
    ]);
    expect(after).toMatchObject({ details: { actor: AA, seq: 2, hashes: [hashOf(one), hashOf(two)] } });
    await log.write(tx(write(DOC, [lastChange(bs), lastChange(set(bs, { z: 2 }))])));
    expect(await refusal(log.write(tx(write(DOC, [two]))))).toMatchObject({
      code: "CHANGE_EQUIVOCATION",
      details: { actor: AA, seq: 2, hashes: [hashOf(one), hashOf(two)] },
    });
    await log.close();
  });

  test("is by an actor of another principal, unless the db's owner brings it", async () => {
    const { log, doc } = await withOne();
    const next = write(DOC, [lastChange(set(doc, { c: 1 }))]);
    expect(await refusal(log.write(tx(next, { author: "bob" })))).toMatchObject({
      code: "CHANGE_ACTOR",
      details: { actor: AA },
    });
    expect((await log.write(tx(next, { author: "bob", anyActor: true }))).seq).toBe(2);
    // Who brought it does not become whose it is.
    const later = write(DOC, [lastChange(set(set(doc, { c: 1 }), { d: 1 }))]);
    expect(await refusal(log.write(tx(later, { author: "bob" })))).toMatchObject({ code: "CHANGE_ACTOR" });
    expect((await log.write(tx(later))).seq).toBe(3);
    await log.close();
  });

  // Automerge takes each of these, and saves a document that it can never load again.
  test("does not build on its actor's change before", async () => {
    const { log, doc } = await withOne();
    const side = set(copyOf(log, DOC, BB), { x: 1, y: 2, z: 3 });
    await log.write(tx(write(DOC, [lastChange(side)])));
    const { deps } = A.decodeChange(lastChange(doc));
    const onSide = A.getHeads(side);
    for (const alter of [
      { seq: 2, deps, startOp: 1 },
      { seq: 2, deps, startOp: 3 },
      { seq: 2, deps, startOp: 1, ops: [] },
      { seq: 2, deps: onSide, startOp: 4 },
      { seq: 2, deps: onSide, startOp: 4, ops: [] },
    ]) {
      const forged = forge(lastChange(doc), alter);
      expect(await refusal(log.write(tx(write(DOC, [forged]))))).toMatchObject({ code: "CHANGE_SEQ" });
      expect(await refusal(log.write(tx(write(DOC, [forged]), { anyActor: true })))).toMatchObject({
        code: "CHANGE_SEQ",
      });
    }
    expect(log.head().seq).toBe(2);
    await log.close();
  });

  test("takes more than a thousand steps to be seen to build on its actor's change before", async () => {
    const { log } = createLog(root);
    const one = set(copyOf(log, DOC, AA), { a: 1 });
    let other = A.clone(one, { actor: BB });
    const chain: Uint8Array[] = [];
    const next = (): string => {
      other = A.change(other, { time: 0 }, (draft) => void (draft["b"] = chain.length));
      chain.push(lastChange(other));
      return A.getHeads(other)[0] as string;
    };
    // Automerge names its change before among the deps; one that names the others' last change alone is as good.
    const after = (dep: string): Uint8Array =>
      forge(lastChange(set(A.merge(A.clone(one, { actor: AA }), other), { a: 2 })), { deps: [dep] });
    while (chain.length < 998) next();
    const near = after(next());
    expect(log.dryRun(tx(write(DOC, [lastChange(one), ...chain, near]), { anyActor: true })).seq).toBe(1);
    const far = after(next());
    expect(
      await refusal(log.write(tx(write(DOC, [lastChange(one), ...chain, far]), { anyActor: true }))),
    ).toMatchObject({
      code: "CHANGE_SEQ",
      details: { change: hashOf(far), before: hashOf(lastChange(one)) },
    });
    await log.close();
  });

  test("is by the genesis actor and not the genesis", async () => {
    const { log, doc } = await withOne();
    const genesis = A.getAllChanges(doc)[0] as Uint8Array;
    const { actor } = A.decodeChange(genesis);
    const forged = forge(lastChange(doc), { actor, deps: [] });
    for (const change of [forged, forge(lastChange(doc), { actor, seq: 2 })])
      expect(await refusal(log.write(tx(write(DOC, [change]))))).toMatchObject({ code: "CHANGE_ACTOR" });
    const other = "notes/b";
    const born = A.getAllChanges(copyOf(log, other, AA))[0] as Uint8Array;
    const child = forge(lastChange(set(copyOf(log, other, AA), { x: 1 })), {
      actor: A.decodeChange(born).actor,
      seq: 2,
    });
    expect(await refusal(log.write(tx(write(other, [born, child]))))).toMatchObject({ code: "CHANGE_ACTOR" });
    await log.write(tx(write(other, [born])));
    expect(await refusal(log.write(tx(write(other, [child]))))).toMatchObject({ code: "CHANGE_ACTOR" });
    await log.close();
  });
});

describe("the genesis", () => {
  test("sent with or after a document's first change is no head of it", async () => {
    const { log, doc } = await withOne();
    const all = A.getAllChanges(doc);
    expect(all).toHaveLength(2);
    expect(await log.write(tx(write(DOC, all)))).toMatchObject({ seq: 1, duplicate: true });
    const theirs = set(copyOf(log, DOC, BB), { x: 1 });
    const receipt = await log.write(tx(write(DOC, A.getAllChanges(theirs)), { author: "bob" }));
    expect(receipt.heads[DOC]).toEqual([...A.getHeads(doc), ...A.getHeads(theirs)].sort());
    expect(log.commit(2)?.commit.entries[0]?.changes).toHaveLength(1);
    await log.close();
  });

  test("alone makes an empty document that anyone may go on from", async () => {
    const { log } = createLog(root);
    const born = copyOf(log, DOC, AA);
    const genesis = A.getAllChanges(born);
    const first = await log.write(tx(write(DOC, genesis), { author: "bob" }));
    expect(first).toMatchObject({ seq: 1, heads: { [DOC]: A.getHeads(born) } });
    expect(await log.write(tx(write(DOC, genesis)))).toMatchObject({ duplicate: true });
    const next = await log.write(tx(write(DOC, A.getAllChanges(set(born, { a: 1 })))));
    expect(next).toMatchObject({ seq: 2, duplicate: false });
    expect(next.heads[DOC]).toHaveLength(1);
    await log.close();
  });
});

describe("changes made at an older point", () => {
  test("are taken as Automerge makes them, again and again, and after much else", async () => {
    const { log, storage, doc } = await withOne();
    const old = A.getHeads(doc);
    let now: Doc = doc;
    const send = async (next: typeof doc): Promise<void> => {
      const known = new Set(A.getAllChanges(now).map(hashOf));
      const fresh = A.getAllChanges(next).filter((change) => !known.has(hashOf(change)));
      now = next;
      await log.write(tx(write(DOC, fresh)));
    };
    type Doc = typeof doc;
    await send(set(now, { c: 1 }));
    const at = (heads: string[], values: Record<string, unknown>) =>
      A.changeAt(A.clone(now, { actor: AA }), heads, { time: 0 }, (draft) => {
        Object.assign(draft, values);
      });
    const one = at(old, { o: 1 });
    await send(one.newDoc);
    const two = at(old, { o: 2 });
    await send(two.newDoc);
    await send(at(two.newHeads as string[], { p: 1 }).newDoc);
    for (let i = 0; i < 30; i += 1) await send(set(now, { i }));
    // The isolated actor goes on from heads that lead to its last change, without naming it.
    await send(at(A.getHeads(now), { q: 1 }).newDoc);
    await send(set(now, { r: 1 }));
    expect(log.state(DOC) && [...(log.state(DOC)?.heads.keys() ?? [])].sort()).toEqual(A.getHeads(now));
    expect(A.toJS(A.load(A.save(load(log, DOC))))).toEqual(A.toJS(now));
    const walk = verifyLog(storage);
    let step = walk.next();
    while (!step.done) step = walk.next();
    expect(step.value.findings).toEqual([]);
    await log.close();
  });
});

test("a change may follow its actor's change before over one of another without operations", async () => {
  const { log, doc } = await withOne();
  const [before] = A.getHeads(doc) as [string];
  const { startOp } = A.decodeChange(lastChange(set(doc, { c: 1 })));
  const empty = forge(lastChange(doc), { actor: BB, ops: [], startOp, deps: [before] });
  const next = forge(lastChange(set(doc, { c: 1 })), { deps: [hashOf(empty)] });
  await log.write(tx(write(DOC, [empty]), { author: "bob" }));
  expect(await log.write(tx(write(DOC, [next])))).toMatchObject({ seq: 3, heads: { [DOC]: [hashOf(next)] } });
  // Also when both come together, where nothing says that the one before was alone.
  const { log: other, doc: same } = await withOne();
  const first = A.getHeads(same) as [string];
  const between = forge(lastChange(same), { actor: BB, ops: [], startOp, deps: first });
  const later = forge(lastChange(set(same, { c: 1 })), { deps: [hashOf(between)] });
  await other.write(tx(write(DOC, [between, later]), { anyActor: true }));
  expect(other.head().seq).toBe(2);
  await Promise.all([log.close(), other.close()]);
});

describe("addresses", () => {
  test("lead to the bytes of commits and changes, from memory and from disk", async () => {
    const { log, folder, doc, receipt } = await withOne();
    const change = lastChange(doc);
    const check = (held: typeof log): void => {
      expect(held.findCommit(cidFromString(receipt.commit))).toBe(1);
      expect(held.block(cidFromString(receipt.commit))).toEqual(held.commit(1)?.bytes);
      expect([...(held.block(cidOf(CODEC_RAW, change)) ?? [])]).toEqual([...change]);
      expect(held.seqOfChange(DOC, hashOf(change))).toBe(1);
      expect(held.seqOfChange("notes/b", hashOf(change))).toBeUndefined();
      expect(held.block(cidOf(CODEC_RAW, new Uint8Array([1])))).toBeUndefined();
      // The same digest under the other codec is another address.
      const other = cidFromString(receipt.commit);
      other[1] = CODEC_RAW;
      expect(held.block(other)).toBeUndefined();
      expect(held.findCommit(other)).toBeUndefined();
    };
    check(log);
    await log.close();
    const again = openLog(folder);
    check(again.log);
    await again.log.close();
  });
});
