import path from "node:path";
import Database from "better-sqlite3";
import { Audit, type AuditEntry } from "../../src/audit/audit.ts";
import { auditAll, auditPage, type AuditFilter, type AuditFound } from "../../src/audit/search.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { Engine } from "../../src/db/engine.ts";
import { SkaldError } from "../../src/errors.ts";
import { AUDIT_DB } from "../../src/ids/names.ts";
import { SERVICE_FILE } from "../../src/store/sqlite-registry.ts";
import { realWorld, type World } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

/** A clock that stands still unless it is moved, and timers that run when they are told to. */
class Clock implements World {
  time = Date.parse("2026-11-22T02:00:00.000Z");
  readonly timers = new Set<() => void>();
  readonly random = (bytes: number): Uint8Array => realWorld.random(bytes);
  readonly soon = (work: () => void): void => realWorld.soon(work);
  readonly monotonic = (): number => realWorld.monotonic();
  now(): number {
    return this.time;
  }
  timer(_: number, work: () => void): () => void {
    this.timers.add(work);
    return () => this.timers.delete(work);
  }
  ring(): void {
    const due = [...this.timers];
    this.timers.clear();
    for (const work of due) work();
  }
}

interface Made {
  readonly engine: Engine;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly errors: unknown[];
  readonly dir: string;
  /** Set: the log takes nothing and says this. */
  broken: Error | undefined;
  /** Calls of `writeOwn`, each with the number of its documents. */
  readonly writes: number[];
  close(): Promise<void>;
}

const open: Made[] = [];
afterAll(() => Promise.all(open.map((made) => made.close())));

function make(dir = tempDir(), sums = 10_000): Made {
  const clock = new Clock();
  const errors: unknown[] = [];
  const engine = new Engine({ dir, documents: { workers: 1 }, onError: (error) => errors.push(error) });
  const writes: number[] = [];
  let closed = false;
  const made: Made = {
    engine,
    clock,
    errors,
    dir,
    writes,
    broken: undefined,
    audit: new Audit({
      engine: {
        has: (db) => engine.has(db),
        use: (db, work) => engine.use(db, work),
        writeOwn: (db, docs) => {
          writes.push(docs.length);
          return made.broken ? Promise.reject(made.broken) : engine.writeOwn(db, docs);
        },
      },
      file: path.join(dir, SERVICE_FILE),
      sums,
      world: clock,
      onError: (error) => errors.push(error),
    }),
    close: async () => {
      if (closed) return;
      closed = true;
      await made.audit.close();
      await engine.close();
    },
  };
  open.push(made);
  return made;
}

async function all({ engine }: Made, filter: AuditFilter = {}): Promise<AuditFound[]> {
  const found: AuditFound[] = [];
  for await (const entry of auditAll(engine, filter)) found.push(entry);
  return found;
}

const entry = (action: string, more: Partial<AuditEntry> = {}): AuditEntry => ({
  principal: "tok_1",
  action,
  ...more,
});
const full = new SkaldError("STORAGE_FULL", "The disk is full.");

const one = make();

test("there is no log before there is something to note", async () => {
  one.audit.start();
  await one.audit.flush();
  expect(one.engine.has(AUDIT_DB)).toBe(false);
  expect(await auditPage(one.engine, {}, undefined, 10)).toEqual({ entries: [], after: undefined });
});

test("an entry is durable in the log when its note resolves, with all that is known of it", async () => {
  const wanted = {
    db: "shop",
    detail: "why",
    address: "192.0.2.1",
    request_id: "r-1",
    principal: { id: "per_1", subject: "ada" },
  };
  expect(await one.audit.note({ ...wanted, action: "db.create" })).toBe(true);
  const { principal: _, ...rest } = wanted;
  expect(await all(one)).toEqual([
    {
      id: expect.stringMatching(/^\d{14}-\d{6}-[0-9a-f]{10}$/) as string,
      time: "2026-11-22T02:00:00.000Z",
      who: "per_1",
      subject: "ada",
      action: "db.create",
      ...rest,
    },
  ]);
});

