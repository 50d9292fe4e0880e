import path from "node:path";
import { mkdtempSync } from "node:fs";
import { mergeLines, stageRecords } from "../../src/log/adopt.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { MAIN } from "../../src/log/branches.ts";
import { decodeEvent, encodeEvent } from "../../src/log/event.ts";
import { Log } from "../../src/log/log.ts";
import { encodeSchemaEvent, schemaEventsIn, type SchemaEvent } from "../../src/log/schema-events.ts";
import type { CatalogBatch, CatalogTable, LogStorage } from "../../src/store/contract.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { CatalogAround } from "../support/broken-builds.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { copyOf, lastChange, set, tx, write } from "./fixture.ts";

/** Statements of schemas and stored ones, along branches and merges, against a model that follows the page in words. */
const root = memoryDir();
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 3);
const STEPS = 70;

type Wrap = (table: CatalogTable) => CatalogTable;

class Copy {
  readonly folder = path.join(mkdtempSync(path.join(root, "log-")), "db");
  storage: LogStorage;
  log: Log;

  readonly #wrap: Wrap;

  constructor(uid?: Uint8Array, wrap: Wrap = (table) => table) {
    this.#wrap = wrap;
    this.storage = createSqliteLog(this.folder, "notes", { reserve: 0, ...(uid ? { uid } : {}) });
    this.log = new Log(this.storage, wrap(openSqliteCatalog(this.folder)));
  }

  /** Opened again, with its catalog or without. */
  async reopen(drop: boolean): Promise<void> {
    await this.log.close();
    if (drop) dropSqliteCatalog(this.folder);
    this.storage = openSqliteLog(this.folder, "notes");
    this.log = new Log(this.storage, this.#wrap(openSqliteCatalog(this.folder)));
  }

  /** Takes in what another copy has more. */
  async follow({ log }: Copy): Promise<void> {
    const { seq } = this.log.head();
    const bodies = log.bodies(seq + 1, 10_000, Infinity).map(({ body }) => body);
    if (bodies.length > 0) await this.log.receive(this.log.head(), bodies);
  }

  put(doc: string, actor: string, branch = MAIN): Promise<unknown> {
    const change = lastChange(set(copyOf(this.log, doc, actor), { v: doc }));
    return this.log.write(tx(write(doc, [change]), { branch }));
  }

  say(events: readonly (SchemaEvent | Uint8Array)[], branch = MAIN): Promise<unknown> {
    const bytes = events.map((event) => (ArrayBuffer.isView(event) ? event : encodeSchemaEvent(event)));
    return this.log.write(tx([], { branch, events: bytes }));
  }

  sql(branch = MAIN, at = this.log.head().seq): string[] {
    return this.log.schemaAt(branch, at).map(({ sql }) => sql);
  }
}

const make = (sql: string): SchemaEvent => ({ type: "schema.change", sql });
const save = (name: string, sql: string): SchemaEvent => ({ type: "query.save", name, sql });

interface ModelBranch {
  readonly id: number;
  readonly name: string;
  readonly parent: number;
  readonly fork: number;
  open: boolean;
  deleted: boolean;
}

interface Step {
  readonly seq: number;
  readonly branch: number;
  readonly sql?: string;
  readonly merged?: { readonly from: number; readonly upTo: number };
}

class Model {
  readonly branches: ModelBranch[] = [{ id: 0, name: MAIN, parent: 0, fork: 0, open: true, deleted: false }];
  readonly steps: Step[] = [];
  /** The branch of each commit. */
  readonly of: number[] = [];

  isOn(id: number, seq: number): boolean {
    if (this.of[seq] === id) return true;
    const { parent, fork } = this.branches.find((one) => one.id === id) as ModelBranch;
    return id !== 0 && seq <= fork && this.isOn(parent, seq);
  }

  readonly #known = new Map<string, string[]>();

  /** In the order of the commits of its past; what a merge brings stands where the merge does. */
  schema(id: number, upTo: number): string[] {
    const steps = this.steps.findLast(({ seq }) => seq <= upTo)?.seq ?? 0;
    const key = `${id} ${Math.min(steps, upTo)} ${this.branches.length}`;
    let found = this.#known.get(key);
    if (!found) this.#known.set(key, (found = this.#fold(id, upTo)));
    return found;
  }

