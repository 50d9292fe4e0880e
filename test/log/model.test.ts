import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { readChange, type ChangeHeader } from "../../src/log/change.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { Log } from "../../src/log/log.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { memoryFolder } from "../support/memory-folder.mjs";
import { memoryLog } from "../support/memory-log.ts";
import type { Transaction } from "../../src/log/transaction.ts";
import { realWorld } from "../../src/world.ts";
import { verifyLog } from "../../src/log/verify.ts";
import { seedOf } from "../support/fault-process.ts";
import { createLog, type OpenLog } from "./fixture.ts";
import { LogModel, type ChangePlan, type ModelEntry, type TxPlan, type WritePlan } from "./model.ts";

/** Sequences of transactions, several at a time, against the log and against the model of it. */

// Nothing here is about the disk, and a sync of it takes longer than everything else.
const root = mkdtempSync(path.join(memoryFolder() ?? tmpdir(), "skald-model-"));
let clock = 1_700_000_000_000;
const options = { world: { ...realWorld, now: () => (clock += [5, 0, -3][clock % 3] as number) } };
let opened: OpenLog = createLog(root, options, (storage) => {
  storage.close();
  return memoryLog(storage.identity);
});
afterAll(async () => {
  await opened.log.close();
  rmSync(root, { recursive: true, force: true });
});

const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 60);
let run = 0;

interface Real {
  /** The log, or something wrong in its place. */
  readonly write: (tx: Transaction) => Promise<unknown>;
  readonly prefix: string;
}

interface Outcome {
  readonly code?: string;
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly heads?: Readonly<Record<string, readonly string[]>>;
}

const WRONG = ["ab".repeat(32)];

/** The transaction of a plan, and what the model says of it; the model moves on. */
function expected(model: LogModel, plan: TxPlan, prefix: string): { tx: Transaction; outcome: Outcome } {
  const docs = plan.writes.map((write) => `${prefix}/d${write.doc}`);
  const after = new Map<string, ReturnType<LogModel["doc"]>>();
  const made = plan.writes.map((write, i) => {
    const before = model.doc(docs[i] as string);
    // Plans of one write build on each other, also when the one before will be refused.
    const copy = { ...before, changes: new Map(before.changes), refused: new Set(before.refused) };
    const changes = write.changes.map((change) => {
      const header = model.make(docs[i] as string, change, copy);
      if (!copy.changes.has(header.hash)) copy.changes.set(header.hash, { header, principal: plan.author });
      return header;
    });
    const base = model.heads(before);
    return { write, doc: docs[i] as string, changes, base };
  });
  const headsFor = (how: TxPlan["read"], doc: string): string[] =>
    how === "wrong" ? WRONG : model.heads(model.doc(doc));
  const tx: Transaction = {
    author: plan.author,
    clientTxId: plan.id === "" ? "" : `${prefix}-${plan.id}`,
    writes: made.map(({ write, doc, changes }) => ({
      doc,
      changes,
      ...(write.base === "none" ? {} : { base: headsFor(write.base, doc) }),
      ...(write.deleted ? { deleted: true } : {}),
    })),
    ...(plan.expect === "none" ? {} : { expectSeq: plan.expect === "right" ? model.seq : model.seq + 7 }),
    ...(plan.read === "none"
      ? {}
      : { reads: [{ doc: `${prefix}/d0`, heads: headsFor(plan.read, `${prefix}/d0`) }] }),
  };
  const receipt = `${plan.author} ${plan.id}`;
  const first = plan.id === "" ? undefined : model.receipts.get(receipt);
  if (first !== undefined) {
    const entries = model.commits.get(first) ?? [];
    const reused = !entries.every((entry) => docs.includes(entry.doc));
    return { tx, outcome: reused ? { code: "TX_ID_REUSED" } : { seq: first, duplicate: true } };
  }
  if (plan.expect === "wrong") return { tx, outcome: { code: "SEQ_CONFLICT" } };
  if (plan.read === "wrong") return { tx, outcome: { code: "HEADS_CONFLICT" } };
  const entries: ModelEntry[] = [];
  for (const { write, doc, changes } of made) {
    const before = model.doc(doc);
    const next = { ...before, changes: new Map(before.changes) };
    const fresh: ChangeHeader[] = [];
    for (const header of changes) {
      const code = model.refusal(doc, header, next, plan.author, before);
      if (code === "here") continue;
      if (code !== undefined) return { tx, outcome: { code } };
      next.changes.set(header.hash, { header, principal: plan.author });
      fresh.push(header);
    }
    if (write.base === "wrong" && (fresh.length > 0 || changes.length === 0))
      return { tx, outcome: { code: "HEADS_CONFLICT" } };
    if (fresh.length === 0 && write.deleted === before.deleted) continue;
    if (fresh.length === 0 && !write.deleted && changes.length > 0) continue;
    next.deleted = write.deleted;
    after.set(doc, next);
    entries.push({
      doc,
      heads: model.heads(next),
      changes: fresh.map(({ hash }) => hash),
      deleted: write.deleted,
    });
  }
  if (entries.length === 0) {
    const last = Math.max(0, ...docs.map((doc) => model.doc(doc).last));
    return { tx, outcome: { seq: last === 0 ? model.seq : last, duplicate: true } };
  }
  model.seq += 1;
  for (const [doc, next] of after) model.docs.set(doc, { ...next, last: model.seq });
  model.commits.set(model.seq, entries);
  if (plan.id !== "") model.receipts.set(receipt, model.seq);
  return {
    tx,
    outcome: {
      seq: model.seq,
      duplicate: false,
      heads: Object.fromEntries(entries.map(({ doc, heads }) => [doc, heads])),
    },
  };
}

