import fc from "fast-check";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { cursorAt, resolveSince } from "../../src/subscriptions/cursor.ts";
import { readChunk } from "../../src/subscriptions/feed-chunks.ts";
import { feedEncoder } from "../../src/subscriptions/feed-encoder.ts";
import { docTest, type FeedFilter } from "../../src/subscriptions/feed-filter.ts";
import { FeedGroups, type Follower } from "../../src/subscriptions/feed-group.ts";
import { followFeed, readFeed, type Include } from "../../src/subscriptions/feed.ts";
import { seedOf } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";

const dir = memoryDir();
let engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());

/** What was committed, in order, and every cursor that was ever given. */
interface Model {
  readonly commits: { readonly docs: readonly string[]; readonly value: number; readonly deleted: boolean }[];
  readonly cursors: { readonly text: string; readonly seq: number }[];
}

interface Seen {
  readonly seq: number;
  readonly docs: readonly {
    readonly doc: string;
    readonly value?: unknown;
    readonly changes?: readonly unknown[];
  }[];
}

/** The ways to read a feed: all must give the same. */
type Way = (
  db: Db,
  after: number,
  upTo: number,
  filter: FeedFilter,
  include: Include,
  size: number,
) => Promise<Seen[]>;

interface Real {
  readonly dbId: string;
  readonly ways: Readonly<Record<string, Way>>;
}

const pages: Way = async (db, after, upTo, filter, include, size) => {
  const seen: Seen[] = [];
  for (let at = after; at < upTo;) {
    const page = await readFeed(db, { after: at, filter, include, limit: size, maxBytes: 3000 });
    for (const { seq, docs } of page.events) {
      seen.push({
        seq,
        docs: docs.map(({ doc, json, changes }) => ({
          doc,
          ...(json === undefined ? {} : { value: JSON.parse(json) as unknown }),
          ...(changes === undefined ? {} : { changes }),
        })),
      });
    }
    expect(page.seq).toBeGreaterThan(at);
    expect(page.more).toBe(page.seq < db.log.head().seq);
    at = page.seq;
  }
  return seen.filter(({ seq }) => seq <= upTo);
};

const parsed = (text: string): Seen[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Seen);

const chunks: Way = async (db, after, upTo, filter, include, size) => {
  const encoder = feedEncoder(db, "lines");
  let text = "";
  for (let at = after; at < upTo;) {
    const chunk = await readChunk(db, encoder, { filter, include, after: at, upTo, limit: size });
    expect(chunk.from).toBe(at);
    text += chunk.bytes.toString();
    at = chunk.seq;
  }
  return parsed(text);
};

const WAYS: Readonly<Record<string, Way>> = { pages, chunks };

const DOCS = ["a/1", "a/2", "b/1"] as const;

class Write implements fc.AsyncCommand<Model, Real> {
  readonly docs: readonly string[];
  readonly deletes: boolean;
  constructor(docs: readonly string[], deletes: boolean) {
    this.docs = docs;
    this.deletes = deletes;
  }
  check = () => true;
  async run(model: Model, { dbId }: Real): Promise<void> {
    const value = model.commits.length + 1;
    const [first = "a/1"] = this.docs;
    const there = model.commits.findLast(({ docs }) => docs.includes(first));
    const deleted = this.deletes && there !== undefined && !there.deleted;
    const docs = deleted ? [first] : this.docs;
    await engine.use(dbId, (db) =>
      db.tx({
        author: "ann",
        writes: docs.map((doc) =>
          deleted ? { doc, delete: true } : { doc, edit: { kind: "put", value: JSON.stringify({ value }) } },
        ),
      }),
    );
    model.commits.push({ docs, value, deleted });
    await remember(model, dbId);
  }
  toString = () => `write(${this.docs.join()}${this.deletes ? ", deletes" : ""})`;
}

/** A cursor of the head, as any answer gives it. */
const remember = (model: Model, dbId: string): Promise<unknown> =>
  engine.use(dbId, (db) =>
    model.cursors.push({ text: cursorAt(db, db.log.head().seq), seq: model.commits.length }),
  );