test("entries that come in together are one commit, newest first in the list", async () => {
  const before = one.writes.length;
  await Promise.all(Array.from({ length: 40 }, (_, i) => one.audit.note(entry(`a.${i}`))));
  expect(one.writes.slice(before)).toEqual([40]);
  one.clock.time += 5;
  await one.audit.note(entry("later"));
  const actions = (await all(one)).map(({ action }) => action);
  expect(actions).toEqual(["later", ...Array.from({ length: 40 }, (_, i) => `a.${39 - i}`), "db.create"]);
});

test("what comes while a commit is written is in the next one, however much it is", async () => {
  const before = one.writes.length;
  const first = one.audit.note(entry("first"));
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  const rest = Array.from({ length: 700 }, () => one.audit.note(entry("many")));
  await Promise.all([first, ...rest]);
  const writes = one.writes.slice(before);
  expect(writes.length).toBeLessThanOrEqual(5);
  expect(Math.max(...writes)).toBeLessThanOrEqual(500);
  expect(await all(one, { action: "many" })).toHaveLength(700);
});

test("long, broken and empty texts are cut, mended and left out", async () => {
  await one.audit.note(
    entry("odd", { detail: `${"x".repeat(999)}\u{1f600}`, principal: "", address: "", db: "\ud800" }),
  );
  const [found] = await all(one, { action: "odd" });
  expect(found).toMatchObject({ who: "nobody", detail: `${"x".repeat(999)}\ufffd`, db: "\ufffd" });
  expect(found).not.toHaveProperty("address");
});

describe("what is asked for", () => {
  const asked = make();
  const start = asked.clock.time;
  beforeAll(async () => {
    for (let i = 0; i < 300; i += 1) {
      asked.clock.time = start + i * 1000;
      const db = i % 3 === 0 ? { db: "shop" } : {};
      const principal = i % 2 === 0 ? "tok_1" : { id: "per_2", subject: "grace" };
      void asked.audit.note({ principal, action: i % 5 === 0 ? "token.create" : "token.revoke", ...db });
    }
    await asked.audit.flush();
  });
  const expected = (test: (i: number) => boolean): string[] =>
    Array.from({ length: 300 }, (_, i) => 299 - i)
      .filter(test)
      .map((i) => new Date(start + i * 1000).toISOString());

  test.each<[string, AuditFilter, (i: number) => boolean]>([
    ["everything", {}, () => true],
    ["a db", { db: "shop" }, (i) => i % 3 === 0],
    ["an id", { who: "tok_1" }, (i) => i % 2 === 0],
    ["a subject", { who: "grace" }, (i) => i % 2 === 1],
    ["an action", { action: "token.create" }, (i) => i % 5 === 0],
    ["the start of an action", { action: "token.*" }, () => true],
    ["no action's start", { action: "db.*" }, () => false],
    ["a time on", { since: start + 100_000 }, (i) => i >= 100],
    ["up to a time", { until: start + 100_000 }, (i) => i <= 100],
    ["between times", { since: start + 99_500, until: start + 101_500 }, (i) => i === 100 || i === 101],
    ["before everything", { until: start - 1 }, () => false],
    [
      "all of it together",
      { db: "shop", who: "tok_1", since: start + 60_000 },
      (i) => i % 6 === 0 && i >= 60,
    ],
  ])("%s", async (_, filter, test) => {
    expect((await all(asked, filter)).map(({ time }) => time)).toEqual(expected(test));
    // The same by pages, none of which is empty at the end of the list.
    const times: string[] = [];
    for (let after: string | undefined; ;) {
      const page = await auditPage(asked.engine, filter, after, 7);
      times.push(...page.entries.map(({ time }) => time));
      after = page.after;
      if (after === undefined) break;
      expect(page.entries.length).toBe(7);
    }
    expect(times).toEqual(expected(test));
  });
});