class Together implements fc.AsyncCommand<LogModel, Real> {
  readonly plans: readonly TxPlan[];
  constructor(plans: readonly TxPlan[]) {
    this.plans = plans;
  }
  check = () => true;
  async run(model: LogModel, { write, prefix }: Real): Promise<void> {
    const all = this.plans.map((plan) => expected(model, plan, prefix));
    const outcomes = await Promise.all(
      all.map(({ tx }) =>
        write(tx).then(
          (receipt) => receipt as Outcome,
          (error: unknown): Outcome => ({ code: (error as Outcome).code ?? String(error) }),
        ),
      ),
    );
    all.forEach(({ outcome }, i) => {
      const { code, seq, duplicate, heads } = outcomes[i] as Outcome;
      const found = code !== undefined ? { code } : { seq, duplicate, ...(outcome.heads ? { heads } : {}) };
      expect(found).toEqual(outcome);
    });
  }
  toString = () => `together(${JSON.stringify(this.plans)})`;
}

class SetAside implements fc.AsyncCommand<LogModel, Real> {
  readonly at: number;
  readonly pick: number;
  constructor(at: number, pick: number) {
    this.at = at;
    this.pick = pick;
  }
  check = (model: Readonly<LogModel>) => model.docs.size > 0;
  async run(model: LogModel): Promise<void> {
    const [name, doc] = [...model.docs][this.at % model.docs.size] as [string, ReturnType<LogModel["doc"]>];
    const known = [...doc.changes.keys()].filter((hash) => !doc.refused.has(hash));
    if (known.length === 0) return;
    const refused = model.above([known[this.pick % known.length] as string], doc);
    const base = model.heads(doc);
    for (const hash of refused) doc.refused.add(hash);
    const heads = model.heads(doc);
    const receipt = await opened.log.setAside(name, base, refused, heads, "model");
    model.seq += 1;
    doc.last = model.seq;
    model.commits.set(model.seq, [{ doc: name, heads, changes: [], deleted: doc.deleted }]);
    expect(receipt).toMatchObject({ seq: model.seq, heads: { [name]: heads } });
  }
  toString = () => `setAside(${this.at}, ${this.pick})`;
}

