import fc from "fast-check";
import { JsonCache } from "../../src/db/json-cache.ts";
import { seedOf } from "../support/fault-process.ts";

/** The same cache as a list, newest use last. */
class Model {
  entries: { doc: string; seq: number; json: string }[] = [];
}

const MOST = 4000;
const size = ({ doc, json }: { doc: string; json: string }): number => 2 * (doc.length + json.length) + 120;

class Put implements fc.Command<Model, JsonCache> {
  readonly #entry: { doc: string; seq: number; json: string };
  constructor(doc: string, seq: number, length: number) {
    this.#entry = { doc, seq, json: "j".repeat(length) };
  }
  check = () => true;
  run(model: Model, cache: JsonCache): void {
    const { doc, seq, json } = this.#entry;
    cache.put(doc, seq, json);
    model.entries = model.entries.filter((entry) => entry.doc !== doc);
    if (size(this.#entry) > MOST / 8) return;
    model.entries.push(this.#entry);
    while (model.entries.reduce((sum, entry) => sum + size(entry), 0) > MOST) model.entries.shift();
  }
  toString = () => `put(${this.#entry.doc}, ${this.#entry.seq}, ${this.#entry.json.length})`;
}

class Get implements fc.Command<Model, JsonCache> {
  readonly #doc: string;
  readonly #seq: number;
  constructor(doc: string, seq: number) {
    this.#doc = doc;
    this.#seq = seq;
  }
  check = () => true;
  run(model: Model, cache: JsonCache): void {
    const found = model.entries.find(({ doc, seq }) => doc === this.#doc && seq === this.#seq);
    expect(cache.get(this.#doc, this.#seq)).toBe(found?.json);
    if (found) model.entries = [...model.entries.filter((entry) => entry !== found), found];
  }
  toString = () => `get(${this.#doc}, ${this.#seq})`;
}

const doc = fc.nat(30).map((n) => `doc-${n}`);
const seq = fc.integer({ min: 1, max: 3 });
const commands = fc.commands(
  [
    fc
      .tuple(doc, seq, fc.oneof(fc.nat(60), fc.nat(300)))
      .map(([name, at, length]) => new Put(name, at, length)),
    fc.tuple(doc, seq).map(([name, at]) => new Get(name, at)),
  ],
  { maxCommands: 120, size: "max" },
);

const property = (make: () => JsonCache) =>
  fc.property(commands, (list) => {
    fc.modelRun(() => ({ model: new Model(), real: make() }), list);
  });

test("a cache keeps what was used last within its bytes, and gives no value of another seq", () => {
  fc.assert(
    property(() => new JsonCache(MOST)),
    { numRuns: Number(process.env["SKALD_TEST_RUNS"] ?? 1000), seed: seedOf() },
  );
});

test("a cache that forgets to count what it replaces, or gives any seq, is found", () => {
  class AnySeq extends JsonCache {
    override get(name: string, at: number): string | undefined {
      return super.get(name, at) ?? super.get(name, at + 1);
    }
  }
  const found = [() => new AnySeq(MOST), () => new JsonCache(MOST * 2)].map((make) =>
    fc.check(property(make), { seed: 5 }),
  );
  expect(found.map(({ failed }) => failed)).toEqual([true, true]);
  expect(found[0]?.counterexample?.map(String).join().split("),").length).toBeLessThanOrEqual(2);
});