test("what happens often is noted once at once, and then by the minute with its number", async () => {
  const counted = make();
  const refused = entry("auth.refuse", { principal: "nobody", address: "192.0.2.7", request_id: "r" });
  for (let i = 0; i < 1000; i += 1) counted.audit.count(refused);
  counted.audit.count({ ...refused, address: "192.0.2.8" });
  // The timer, not `flush`, which would sum up as well.
  await counted.audit.note(entry("x"));
  expect((await all(counted, { action: "auth.refuse" })).map(({ count }) => count)).toEqual([
    undefined,
    undefined,
  ]);
  counted.clock.time += 60_000;
  counted.clock.ring();
  await counted.audit.note(entry("y"));
  const found = await all(counted, { action: "auth.refuse" });
  expect(found.map(({ address, count }) => [address, count])).toEqual([
    ["192.0.2.7", 999],
    ["192.0.2.8", undefined],
    ["192.0.2.7", undefined],
  ]);
  // A new minute begins with one at once.
  counted.audit.count(refused);
  await counted.audit.note(entry("z"));
  expect(await all(counted, { action: "auth.refuse" })).toHaveLength(4);
});

test("more addresses than are summed up each are summed up together", async () => {
  const counted = make(tempDir(), 20);
  for (let i = 0; i < 500; i += 1)
    counted.audit.count(entry("auth.refuse", { principal: "nobody", address: `${i}` }));
  await counted.audit.flush();
  const found = await all(counted, { action: "auth.refuse" });
  expect(found.reduce((sum, { count = 1 }) => sum + count, 0)).toBe(500);
  expect(found).toHaveLength(21);
  expect(found.filter(({ who }) => who === "several")).toHaveLength(1);
});