/** Asks the log everything it can be asked of what the model holds. */
class Look implements fc.AsyncCommand<LogModel, Real> {
  readonly page: number;
  constructor(page: number) {
    this.page = page;
  }
  check = () => true;
  async run(model: LogModel, { prefix }: Real): Promise<void> {
    const { log } = opened;
    expect(log.head().seq).toBe(model.seq);
    this.#commits(model, log);
    const names = [...model.docs.keys()].sort();
    for (const withDeleted of [true, false]) {
      const listed: string[] = [];
      for (;;) {
        const part = log
          .list(`${prefix}/`, listed.at(-1) ?? "", this.page, withDeleted)
          .map(({ name }) => name);
        listed.push(...part);
        if (part.length < this.page) break;
      }
      expect(listed).toEqual(names.filter((name) => withDeleted || !model.doc(name).deleted));
    }
    for (const name of names) this.#doc(model, log, name);
  }
  #commits(model: LogModel, log: Log): void {
    let time = 0;
    for (let from = model.first + 1; from <= model.seq; from += this.page) {
      for (const { commit, cid } of log.commits(from, this.page)) {
        expect(commit.time).toBeGreaterThanOrEqual(time);
        time = commit.time;
        if (commit.seq > model.seq) continue;
        const entries = commit.entries.map(({ doc, heads, deleted }) => ({
          doc,
          heads,
          deleted: deleted === true,
        }));
        const should = (model.commits.get(commit.seq) ?? []).map(({ doc, heads, deleted }) => ({
          doc,
          heads,
          deleted,
        }));
        expect(entries).toEqual(should);
        expect(log.findCommit(cid)).toBe(commit.seq);
        for (const address of commit.entries.flatMap((entry) => entry.changes))
          expect(log.block(address)).toBeDefined();
      }
    }
  }
  #doc(model: LogModel, log: Log, name: string): void {
    const doc = model.doc(name);
    const touched = [...model.commits].filter(([, entries]) => entries.some((entry) => entry.doc === name));
    const seqs: number[] = [];
    for (;;) {
      const part = log.history(name, (seqs.at(-1) ?? model.seq + 1) - 1, this.page);
      seqs.push(...part);
      if (part.length < this.page) break;
    }
    expect(seqs).toEqual(touched.map(([seq]) => seq).reverse());
    const state = log.stateAt(name, model.seq);
    expect(state && { ...state }).toEqual({ seq: doc.last, heads: model.heads(doc), deleted: doc.deleted });
    const hashes = log.changes(name, 0, model.seq).map((bytes) => readChange(bytes).hash);
    const here = touched.flatMap(([, entries]) =>
      entries.filter((entry) => entry.doc === name).flatMap(({ changes }) => changes),
    );
    expect(hashes).toEqual(here.filter((hash) => !doc.refused.has(hash)));
    for (const [seq, entries] of touched) {
      if (doc.refused.size > 0) break;
      const entry = entries.find((candidate) => candidate.doc === name);
      expect(log.stateAt(name, seq)).toMatchObject({ seq, heads: entry?.heads, deleted: entry?.deleted });
    }
  }
  toString = () => `look(${this.page})`;
}

class Reopen implements fc.AsyncCommand<LogModel, Real> {
  check = () => true;
  async run(): Promise<void> {
    await opened.log.close();
    const { folder, storage } = opened;
    opened = { folder, storage, log: new Log(storage, openSqliteCatalog(folder), options) };
  }
  toString = () => "reopen";
}

const rarely = <T>(often: T, ...seldom: T[]): fc.Arbitrary<T> =>
  fc.oneof(
    { weight: 40, arbitrary: fc.constant(often) },
    ...seldom.map((one) => ({ weight: 1, arbitrary: fc.constant(one) })),
  );
