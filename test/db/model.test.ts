import path from "node:path";
import fc from "fast-check";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { applyJsonPatch } from "../../src/documents/json-patch.ts";
import type { Json } from "../../src/documents/json-value.ts";
import { headsOf } from "../../src/log/doc-state.ts";
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
  /** Who made each commit. */
  readonly authors: string[];
  seq: number;
}

interface Real {
  readonly dbId: string;
  /** How a document is read: in another way when the test is tested. */
  readonly read: (db: Db, doc: string, at: number) => Promise<string>;
}

const honest: Real["read"] = async (db, doc, at) => (await db.read(doc, { at: String(at) })).json;

function baseOf(db: Db, { doc, base }: Write): { base?: readonly string[] } {
  if (base === undefined) return {};
  const state = db.log.state(doc);
  return { base: base === "wrong" ? ["ab".repeat(32)] : state ? headsOf(state) : [] };
}

const KEYS = ["c/a", "c/b", "d/a"] as const;
type Value = Record<string, number>;
type Write = {
  doc: string;
  put?: Value;
  patch?: Record<string, number | null>;
  delete?: true;
  base?: "right" | "wrong";
};

/** What a document would be after a write. */
function after(model: Model, { doc, put, patch }: Write): Value {
  if (put) return put;
  const value = { ...live(model).get(doc) };
  for (const [key, to] of Object.entries(patch ?? {})) {
    if (to === null) delete value[key];
    else value[key] = to;
  }
  return value;
}

const live = (model: Model): Map<string, Record<string, number>> =>
  new Map([...model.docs].filter(([, { deleted }]) => !deleted).map(([doc, { value }]) => [doc, value]));

/** What a transaction does to the model, or the code it is refused with. */
function expected(model: Model, writes: readonly Write[]): { code: string } | { changed: boolean } {
  for (const write of writes) {
    if (write.base === "wrong") return { code: "HEADS_CONFLICT" };
    if (write.delete && !live(model).has(write.doc)) return { code: "DOC_NOT_FOUND" };
  }
  const changed = writes.some((write) => {
    const known = model.docs.get(write.doc);
    const value = after(model, write);
    return (
      write.delete ||
      !known ||
      known.deleted ||
      JSON.stringify(sorted(known.value)) !== JSON.stringify(sorted(value))
    );
  });
  return { changed };
}

const sorted = (value: Record<string, number>) => Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));

class Tx implements fc.AsyncCommand<Model, Real> {
  readonly writes: readonly Write[];
  readonly id: string | undefined;
  readonly dryRun: boolean;
  readonly author: string;
  constructor(writes: readonly Write[], id: string | undefined, dryRun: boolean, author = "ann") {
    this.writes = writes;
    this.id = id;
    this.dryRun = dryRun;
    this.author = author;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const outcome = await engine.use(real.dbId, (db) =>
      db
        .tx({
          author: this.author,
          ...(this.id === undefined ? {} : { clientTxId: this.id }),
          ...(this.dryRun ? { dryRun: true } : {}),
          writes: this.writes.map((write) =>
            Object.assign(
              { doc: write.doc, ...baseOf(db, write) },
              write.delete
                ? { delete: true as const }
                : {
                    edit: write.put
                      ? { kind: "put" as const, value: JSON.stringify(write.put) }
                      : { kind: "merge-patch" as const, patch: JSON.stringify(write.patch) },
                  },
            ),
          ),
        })
        .catch((error: unknown) => ({ code: (error as { code: string }).code })),
    );
    const should = expected(model, this.writes);
    const key = `${this.author} ${this.id}`;
    const first = this.id === undefined ? undefined : model.receipts.get(key);
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
    if (this.id !== undefined) model.receipts.set(key, { seq: outcome.seq, commit: outcome.commit });
    for (const write of this.writes) {
      model.docs.set(write.doc, {
        value: write.delete ? {} : after(model, write),
        deleted: write.delete === true,
      });
    }
    model.authors[model.seq] = this.author;
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
        const read = await real.read(db, doc, at).then(
          (json) => JSON.parse(json) as unknown,
          (error: unknown) => (error as { code: string }).code,
        );
        expect(read).toEqual(then.get(doc) ?? "DOC_NOT_FOUND");
        if (model.docs.has(doc)) await this.#story(db, model, doc, at);
      }
      // A page ends where a bundle does.
      const authors: string[] = [];
      while (authors.length < model.seq) {
        const page = db.log.commits(authors.length + 1, 100);
        expect(page.length).toBeGreaterThan(0);
        authors.push(...page.map(({ commit }) => commit.author));
      }
      expect(authors).toEqual(model.authors.slice(1));
    });
  }
  /** History in pages, and the patch from a point to now. */
  async #story(db: Db, model: Model, doc: string, at: number): Promise<void> {
    const seqs: number[] = [];
    for (;;) {
      const part = db.history(doc, seqs.at(-1) === undefined ? undefined : (seqs.at(-1) as number) - 1, 2);
      seqs.push(...part.map(({ seq }) => seq));
      expect(part.map(({ author }) => author)).toEqual(part.map(({ seq }) => model.authors[seq]));
      if (part.length < 2) break;
    }
    expect(seqs).toEqual(seqs.toSorted((a, b) => b - a));
    const before = model.past[at]?.get(doc) ?? {};
    const now = live(model).get(doc) ?? {};
    const { patch } = await db.diff(doc, String(at), undefined);
    expect(applyJsonPatch(before, JSON.parse(patch) as Json)).toEqual(now);
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