describe("when the log takes nothing", () => {
  test("an entry waits in the service file, durable, and comes into the log once", async () => {
    const made = make();
    await made.audit.note(entry("before"));
    made.broken = full;
    expect(await made.audit.note(entry("token.revoke", { detail: "tok_9" }))).toBe(true);
    expect(made.errors).toContain(full);
    expect((await all(made)).map(({ action }) => action)).toEqual(["before"]);
    const file = new Database(path.join(made.dir, SERVICE_FILE), { readonly: true });
    expect(file.prepare("SELECT action FROM audit").pluck().all()).toEqual(["token.revoke"]);
    made.broken = undefined;
    made.clock.ring();
    await made.audit.flush();
    expect((await all(made)).map(({ action, detail }) => [action, detail])).toEqual([
      ["token.revoke", "tok_9"],
      ["before", undefined],
    ]);
    expect(file.prepare("SELECT action FROM audit").pluck().all()).toEqual([]);
    file.close();
  });

  test("an entry that got in although the log said no is not there twice", async () => {
    const made = make();
    await made.audit.note(entry("before"));
    const writeOwn = made.engine.writeOwn.bind(made.engine);
    // The append is durable, and the answer is lost.
    made.engine.writeOwn = async (...args) => {
      await writeOwn(...args);
      throw new SkaldError("STORAGE_FAILED", "The disk did not say whether it has it.");
    };
    expect(await made.audit.note(entry("once"))).toBe(true);
    made.engine.writeOwn = writeOwn;
    made.clock.ring();
    await made.audit.flush();
    expect((await all(made)).map(({ action }) => action)).toEqual(["once", "before"]);
  });

  test("and the service file neither, `note` says so, `must` throws, and later the log says how many are lost", async () => {
    const made = make();
    await made.audit.note(entry("before"));
    made.broken = full;
    const file = new Database(path.join(made.dir, SERVICE_FILE));
    file.exec("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'no'); END");
    expect(await made.audit.note(entry("token.revoke"))).toBe(false);
    await expect(made.audit.must(entry("token.create"))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    file.exec("DROP TRIGGER no");
    file.close();
    made.broken = undefined;
    await made.audit.note(entry("after"));
    expect((await all(made)).map(({ action, count }) => [action, count])).toEqual([
      ["audit.lost", 2],
      ["after", undefined],
      ["before", undefined],
    ]);
  });
});

describe("what was noted before there was the log", () => {
  const dir = tempDir();
  const rows = ["db.create", "token.create", "token.revoke"];

  test("is carried over once, in its order and with its times", async () => {
    const tokens = new Tokens(path.join(dir, SERVICE_FILE), { world: new Clock() });
    for (const action of rows) tokens.audit({ principal: "tok_old", action, db: "shop", detail: "then" });
    tokens.close();
    for (let start = 0; start < 2; start += 1) {
      const made = make(dir);
      made.audit.start();
      await made.audit.flush();
      const found = await all(made);
      expect(found.map(({ action }) => action).toSorted()).toEqual(rows);
      expect(new Set(found.map(({ time, who, db, detail }) => [time, who, db, detail].join()))).toEqual(
        new Set(["2026-11-22T02:00:00.000Z,tok_old,shop,then"]),
      );
      await made.close();
    }
  });

  test("a start that broke off between the log and the service file repeats nothing", async () => {
    const tokens = new Tokens(path.join(dir, SERVICE_FILE), { world: new Clock() });
    tokens.audit({ principal: "tok_old", action: "restore" });
    tokens.close();
    const file = new Database(path.join(dir, SERVICE_FILE));
    const row = file.prepare("SELECT * FROM audit").get();
    let made = make(dir);
    made.audit.start();
    await made.audit.flush();
    await made.close();
    file
      .prepare(
        "INSERT INTO audit (id, time, principal, action, db, detail, key, entry, sum) VALUES (@id, @time, @principal, @action, @db, @detail, @key, @entry, @sum)",
      )
      .run(row);
    made = make(dir);
    made.audit.start();
    await made.audit.flush();
    expect(await all(made, { action: "restore" })).toHaveLength(1);
    expect(file.prepare("SELECT * FROM audit").all()).toEqual([]);
    file.close();
  });

  test("a row that rotted is in the log as what can be read of it, and says so", async () => {
    const rotten = make();
    rotten.broken = full;
    await rotten.audit.note(entry("token.create", { detail: "tok_7" }));
    const file = new Database(path.join(rotten.dir, SERVICE_FILE));
    file.exec("UPDATE audit SET entry = replace(entry, 'tok_7', 'tok_8')");
    file.close();
    rotten.broken = undefined;
    rotten.clock.ring();
    await rotten.audit.flush();
    expect(await all(rotten)).toMatchObject([
      { action: "audit.damaged", who: "tok_1", detail: expect.stringContaining("tok_8") as string },
    ]);
  });
});

describe("the db of the log", () => {
  const doc = "entries/x";
  const put = { doc, edit: { kind: "put" as const, value: "{}" } };
  const made = make();
  beforeAll(() => made.audit.note(entry("before")));

  test("takes nothing but new documents that the server itself writes", async () => {
    const { engine } = made;
    const [known] = await all(made);
    const there = `entries/${known?.id ?? ""}`;
    await engine.use(AUDIT_DB, async (db) => {
      const { seq } = db.log.head();
      const refused = { code: "FORBIDDEN" };
      await expect(db.tx({ author: "skald", writes: [put] })).rejects.toMatchObject(refused);
      for (const write of [
        { ...put, doc: there },
        { doc: there, delete: true as const },
      ])
        await expect(db.tx({ author: "skald", writes: [write], own: true })).rejects.toMatchObject(refused);
      await expect(db.erase({ author: "skald", docs: [there] })).rejects.toMatchObject(refused);
      await expect(db.log.createBranch("b", { author: "skald" })).rejects.toMatchObject(refused);
      await expect(db.log.closeBranch("main", { author: "skald" })).rejects.toMatchObject(refused);
      await expect(db.log.receive({ seq, cid: undefined }, [])).rejects.toMatchObject(refused);
      await expect(
        db.log.merge({ author: "x", clientTxId: "", from: "main", into: "b", writes: [] }),
      ).rejects.toMatchObject(refused);
      await expect(db.log.setAside(there, [], [], [], "")).rejects.toMatchObject(refused);
      await expect(db.log.remove([there], () => Promise.resolve(new Uint8Array()))).rejects.toMatchObject(
        refused,
      );
      expect(db.log.head().seq).toBe(seq);
      expect(db.log.state(there)?.deleted).toBe(false);
    });
    await expect(engine.delete(AUDIT_DB)).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(engine.merge(AUDIT_DB, { seq: 1, cid: undefined }, "x")).rejects.toMatchObject({
      code: "FORBIDDEN",
    });
  });

  test("and names that begin like its own are the server's", async () => {
    const { engine } = make();
    for (const name of [AUDIT_DB, "_x", "_"]) {
      await expect(engine.create(name)).rejects.toMatchObject({ code: "NAME_INVALID" });
      await expect(engine.createFilled(name, undefined, async () => {})).rejects.toMatchObject({
        code: "NAME_INVALID",
      });
      expect(engine.has(name)).toBe(false);
    }
  });
});