const change: fc.Arbitrary<ChangePlan> = fc.record({
  actor: fc.nat(2),
  on: rarely<ChangePlan["on"]>("heads", "one", "own", "own", "own", "genesis", "older", "missing"),
  seqOff: rarely(0, -1, 1),
  opOff: rarely(0, -1, 1, 2),
  tag: fc.nat(3),
  again: rarely(false, true),
});
const oneWrite: fc.Arbitrary<WritePlan> = fc.record({
  doc: fc.nat(2),
  changes: fc.oneof(
    { weight: 9, arbitrary: fc.array(change, { minLength: 1, maxLength: 3 }) },
    fc.constant([]),
  ),
  base: rarely<WritePlan["base"]>("none", "right", "right", "wrong"),
  deleted: rarely(false, true),
});
const tx: fc.Arbitrary<TxPlan> = fc.record({
  author: rarely("ann", "bob", "bob"),
  id: rarely("", "t1", "t2"),
  expect: rarely<TxPlan["expect"]>("none", "right", "wrong"),
  read: rarely<TxPlan["read"]>("none", "right", "wrong"),
  writes: fc.uniqueArray(oneWrite, { minLength: 1, maxLength: 2, selector: (one) => one.doc }),
});
const commands = (most: number) =>
  fc.commands<LogModel, Real>(
    [
      fc.array(tx, { minLength: 1, maxLength: 3 }).map((plans) => new Together(plans)),
      fc.array(tx, { minLength: 1, maxLength: 1 }).map((plans) => new Together(plans)),
      fc.tuple(fc.nat(2), fc.nat(9)).map(([at, pick]) => new SetAside(at, pick)),
      fc.integer({ min: 1, max: 4 }).map((page) => new Look(page)),
      fc.constant(new Reopen()),
    ],
    { maxCommands: most, size: "+1" },
  );

const genesisIn =
  (log: Log) =>
  (doc: string): ChangeHeader => {
    const [collection = "", key = ""] = doc.split("/");
    return readChange(genesisOf(log.identity.uid, collection, key).bytes);
  };

const property = (write: Real["write"], most: number) =>
  fc.asyncProperty(commands(most), async (list) => {
    const prefix = `r${(run += 1)}`;
    const model = new LogModel(opened.log.head().seq, genesisIn(opened.log));
    await fc.asyncModelRun(
      () => ({ model, real: { write, prefix } }),
      [...(list as Iterable<unknown> as Iterable<fc.AsyncCommand<LogModel, Real>>), new Look(2)],
    );
  });

describe("a log", () => {
  test("answers as its model does, whatever is written in whatever order", async () => {
    await fc.assert(
      property((one) => opened.log.write(one), 14),
      { numRuns: RUNS, seed: seedOf() },
    );
  }, 600_000);

  test("verifies after all of it", () => {
    const walk = verifyLog(opened.storage);
    for (;;) {
      const step = walk.next();
      if (!step.done) continue;
      expect(step.value).toMatchObject({ findings: [], checked: opened.log.head().seq });
      return;
    }
  });

  test.each<[string, Real["write"], string]>([
    [
      "forgets who an actor belongs to",
      (one) => opened.log.write({ ...one, anyActor: true }),
      "CHANGE_ACTOR",
    ],
    [
      "does not look at the base",
      (one) =>
        opened.log.write({
          ...one,
          writes: one.writes.map(({ doc, changes, deleted }) => ({
            doc,
            changes,
            deleted: deleted === true,
          })),
        }),
      "HEADS_CONFLICT",
    ],
    ["forgets receipts", (one) => opened.log.write({ ...one, clientTxId: "" }), "duplicate"],
    ["answers before it writes", async (one) => opened.log.dryRun(one), ""],
  ])(
    "that %s is found, and by a short sequence",
    async (_, write, said) => {
      const found = await fc.check(property(write, 14), { numRuns: 3000, seed: 11, endOnFailure: false });
      expect(found.failed).toBe(true);
      expect(String(found.errorInstance)).toContain(said);
      const ran = (found.counterexample?.[0] as Iterable<unknown> | undefined) ?? [];
      const kept =
        [...ran]
          .map(String)
          .join()
          .match(/together|setAside|look|reopen/g) ?? [];
      expect(kept.length).toBeLessThanOrEqual(3);
    },
    120_000,
  );
});