  #fold(id: number, upTo: number): string[] {
    const found: string[] = [];
    for (const { seq, sql, merged } of this.steps) {
      if (seq > upTo || !this.isOn(id, seq)) continue;
      const brought = merged ? this.schema(merged.from, merged.upTo) : [sql as string];
      for (const one of brought) if (!found.includes(one)) found.push(one);
    }
    return found;
  }
}

async function run(
  seed: number,
  wrap?: Wrap,
): Promise<{ copy: Copy; model: Model; statements: number; merges: number }> {
  const random = seeded(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const copy = new Copy(undefined, wrap);
  const clone = new Copy(copy.log.identity.uid);
  const model = new Model();
  let n = 0;
  let merges = 0;
  const seq = (): number => copy.log.head().seq;
  const actor = (): string => (n += 1).toString(16).padStart(32, "0");
  await copy.put("d/first", actor());
  model.of[1] = 0;
  for (let i = 0; i < STEPS; i += 1) {
    const open = model.branches.filter((branch) => branch.open);
    const branch = pick(open);
    const at = random();
    const before = seq();
    if (at < 0.12 && open.length < 5) {
      const from = pick(model.branches.filter(({ deleted }) => !deleted));
      const past = Array.from({ length: before + 1 }, (_, s) => s).filter(
        (s) => s === 0 || model.isOn(from.id, s),
      );
      const fork = pick(past);
      const name = `b${random() < 0.3 ? "x" : (n += 1)}`;
      if (model.branches.some((one) => one.name === name && !one.deleted)) continue;
      await copy.log.createBranch(name, { author: "ann", from: from.name, at: fork });
      model.branches.push({ id: seq(), name, parent: from.id, fork, open: true, deleted: false });
      model.of[seq()] = seq();
    } else if (at < 0.45) {
      const several = random() < 0.2 ? [make(`s${(n += 1)}`), make(`s${(n += 1)}`)] : [make(`s${(n += 1)}`)];
      await copy.say(several, branch.name);
      model.of[seq()] = branch.id;
      for (const event of several)
        model.steps.push({ seq: seq(), branch: branch.id, sql: (event as { sql: string }).sql });
    } else if (at < 0.6) {
      await copy.put(`d/${(n += 1)}`, actor(), branch.name);
      model.of[seq()] = branch.id;
    } else if (at < 0.78) {
      const from = pick(model.branches.filter(({ deleted }) => !deleted));
      if (from.id === branch.id) continue;
      const merged = await copy.log.merge({
        author: "ann",
        clientTxId: "",
        from: from.name,
        into: branch.name,
      });
      if (merged.duplicate) {
        // Then there was nothing to bring.
        expect(
          model.schema(from.id, before).filter((one) => !model.schema(branch.id, before).includes(one)),
        ).toEqual([]);
        continue;
      }
      merges += 1;
      model.of[seq()] = branch.id;
      model.steps.push({ seq: seq(), branch: branch.id, merged: { from: from.id, upTo: merged.from } });
    } else if (at < 0.84 && branch.id !== 0) {
      await (random() < 0.5
        ? copy.log.closeBranch(branch.name, { author: "ann" })
        : copy.log.deleteBranch(branch.name, { author: "ann" }).then(() => (branch.deleted = true)));
      branch.open = false;
      model.of[seq()] = branch.id;
    } else if (at < 0.88) await copy.reopen(random() < 0.5);
    else if (at < 0.92) await copy.log.compact(packBundle, { upTo: Math.floor(random() * before) });
    else if (at < 0.95) await clone.follow(copy);
  }
  await clone.follow(copy);
  for (const one of [copy, clone]) compare(one.log, model);
  await copy.reopen(true);
  compare(copy.log, model);
  expect(findingsIn(copy.storage)).toEqual([]);
  return { copy, model, statements: model.steps.length - merges, merges };
}

function compare(log: Log, model: Model): void {
  const head = log.head().seq;
  const bySeq = new Map([[0, ""]]);
  for (const { id, name, deleted } of model.branches) {
    if (deleted) continue;
    for (let at = 0; at <= head; at += 1) {
      const wanted = model.schema(id, at).join();
      const given = log
        .schemaAt(name, at)
        .map(({ sql }) => sql)
        .join();
      if (given !== wanted) throw new Error(`${name} at ${at} has ${given} and not ${wanted}`);
      const last = log.schemaSeq(name, at);
      // Where the last addition is the same, so is all of it.
      if ((bySeq.get(last) ?? wanted) !== wanted)
        throw new Error(`${name} at ${at} is not told apart by ${last}`);
      bySeq.set(last, wanted);
    }
  }
}

test(`schemas of branches are those of their pasts and of what was merged, at every commit (${RUNS} runs)`, async () => {
  const seed = seedOf();
  let [statements, merges] = [0, 0];
  for (let i = 0; i < RUNS; i += 1) {
    try {
      const done = await run(seed + i);
      statements += done.statements;
      merges += done.merges;
      await done.copy.log.close();
    } catch (error) {
      throw new Error(`with SKALD_TEST_SEED=${seed + i} and one run`, { cause: error });
    }
  }
  if (process.env["SKALD_TEST_RUNS"]) console.error({ RUNS, statements, merges });
  expect(statements).toBeGreaterThan(5 * RUNS);
  expect(merges).toBeGreaterThan(RUNS);
});

/** Forgets what merges bring. */
class WithoutMerges extends CatalogAround {
  override write(batch: CatalogBatch): void {
    const facts = (batch.facts ?? []).filter(
      ({ kind, value }) => kind !== "schema" || decodeEvent(value).type === "schema.change",
    );
    this.sound.write({ ...batch, facts });
  }
}

test("a catalog that loses what merges bring is noticed", async () => {
  const losing: Wrap = (table) => new WithoutMerges(table);
  const seed = seedOf();
  const runs = Array.from({ length: 4 }, async (_, i) => (await run(seed + i, losing)).copy.log.close());
  const failed = (await Promise.allSettled(runs)).filter(({ status }) => status === "rejected");
  expect(String((failed[0] as PromiseRejectedResult).reason)).toMatch(/ has .* and not /);
});

test("a branch that has nothing but statements is merged, once, and that is no fast forward where both have some", async () => {
  const copy = new Copy();
  await copy.put("d/a", "0a".repeat(16));
  await copy.log.createBranch("side", { author: "ann" });
  await copy.say([make("one")], "side");
  await copy.say([make("two")]);
  const merge = { author: "ann", clientTxId: "", from: "side", into: MAIN };
  expect(await copy.log.merge({ ...merge, dryRun: true })).toMatchObject({
    duplicate: false,
    fastForward: false,
  });
  expect(copy.sql()).toEqual(["two"]);
  expect(await copy.log.merge(merge)).toMatchObject({ duplicate: false, fastForward: false });
  expect(await copy.log.merge(merge)).toMatchObject({ duplicate: true });
  expect(copy.sql()).toEqual(["two", "one"]);
  expect(copy.sql("side")).toEqual(["one"]);
  expect(copy.log.schemaAt(MAIN, 9).map(({ seq, index }) => [seq, index])).toEqual([
    [4, 0],
    [3, 0],
  ]);
  expect(copy.log.schemaSeq(MAIN, 9)).toBe(5);
  expect(findingsIn(copy.storage)).toEqual([]);
});

const STRANGE: readonly Uint8Array[] = [
  Buffer.from("no event at all"),
  encodeEvent({ type: "schema.change" }),
  encodeEvent({ type: "schema.change", sql: 7 }),
  encodeEvent({ type: "schema.change", sql: "" }),
  encodeEvent({ type: "schema.change", sql: "x", more: true }),
  encodeEvent({ type: "schema.change", sql: "x", name: "n" }),
  encodeEvent({ type: "schema.change", sql: "x".repeat(64 * 1024 + 1) }),
  encodeEvent({ type: "query.save", name: "a/b", sql: "x" }),
  encodeEvent({ type: "query.save", name: "n" }),
  encodeEvent({ type: "query.save", sql: "x" }),
  encodeEvent({ type: "query.save", name: "n", sql: "x", description: 3 }),
  encodeEvent({ type: "query.remove", name: "kept", sql: "x" }),
  encodeEvent({ type: "query.remove" }),
];

test("events that have such a type and not its form are kept, passed on and say nothing", async () => {
  const copy = new Copy();
  await copy.say([make("good"), save("kept", "select 1"), ...STRANGE]);
  await copy.say([make("half \u00e9"), ...STRANGE]);
  const clone = new Copy(copy.log.identity.uid);
  await clone.follow(copy);
  for (const one of [copy, clone]) {
    expect(one.sql()).toEqual(["good", "half \u00e9"]);
    expect(one.log.statements()).toEqual([{ name: "kept", sql: "select 1", seq: 1 }]);
    expect(findingsIn(one.storage)).toEqual([]);
    await one.reopen(true);
    expect(one.sql()).toEqual(["good", "half \u00e9"]);
    expect(one.log.statement("kept")?.sql).toBe("select 1");
  }
});

test("an event without its bytes says nothing", async () => {
  const copy = new Copy();
  await copy.say([make("one"), make("two")]);
  const stored = copy.log.commit(1);
  if (!stored) throw new Error("there is no commit");
  const erased = { ...stored, blocks: [new Uint8Array(0), stored.blocks[1] as Uint8Array] };
  expect(schemaEventsIn(erased).map(({ event }) => event)).toEqual([make("two")]);
});

test("the last word on a stored statement counts, whichever branch it is said on", async () => {
  const copy = new Copy();
  await copy.put("d/a", "0a".repeat(16));
  await copy.log.createBranch("side", { author: "ann" });
  await copy.say([
    save("a", "1"),
    save("b", "1"),
    { ...save("c", "1"), description: "what it is for" } as SchemaEvent,
  ]);
  await copy.say([save("a", "2"), { type: "query.remove", name: "b" }], "side");
  await copy.say([save("z", "1"), { type: "query.remove", name: "z" }, save("z", "2")]);
  const wanted = [
    { name: "a", sql: "2", seq: 4 },
    { name: "c", sql: "1", description: "what it is for", seq: 3 },
    { name: "z", sql: "2", seq: 5 },
  ];
  expect(copy.log.statements()).toEqual(wanted);
  expect(copy.log.statement("b")).toBeUndefined();
  await copy.reopen(false);
  expect(copy.log.statements()).toEqual(wanted);
  await copy.reopen(true);
  expect(copy.log.statements()).toEqual(wanted);
});

test("lines that went apart are merged with the statements of both, each once, equal ones of several commits as often as they were said", async () => {
  const there = new Copy();
  await there.put("d/a", "0a".repeat(16));
  await there.say([make("both")]);
  const here = new Copy(there.log.identity.uid);
  await here.follow(there);
  await there.say([make("there")]);
  for (const sql of ["create", "drop", "create"]) await here.say([make(sql)]);
  await here.say([save("q", "1")]);
  await here.say([{ type: "query.remove", name: "q" }]);
  await here.say([save("q", "1")]);
  const fork = { seq: 2, cid: there.log.commit(2)?.cid };
  const bodies = there.log.bodies(3, 100, Infinity).map(({ body }) => body);
  const staged = await stageRecords(here.log, here.storage, fork, bodies);
  const { line } = await mergeLines(here.log, here.storage, staged, "operator");
  await here.storage.adopt(line);
  await here.reopen(true);
  const wanted = ["both", "there", "create", "drop", "create"];
  expect(here.sql()).toEqual(wanted);
  expect(here.log.schemaAt(MAIN, 9).map(({ seq, index }) => `${seq}.${index}`)).toEqual([
    "2.0",
    "3.0",
    "4.0",
    "4.1",
    "4.2",
  ]);
  expect(here.log.statements()).toEqual([{ name: "q", sql: "1", seq: 4 }]);
  await there.follow(here);
  expect(there.sql()).toEqual(wanted);
  expect(findingsIn(there.storage)).toEqual([]);
});