const FILTERS: readonly FeedFilter[] = [
  {},
  { prefix: "a/" },
  { docs: ["b/1"] },
  { visible: ["a/2", "b/"] },
  { prefix: "a/", visible: ["b/"] },
];

class Read implements fc.AsyncCommand<Model, Real> {
  readonly cursor: number;
  readonly filter: number;
  readonly include: Include;
  readonly size: number;
  constructor(cursor: number, filter: number, include: Include, size: number) {
    this.cursor = cursor;
    this.filter = filter;
    this.include = include;
    this.size = size;
  }
  check = () => true;
  async run(model: Model, { dbId, ways }: Real): Promise<void> {
    const filter = FILTERS[this.filter] as FeedFilter;
    const from = model.cursors[this.cursor % model.cursors.length] ?? { text: "0", seq: 0 };
    await engine.use(dbId, async (db) => {
      const after = await resolveSince(db, from.text);
      expect(after).toBe(from.seq);
      for (const way of Object.values(ways)) {
        const seen = await way(db, after, model.commits.length, filter, this.include, this.size);
        expect(seen.map(asTold(this.include))).toEqual(expected(model, after, filter, this.include));
      }
    });
  }
  toString = () =>
    `read(${this.cursor}, ${JSON.stringify(FILTERS[this.filter])}, ${this.include}, ${this.size})`;
}

const asTold =
  (include: Include) =>
  ({ seq, docs }: Seen): unknown => ({
    seq,
    docs: docs.map(({ doc, value, changes }) => ({
      doc,
      ...(include === "json" ? { value } : {}),
      ...(include === "changes" ? { changes: changes !== undefined } : {}),
    })),
  });

function expected(model: Model, after: number, filter: FeedFilter, include: Include): unknown[] {
  const lets = docTest(filter) ?? (() => true);
  return model.commits
    .map(({ docs, value, deleted }, i) => ({
      seq: i + 1,
      docs: docs.filter(lets).map((doc) => ({
        doc,
        ...(include === "json" ? { value: deleted ? undefined : { value } } : {}),
        ...(include === "changes" ? { changes: true } : {}),
      })),
    }))
    .filter(({ seq, docs }) => seq > after && docs.length > 0);
}

class Compact implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(_model: Model, { dbId }: Real): Promise<void> {
    await engine.use(dbId, (db) => db.compact());
  }
  toString = () => "compact";
}

class Restart implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(): Promise<void> {
    await engine.close();
    engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
  }
  toString = () => "restart";
}

const commands = fc.commands(
  [
    fc
      .tuple(fc.shuffledSubarray([...DOCS], { minLength: 1 }), fc.integer({ min: 0, max: 3 }))
      .map(([docs, kind]) => new Write(docs, kind === 0)),
    fc
      .tuple(
        fc.nat({ max: 1000 }),
        fc.nat({ max: FILTERS.length - 1 }),
        fc.constantFrom<Include>("none", "json", "changes"),
        fc.integer({ min: 1, max: 4 }),
      )
      .map((args) => new Read(...args)),
    fc.constant(new Compact()),
    fc.constant(new Restart()),
  ],
  { maxCommands: 25, size: "max" },
);

let dbs = 0;
async function play(
  given: Iterable<fc.AsyncCommand<Model, Real>>,
  ways: Readonly<Record<string, Way>>,
): Promise<void> {
  const dbId = `m${(dbs += 1)}`;
  await engine.create(dbId);
  await fc.asyncModelRun(() => ({ model: { commits: [], cursors: [] }, real: { dbId, ways } }), given);
}

const numRuns = Number(process.env["SKALD_TEST_RUNS"] ?? 6);

test("from any cursor ever given a feed is exactly the suffix, across compaction and restarts", async () => {
  await fc.assert(
    fc.asyncProperty(commands, (given) => play(given, WAYS)),
    { seed: seedOf(), numRuns },
  );
}, 120_000);