/** Puts everything into bundles. */
class Compact implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(_: Model, real: Real): Promise<void> {
    await engine.use(real.dbId, (db) => db.compact());
  }
  toString = () => "compact";
}

const doc = fc.constantFrom(...KEYS);
const put = fc.dictionary(fc.constantFrom("x", "y", "z"), fc.integer({ min: 0, max: 3 }), { maxKeys: 3 });
const write: fc.Arbitrary<Write> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ doc, put }) },
  {
    weight: 2,
    arbitrary: fc.record({
      doc,
      patch: fc.dictionary(fc.constantFrom("x", "y", "z"), fc.option(fc.nat(3)), { maxKeys: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      doc,
      put,
      base: fc.constantFrom("right" as const, "right" as const, "wrong" as const),
    }),
  },
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
    fc.tuple(writes, id).map(([what, by]) => new Tx(what, by, false, "bob")),
    fc.nat(3).map((back) => new Read(back)),
    fc.constantFrom(...Array.from({ length: 6 }, () => false), true).map((rebuilt) => new Reopen(rebuilt)),
    fc.constant(new Compact()),
  ],
  { maxCommands: 30 },
);

let run = 0;
beforeAll(() => engine.create("other"));

const property = (read: Real["read"]) =>
  fc.asyncProperty(commands, async (list) => {
    const dbId = `run-${(run += 1)}`;
    await engine.create(dbId);
    await fc.asyncModelRun(
      () => ({
        model: { docs: new Map(), receipts: new Map(), past: [new Map()], authors: [""], seq: 0 } as Model,
        real: { dbId, read },
      }),
      [...list, new Read(0)],
    );
    await engine.delete(dbId);
  });

describe("a db", () => {
  test("answers as its model does, whatever is done to it in whatever order", async () => {
    await fc.assert(property(honest), {
      numRuns: Number(process.env["SKALD_TEST_RUNS"] ?? 15),
      seed: seedOf(),
    });
  }, 1_200_000);

  test("that shows what was deleted is found, and by a short sequence", async () => {
    const last = new Map<string, string>();
    const found = await fc.check(
      property(async (db, name, at) => {
        const key = `${db.id} ${name}`;
        const json = await honest(db, name, at).catch((error: unknown) => {
          const old = last.get(key);
          if (old === undefined || db.log.state(name)?.deleted !== true) throw error;
          return old;
        });
        last.set(key, json);
        return json;
      }),
      { numRuns: 400, seed: 17 },
    );
    expect(found.failed).toBe(true);
    const kept = [...((found.counterexample?.[0] ?? []) as Iterable<unknown>)].map(String).join();
    // A write, a look, and the deletion; the look at the end is always there.
    expect(kept.match(/tx\(|read\(|reopen|rebuild|compact/g)?.length).toBeLessThanOrEqual(6);
  }, 240_000);
});
