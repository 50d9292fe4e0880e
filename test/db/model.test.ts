import path from "node:path";
import fc from "fast-check";
import { Engine } from "../../src/db/engine.ts";
import { seedOf } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const dir = path.join(tempDir(), "data");
const engine = new Engine({ dir, reserve: 0, openDbs: 1, documents: { workers: 1 } });
afterAll(() => engine.close());

/** What the db should hold, as simply as it can be said. */
interface Model {
  readonly docs: Map<string, { value: Record<string, number>; deleted: boolean }>;
  readonly receipts: Map<string, { seq: number; commit: string }>;
  /** Values of all documents after each commit. */
  readonly past: Map<string, Record<string, number>>[];
  seq: number;
}

interface Real {
  readonly dbId: string;
}

const KEYS = ["c/a", "c/b", "d/a"] as const;
type Write = { doc: string; put?: Record<string, number>; delete?: true };

const live = (model: Model): Map<string, Record<string, number>> =>
  new Map([...model.docs].filter(([, { deleted }]) => !deleted).map(([doc, { value }]) => [doc, value]));

/** What a transaction does to the model, or the code it is refused with. */
function expected(model: Model, writes: readonly Write[]): { code: string } | { changed: boolean } {
  for (const write of writes) {
    if (write.delete && !live(model).has(write.doc)) return { code: "DOC_NOT_FOUND" };
  }
  const changed = writes.some(({ doc, put }) => {
    const known = model.docs.get(doc);
    return (
      !put || !known || known.deleted || JSON.stringify(sorted(known.value)) !== JSON.stringify(sorted(put))
    );
  });
  return { changed };
}

const sorted = (value: Record<string, number>) => Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));

class Tx implements fc.AsyncCommand<Model, Real> {
  readonly writes: readonly Write[];
  readonly id: string | undefined;
  readonly dryRun: boolean;
  constructor(writes: readonly Write[], id: string | undefined, dryRun: boolean) {
    this.writes = writes;
    this.id = id;
    this.dryRun = dryRun;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const outcome = await engine.use(real.dbId, (db) =>
      db
        .tx({
          author: "ann",
          ...(this.id === undefined ? {} : { clientTxId: this.id }),
          ...(this.dryRun ? { dryRun: true } : {}),
          writes: this.writes.map((write) =>
            write.delete
              ? { doc: write.doc, delete: true as const }
              : { doc: write.doc, edit: { kind: "put" as const, value: JSON.stringify(write.put) } },
          ),
        })
        .catch((error: unknown) => ({ code: (error as { code: string }).code })),
    );
    const should = expected(model, this.writes);
    const first = this.id === undefined ? undefined : model.receipts.get(this.id);
    if (!first && "code" in should) {
      expect(outcome).toEqual({ code: should.code });
      return;
    }
    // A repeat is known before anything else is looked at.
    if (first) {
      if ("code" in outcome) expect(outcome.code).toBe("TX_ID_REUSED");
      else expect(outcome).toMatchObject({ ...first, duplicate: true });
      return;
    }
    if ("code" in should) throw new Error("a refusal was looked at above");
    if ("code" in outcome) throw new Error(`refused with ${outcome.code}`);
    expect(outcome.duplicate).toBe(!should.changed);
    if (this.dryRun || !should.changed) return;
    model.seq += 1;
    expect(outcome.seq).toBe(model.seq);
    if (this.id !== undefined) model.receipts.set(this.id, { seq: outcome.seq, commit: outcome.commit });
    for (const { doc, put } of this.writes) {
      const known = model.docs.get(doc);
      model.docs.set(
        doc,
        put ? { value: put, deleted: false } : { value: known?.value ?? {}, deleted: true },
      );
    }
    model.past[model.seq] = live(model);
  }
  toString = () => `tx(${JSON.stringify(this.writes)}, ${this.id ?? "no id"}${this.dryRun ? ", dry" : ""})`;
}

class Read implements fc.AsyncCommand<Model, Real> {
  readonly back: number;
  constructor(back: number) {
    this.back = back;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const at = Math.max(0, model.seq - this.back);
    const then = model.past[at] ?? new Map<string, Record<string, number>>();
    await engine.use(real.dbId, async (db) => {
      expect(db.log.head().seq).toBe(model.seq);
      expect(db.log.list("", "", 100).map(({ name }) => name)).toEqual([...live(model).keys()].sort());
      for (const doc of KEYS) {
        const read = await db.read(doc, { at: String(at) }).then(
          ({ json }) => JSON.parse(json) as unknown,
          (error: unknown) => (error as { code: string }).code,
        );
        expect(read).toEqual(then.get(doc) ?? "DOC_NOT_FOUND");
      }
    });
  }
  toString = () => `read(${this.back} back)`;
}

class Reopen implements fc.AsyncCommand<Model, Real> {
  readonly rebuilt: boolean;
  constructor(rebuilt: boolean) {
    this.rebuilt = rebuilt;
  }
  check = () => true;
  async run(_: Model, real: Real): Promise<void> {
    if (this.rebuilt) return engine.rebuild(real.dbId);
    // Another db needs its place.
    await engine.use("other", () => 0);
    expect(engine.stats().open).toBe(1);
  }
  toString = () => (this.rebuilt ? "rebuild" : "reopen");
}

const doc = fc.constantFrom(...KEYS);
const put = fc.dictionary(fc.constantFrom("x", "y", "z"), fc.integer({ min: 0, max: 3 }), { maxKeys: 3 });
const write: fc.Arbitrary<Write> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ doc, put }) },
  { weight: 1, arbitrary: fc.record({ doc, delete: fc.constant(true as const) }) },
);
const writes = fc.uniqueArray(write, { minLength: 1, maxLength: 3, selector: (one) => one.doc });
const id = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.constantFrom("t1", "t2", "t3") },
);
const commands = fc.commands(
  [
    fc.tuple(writes, id, fc.boolean()).map(([what, by, dry]) => new Tx(what, by, dry && by === undefined)),
    fc.tuple(writes, id).map(([what, by]) => new Tx(what, by, false)),
    fc.nat(3).map((back) => new Read(back)),
    fc.constantFrom(...Array.from({ length: 6 }, () => false), true).map((rebuilt) => new Reopen(rebuilt)),
  ],
  { maxCommands: 30 },
);

describe("a db", () => {
  test("answers as its model does, whatever is done to it in whatever order", async () => {
    let run = 0;
    await engine.create("other");
    await fc.assert(
      fc.asyncProperty(commands, async (list) => {
        const dbId = `run-${(run += 1)}`;
        await engine.create(dbId);
        await fc.asyncModelRun(
          () => ({
            model: { docs: new Map(), receipts: new Map(), past: [new Map()], seq: 0 } as Model,
            real: { dbId },
          }),
          [...list, new Read(0)],
        );
        await engine.delete(dbId);
      }),
      { numRuns: 150, seed: seedOf() },
    );
  }, 240_000);
});