/** Feeds that do not keep their word, as one could write them. */
const BROKEN: Readonly<Record<string, Way>> = {
  "leaves out the first commit after its cursor": (db, after, ...rest) => pages(db, after + 1, ...rest),
  "repeats the commit of its cursor": (db, after, ...rest) => pages(db, Math.max(0, after - 1), ...rest),
  "ends a page one too late": async (db, after, upTo, filter, include, size) => {
    const seen: Seen[] = [];
    for (let at = after; at < upTo;) {
      const page = await readFeed(db, { after: at, filter, include, limit: size });
      seen.push(...page.events.map(({ seq, docs }) => ({ seq, docs })));
      at = page.seq + 1;
    }
    return seen;
  },
  "goes on from its last event, not from what it looked at": async (db, after, upTo, filter, include, size) =>
    (await pages(db, after, upTo, filter, include, size)).slice(0, size),
  "shows documents that its reader may not see": (
    db,
    after,
    upTo,
    { visible: _visible, ...filter },
    ...rest
  ) => pages(db, after, upTo, filter, ...rest),
};

test.each(Object.keys(BROKEN))("a feed that %s is noticed", async (name) => {
  const all: fc.AsyncCommand<Model, Real>[] = [
    ...[0, 1, 2, 3, 4, 5].map(
      (i) => new Write([DOCS[i % 3] as string, ...(i % 2 ? [] : [DOCS[(i + 1) % 3] as string])], false),
    ),
    ...FILTERS.flatMap((_filter, i) => [0, 1, 3].map((cursor) => new Read(cursor, i, "none", 2))),
  ];
  await play(all, WAYS);
  await expect(play(all, { broken: BROKEN[name] as Way })).rejects.toThrow();
});

test("who follows while others write gets every commit once and in order, alone and in a group", async () => {
  const dbId = "live";
  await engine.create(dbId);
  const total = 150;
  await engine.use(dbId, async (db) => {
    const stop = new AbortController();
    const write = async (from: number): Promise<void> => {
      for (let i = from; i < total; i += 5) {
        await db.tx({
          author: "ann",
          writes: [{ doc: `a/${from}`, edit: { kind: "put", value: `{"i":${i}}` } }],
        });
      }
    };
    const alone = async (after: number): Promise<number[]> => {
      const seen: number[] = [];
      for await (const page of followFeed(db, { after, limit: 7 }, stop.signal)) {
        seen.push(...page.events.map(({ seq }) => seq));
        if (page.seq === total) break;
      }
      return seen;
    };
    const groups = new FeedGroups();
    /** Takes what it is given; every few chunks it is busy for a while. */
    const grouped = (after: number, busy: number): Promise<number[]> =>
      new Promise((resolve, reject) => {
        const seen: number[] = [];
        if (after === total) resolve(seen);
        let taken = 0;
        const follow = (): void => {
          groups.follow(db, { filter: {}, include: "none" }, "lines", follower, stop.signal).catch(reject);
        };
        const follower: Follower = {
          seq: after,
          take: (chunk) => {
            expect(chunk.from).toBe(follower.seq);
            follower.seq = chunk.seq;
            seen.push(...parsed(chunk.bytes.toString()).map(({ seq }) => seq));
            if (chunk.seq === total) resolve(seen);
            taken += 1;
            if (busy === 0 || taken % busy !== 0) return true;
            setTimeout(follow, taken % 5);
            return false;
          },
          again: follow,
          fail: reject,
        };
        follow();
      });
    const late: [number, Promise<number[]>][] = [];
    let next = 10;
    const joins = db.log.onCommit((seq) => {
      // Some begin in the midst of a group's reading, at the head of that moment.
      if (seq < next) return;
      late.push([seq, grouped(seq, seq % 3)]);
      next = seq + 10;
    });
    const writers = [0, 1, 2, 3, 4].map(write);
    const readers = [alone(0), alone(0), grouped(0, 0), grouped(0, 1), grouped(0, 3)];
    await Promise.all(writers);
    joins();
    const all = Array.from({ length: total }, (_none, i) => i + 1);
    for (const seen of await Promise.all(readers)) expect(seen).toEqual(all);
    for (const [from, seen] of late) expect(await seen).toEqual(all.slice(from));
    expect(late.length).toBeGreaterThan(3);
    stop.abort();
  });
}, 60_000);
