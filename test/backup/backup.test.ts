import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import { Tokens } from "../../src/auth/tokens.ts";
import { BackupFolder } from "../../src/backup/folder.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import type { Engine } from "../../src/db/engine.ts";
import { decodeCursor } from "../../src/ids/cursor.ts";
import { toHex } from "../../src/ids/hash.ts";
import { Subscriptions } from "../../src/subscriptions/subscriptions.ts";
import type { Definition } from "../../src/subscriptions/subscription-definition.ts";
import { cursorAt, seqOfCursor } from "../../src/subscriptions/cursor.ts";
import { codeOf, put, read } from "../replication/fixture.ts";
import { encodeRecords, readFrames } from "../../src/replication/frames.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { traces } from "../support/canary.ts";
import {
  backUp,
  closeEngine,
  filesIn,
  fresh,
  headCid,
  openEngine,
  problemsOf,
  recordsOf,
  restored,
  sourceOf,
  withTokens,
  write,
  wrongIn,
  wrongInLog,
} from "./fixture.ts";

const compact = (engine: Engine, db: string): Promise<unknown> => engine.use(db, (held) => held.compact());
async function server(dbs: readonly string[] = ["shop"]): Promise<Engine> {
  const engine = openEngine();
  withTokens(engine);
  for (const db of dbs) await engine.create(db);
  return engine;
}

// Only against hanging: the machine may be busy.
jest.setTimeout(180_000);

/** That a restored server has what the other had, and nothing else. */
async function expectSame(copy: Engine, of: Engine, dbs: readonly string[]): Promise<void> {
  expect(copy.list("", 100).map(({ dbId }) => dbId)).toEqual([...dbs].sort());
  for (const db of dbs) {
    expect(await recordsOf(copy, db)).toEqual(await recordsOf(of, db));
    expect(await wrongInLog(copy, db)).toEqual([]);
  }
}

test("a restored server has every record of every db, its tokens, and the dates and uids of its dbs", async () => {
  const engine = await server(["shop", "Empty", "notes"]);
  const [token] = withTokens(engine, ["app"]);
  await write(engine, "shop", 1, 30);
  await write(engine, "notes", 1, 3);
  await compact(engine, "shop");
  await write(engine, "shop", 31, 40);
  engine.setRemote("notes", "https://example.org/api/v1/db/notes");
  const at = fresh();
  const { manifest } = await backUp(engine, at);
  expect(manifest.failed).toEqual([]);
  expect(await problemsOf(at)).toEqual([]);
  const { engine: copy, dir } = await restored(at);
  await expectSame(copy, engine, ["Empty", "notes", "shop"]);
  expect(await wrongIn(copy, "shop")).toEqual([]);
  const identity = (of: Engine, db: string) => of.use(db, ({ log }) => log.identity);
  for (const db of ["shop", "Empty"]) {
    const [a, b] = [await identity(engine, db), await identity(copy, db)];
    expect([toHex(b.uid), b.created]).toEqual([toHex(a.uid), a.created]);
    // The other server may be alive: two that author with one actor would equivocate.
    expect(toHex(b.actor)).not.toBe(toHex(a.actor));
  }
  expect(copy.remoteOf("notes")).toBe("https://example.org/api/v1/db/notes");
  await put(copy, "items/1", { after: true }, { db: "shop" });
  expect(await read(copy, "items/1", "shop")).toEqual({ after: true });
  await closeEngine(copy);
  const tokens = new Tokens(path.join(dir, "service.sqlite"));
  expect(tokens.verify(token as string)?.scopes).toHaveLength(1);
  expect(tokens.auditLog(1)[0]).toMatchObject({ action: "restore", detail: "manifests/000001.json" });
  tokens.close();
  expect(statSync(path.join(dir, "service.sqlite")).mode & 0o077).toBe(0);
});

test("a further backup writes what is new, and a compaction in between is not", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 200);
  const at = fresh();
  const packs = (): string[] => filesIn(path.join(at, "packs"));
  const sizeOf = (names: readonly string[]): number =>
    names.reduce((sum, name) => sum + statSync(path.join(at, "packs", name)).size, 0);
  await backUp(engine, at);
  const first = packs();
  await backUp(engine, at);
  expect(packs()).toEqual(first);
  await compact(engine, "shop");
  const { dbs } = await backUp(engine, at);
  expect(dbs).toMatchObject([{ commits: 0, bytes: 0 }]);
  expect(packs()).toEqual(first);
  await write(engine, "shop", 201, 204);
  const grown = await backUp(engine, at);
  expect(grown.dbs).toMatchObject([{ commits: 4 }]);
  const more = packs().filter((name) => !first.includes(name));
  expect(more).toHaveLength(1);
  expect(sizeOf(more)).toBeLessThan(sizeOf(first) / 10);
  // A bundle that holds commits which are there takes their place, and costs less than the new ones alone.
  await write(engine, "shop", 205, 220);
  await compact(engine, "shop");
  await backUp(engine, at);
  const last = packs().filter((name) => !first.includes(name) && !more.includes(name));
  expect(sizeOf(last)).toBeLessThan(sizeOf(first) / 4);
  const { engine: copy } = await restored(at);
  await expectSame(copy, engine, ["shop"]);
  // Every one of them can still be had.
  for (const [number, seq] of [
    [1, 200],
    [4, 204],
  ] as const) {
    const { said, engine: older } = await restored(at, { number });
    expect(said.dbs).toMatchObject([{ seq }]);
    expect(await wrongInLog(older, "shop")).toEqual([]);
    await closeEngine(older);
  }
  await closeEngine(copy);
});

test("a compacted db is backed up in its compact form, and restored so", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 300);
  const [plain, small] = [fresh(), fresh()];
  await backUp(engine, plain);
  await compact(engine, "shop");
  await backUp(engine, small);
  const bytes = (at: string): number =>
    filesIn(path.join(at, "packs")).reduce(
      (sum, name) => sum + statSync(path.join(at, "packs", name)).size,
      0,
    );
  expect(bytes(small)).toBeLessThan(bytes(plain) / 5);
  await write(engine, "shop", 301, 303);
  await backUp(engine, small);
  const { engine: copy } = await restored(small);
  await expectSame(copy, engine, ["shop"]);
  expect(await copy.use("shop", ({ storage }) => storage.ranges())).toEqual([{ first: 1, last: 300 }]);
  // Whoever wants the small form of what was backed up before asks for all of it.
  await backUp(engine, plain, { full: true, keep: 1 });
  expect(bytes(plain)).toBeLessThan(bytes(small) * 2);
  expect(await problemsOf(plain)).toEqual([]);
  await closeEngine(copy);
});

test("cursors of what was written after the backup are told where the lives part, others go on", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 10);
  const at = fresh();
  await backUp(engine, at);
  const common = await headCid(engine, "shop");
  const early = await engine.use("shop", (db) => cursorAt(db, 7));
  await write(engine, "shop", 11, 15);
  const late = await engine.use("shop", (db) => cursorAt(db, 13));
  const one = await restored(at);
  const two = await restored(at);
  for (const { engine: copy } of [one, two]) {
    await write(copy, "shop", 11, 20);
    await copy.use("shop", (db) => {
      expect(seqOfCursor(db, early)).toBe(7);
      expect(() => seqOfCursor(db, late)).toThrow(
        expect.objectContaining({
          code: "EPOCH_CHANGED",
          details: expect.objectContaining({ last_common_seq: 10, last_common_commit: common }),
        }),
      );
      expect(seqOfCursor(db, cursorAt(db, 18))).toBe(18);
    });
  }
  // What was restored twice goes on in two ways, and neither takes the other's places for its own.
  const foreign = await one.engine.use("shop", (db) => cursorAt(db, 18));
  await two.engine.use("shop", (db) => {
    expect(decodeCursor(db.log.identity.uid, foreign).epoch).not.toBe(db.log.epoch);
    expect(() => seqOfCursor(db, foreign)).toThrow(expect.objectContaining({ code: "EPOCH_CHANGED" }));
  });
  // A restored db is backed up and restored like any other.
  const next = fresh();
  await backUp(one.engine, next);
  const { engine: third } = await restored(next);
  await expectSame(third, one.engine, ["shop"]);
  const lives = await third.use("shop", ({ log }) => log.lives);
  expect(lives.map(({ after }) => after)).toEqual([0, 10, 20]);
  for (const side of [one.engine, two.engine, third]) await closeEngine(side);
});

test("durable subscriptions go on from where they were", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 10);
  const set = (of: Engine) => new Subscriptions({ engine: of, onError: () => {} });
  const subscriptions = set(engine);
  const made: Definition = {
    mode: "single",
    include: "none",
    creator: "ann",
    created: 1,
    ackMs: 30_000,
    maxUnacked: 256,
  };
  await engine.use("shop", async (db) => {
    const of = subscriptions.of(db);
    await of.put("mailer", made, 0);
    await of.get("mailer").ack([6]);
  });
  const at = fresh();
  const taken = await backUp(engine, at);
  expect(taken.manifest.dbs[0]?.subscriptions).toMatch(/^[0-9a-f]{64}$/);
  await write(engine, "shop", 11, 12);
  const { engine: copy } = await restored(at);
  const there = set(copy);
  await copy.use("shop", (db) => {
    const mailer = there.of(db).get("mailer");
    expect(mailer.position).toBe(6);
    expect(mailer.lag).toBe(4);
  });
  await closeEngine(copy);
});

test("what cannot be read does not take the place of what an earlier backup has", async () => {
  let rotten = false;
  const files = {
    ...sqliteFiles,
    openLog: (...args: Parameters<typeof sqliteFiles.openLog>) => {
      const storage = sqliteFiles.openLog(...args);
      return args[1] === "bad" ? new Rotten(storage, () => rotten) : storage;
    },
  };
  const engine = openEngine(undefined, files);
  withTokens(engine);
  for (const db of ["bad", "good"]) {
    await engine.create(db);
    await write(engine, db, 1, 20);
  }
  const at = fresh();
  await backUp(engine, at);
  const before = await recordsOf(engine, "bad");
  rotten = true;
  await write(engine, "good", 21, 25);
  await write(engine, "bad", 21, 25);
  const { manifest, dbs } = await backUp(engine, at, { keep: 1 });
  expect(manifest.failed).toEqual([
    { what: "bad", code: "DB_DAMAGED", detail: expect.stringContaining("23") },
  ]);
  expect(dbs).toMatchObject([{ db: "good", commits: 5 }]);
  const { engine: copy, said } = await restored(at);
  expect(said.dbs).toMatchObject([
    { db: "bad", seq: 20 },
    { db: "good", seq: 25 },
  ]);
  expect(await recordsOf(copy, "bad")).toEqual(before);
  await closeEngine(copy);
});

/** Gives record 23 with one bit of its commit flipped. */
class Rotten extends StorageAround {
  readonly #on: () => boolean;
  constructor(sound: ConstructorParameters<typeof StorageAround>[0], on: () => boolean) {
    super(sound);
    this.#on = on;
  }
  override page(from: number, limit: number) {
    return super.page(from, limit).map((record) => {
      if (record.seq !== 23 || !this.#on()) return record;
      const body = Uint8Array.from(record.body);
      body[60] = (body[60] as number) ^ 4;
      return { ...record, body };
    });
  }
}

test("a log that lost its end does not take the place of one that has it", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 20);
  const older = fresh();
  await backUp(engine, older);
  await write(engine, "shop", 21, 30);
  const at = fresh();
  await backUp(engine, at);
  // The same life goes on from an older state: somebody put an old log.sqlite back.
  const { engine: copy } = await restored(older);
  const short = await copy.use("shop", ({ storage }) => storage.last());
  expect(short).toBe(20);
  const noLife = sourceOf(copy);
  const hidden = {
    ...noLife,
    db: async (...args: Parameters<typeof noLife.db>) => withoutLives(await noLife.db(...args)),
  };
  const { manifest } = await backUp(hidden, at);
  expect(manifest.failed).toMatchObject([{ what: "shop", code: "DB_DAMAGED" }]);
  expect(manifest.dbs).toMatchObject([{ db: "shop", seq: 30 }]);
  // With the life that a restore begins it is meant so.
  await write(copy, "shop", 21, 22);
  const meant = await backUp(copy, at);
  expect(meant.manifest.failed).toEqual([]);
  expect(meant.manifest.dbs).toMatchObject([{ db: "shop", seq: 22 }]);
  const { engine: third } = await restored(at);
  await expectSame(third, copy, ["shop"]);
  expect((await restored(at, { number: 1 })).said.dbs).toMatchObject([{ seq: 30 }]);
  for (const side of [copy, third]) await closeEngine(side);
});

/** Takes the lives out of a stream's head. */
async function* withoutLives(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    const text = Buffer.from(part).toString("latin1");
    const found = /"lives":\[\{[^\]]*\}\]/.exec(text)?.[0];
    // Spaces keep the length, which stands before it.
    yield found === undefined
      ? part
      : Buffer.from(text.replace(found, `"lives":[]${" ".repeat(found.length - 10)}`), "latin1");
  }
}

test("a db that is deleted and made anew under its name is another", async () => {
  const engine = await server(["shop", "other"]);
  await write(engine, "shop", 1, 20);
  const at = fresh();
  await backUp(engine, at);
  await engine.delete("shop");
  await engine.delete("other");
  await engine.create("shop");
  await write(engine, "shop", 1, 5);
  const { manifest } = await backUp(engine, at);
  expect(manifest).toMatchObject({ failed: [], dbs: [{ db: "shop", seq: 5 }] });
  const { engine: copy } = await restored(at);
  await expectSame(copy, engine, ["shop"]);
  expect((await restored(at, { number: 1 })).said.dbs).toMatchObject([
    { db: "other", seq: 0 },
    { db: "shop", seq: 20 },
  ]);
  await closeEngine(copy);
});

test("a backup of some dbs leaves the others as an earlier one has them", async () => {
  const engine = await server(["a", "b"]);
  await write(engine, "a", 1, 3);
  await write(engine, "b", 1, 3);
  const at = fresh();
  await backUp(engine, at);
  await write(engine, "a", 4, 6);
  await write(engine, "b", 4, 6);
  const { manifest } = await backUp(engine, at, { only: ["b"] });
  expect(manifest.dbs).toMatchObject([
    { db: "a", seq: 3 },
    { db: "b", seq: 6 },
  ]);
  const none = await backUp(engine, at, { only: ["c"] });
  expect(none.manifest.failed).toMatchObject([{ what: "c", code: "DB_NOT_FOUND" }]);
  const { engine: copy, said } = await restored(at, { only: ["b"] });
  expect(said.dbs).toMatchObject([{ db: "b", seq: 6 }]);
  expect(copy.list("", 10)).toHaveLength(1);
  expect(await codeOf(() => restored(at, { only: ["c"] }))).toBe("DB_NOT_FOUND");
  await closeEngine(copy);
});

test("old backups go with what only they need, and nothing else", async () => {
  const engine = await server();
  const at = fresh();
  for (let run = 1; run <= 4; run += 1) {
    await write(engine, "shop", run * 10, run * 10 + 5);
    await backUp(engine, at);
  }
  const folder = BackupFolder.take(at);
  writeFileSync(path.join(at, "objects", "stray"), "");
  rmSync(path.join(at, "objects", "stray"));
  const before = filesIn(at);
  expect(folder.prune()).toMatchObject({ manifests: 0, files: 0 });
  expect(filesIn(at)).toEqual(before);
  expect(folder.prune(2)).toMatchObject({ manifests: 2 });
  expect(folder.numbers()).toEqual([3, 4]);
  folder.release();
  expect(await problemsOf(at)).toEqual([]);
  await engine.delete("shop");
  await engine.create("shop");
  await backUp(engine, at, { keep: 1 });
  expect(filesIn(path.join(at, "packs"))).toEqual([]);
  expect(await problemsOf(at)).toEqual([]);
});

test("a run whose connection breaks off goes on, and so does the next one after it was given up", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 300);
  const at = fresh();
  let streams = 0;
  const breaking = sourceOf(engine, () => ((streams += 1) < 4 ? 9000 * streams : Infinity));
  const { dbs } = await backUp(breaking, at);
  expect(streams).toBe(4);
  expect(dbs).toMatchObject([{ commits: 300 }]);
  const given = fresh();
  const gone = sourceOf(engine, () => ((streams += 1) > 100 ? 0 : ((streams = 101), 30_000)));
  streams = 0;
  expect(await codeOf(() => backUp(gone, given))).toBe("ECONNRESET");
  expect(filesIn(path.join(given, "manifests"))).toEqual([]);
  const left = filesIn(path.join(given, "packs"));
  expect(left.length).toBeGreaterThan(0);
  const { dbs: rest } = await backUp(engine, given);
  expect(rest[0]?.commits).toBeLessThan(300);
  expect(filesIn(path.join(given, "packs"))).toEqual(expect.arrayContaining(left));
  const { engine: copy } = await restored(given);
  await expectSame(copy, engine, ["shop"]);
  await closeEngine(copy);
});

test("writers, compactions, deletions and new dbs meanwhile are none of its business", async () => {
  const engine = await server(["a", "b", "c"]);
  for (const db of ["a", "b", "c"]) await write(engine, db, 1, 60);
  const at = fresh();
  const inner = sourceOf(engine);
  const acknowledged = new Map<string, number>();
  let busy: Promise<unknown> | undefined;
  const source = {
    ...inner,
    db: async (...args: Parameters<typeof inner.db>) => {
      const [name] = args;
      acknowledged.set(name, await engine.use(name, ({ log }) => log.head().seq).catch(() => 0));
      const stream = await inner.db(...args);
      if (name === "a") {
        busy = Promise.all([compact(engine, "a"), write(engine, "a", 61, 90), engine.create("new")]);
        await engine.delete("b");
      }
      return stream;
    },
  };
  const { manifest } = await backUp(source, at);
  await busy;
  expect(manifest.failed).toEqual([]);
  expect(manifest.dbs.map(({ db }) => db)).toEqual(["a", "c"]);
  for (const { db, seq } of manifest.dbs) expect(seq).toBeGreaterThanOrEqual(acknowledged.get(db) as number);
  await backUp(engine, at);
  expect(await problemsOf(at)).toEqual([]);
  const { engine: copy } = await restored(at);
  await expectSame(copy, engine, ["a", "c", "new"]);
  await closeEngine(copy);
});

test("nothing is written into a folder that holds something else, nor by two at once", async () => {
  const engine = await server();
  const at = fresh();
  await backUp(engine, at);
  const held = BackupFolder.take(at);
  expect(await codeOf(() => backUp(engine, at))).toBe("DIR_IN_USE");
  held.release();
  const home = fresh();
  await backUp(engine, home);
  rmSync(path.join(home, "skald-backup"));
  expect(await codeOf(() => backUp(engine, home))).toBe("DIR_NOT_EMPTY");
  expect(await codeOf(() => restored(home))).toBe("BACKUP_NOT_FOUND");
  expect(statSync(at).mode & 0o077).toBe(0);
  for (const name of filesIn(at).filter((file) => !file.startsWith("lock")))
    expect({ name, mode: statSync(path.join(at, name)).mode & 0o077 }).toEqual({ name, mode: 0 });
});

test("a restore fills an empty directory only, and a server does not start on one that it did not finish", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 3);
  const at = fresh();
  await backUp(engine, at);
  const { dir, engine: copy } = await restored(at);
  await closeEngine(copy);
  const again = (into: string) =>
    import("../../src/backup/restore.ts").then(({ restoreBackup }) =>
      restoreBackup(BackupFolder.open(at), into, { reserve: 0 }),
    );
  expect(await codeOf(() => again(dir))).toBe("DIR_NOT_EMPTY");
  expect(readFileSync(path.join(dir, "service.sqlite")).length).toBeGreaterThan(0);
  // As a restore leaves it that was killed after the dbs took their place.
  rmSync(path.join(dir, "service.sqlite"));
  writeFileSync(path.join(dir, "restoring"), "");
  expect(() => openEngine(dir)).toThrow(expect.objectContaining({ code: "RESTORE_UNFINISHED" }));
  expect(existsSync(path.join(dir, "service.sqlite"))).toBe(false);
  await again(dir);
  const whole = openEngine(dir);
  await expectSame(whole, engine, ["shop"]);
  await closeEngine(whole);
  const none = fresh();
  BackupFolder.take(none).release();
  expect(await codeOf(() => restored(none))).toBe("BACKUP_NOT_FOUND");
});

test("a server that sends something else than it said is not believed", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 20);
  const other = await server();
  await write(other, "shop", 1, 20);
  const inner = sourceOf(engine);
  const items = async (of: Engine): Promise<Uint8Array[]> => {
    const all: Uint8Array[] = [];
    const stream = await sourceOf(of).db("shop", { have: [] });
    for await (const item of readFrames(stream)) all.push(Uint8Array.from(item as Uint8Array));
    return all;
  };
  const good = await items(engine);
  const [head, ...rest] = good as [Uint8Array, ...Uint8Array[]];
  const end = rest.pop() as Uint8Array;
  const foreign = (await items(other)).slice(1, -1);
  const said = (of: Uint8Array, from: string | RegExp, to: string): Uint8Array =>
    Buffer.from(Buffer.from(of).toString("utf8").replace(from, to));
  const flipped = Uint8Array.from(rest[9] as Uint8Array);
  flipped[70] = (flipped[70] as number) ^ 1;
  const lies: Readonly<Record<string, { sent: Uint8Array[]; code: string }>> = {
    "leaves a record out": { sent: [head, ...rest.toSpliced(7, 1), end], code: "DB_DAMAGED" },
    "sends one twice": {
      sent: [head, ...rest.toSpliced(7, 0, rest[7] as Uint8Array), end],
      code: "DB_DAMAGED",
    },
    "sends two the wrong way round": {
      sent: [head, ...rest.toSpliced(7, 2, rest[8] as Uint8Array, rest[7] as Uint8Array), end],
      code: "DB_DAMAGED",
    },
    "sends one with a flipped bit": {
      sent: [head, ...rest.toSpliced(9, 1, flipped), end],
      code: "DB_DAMAGED",
    },
    "sends another db's": { sent: [head, ...foreign, end], code: "DB_DAMAGED" },
    "sends another db's last one": {
      sent: [head, ...rest.with(-1, foreign.at(-1) as Uint8Array), end],
      code: "DB_DAMAGED",
    },
    "ends too early": { sent: [head, ...rest.slice(0, 9), end], code: "UNREACHABLE" },
    "has no end": { sent: [head, ...rest], code: "UNREACHABLE" },
    "names another head": {
      sent: [said(head, /"commit":"bafy\w+"\}\}\}$/, '"commit":"bafyother"}}}'), ...rest, end],
      code: "SYNC_DIVERGED",
    },
    "goes on from a place that nobody named": {
      sent: [said(head, '"after":{"seq":0,', '"after":{"seq":3,'), ...rest.slice(3), end],
      code: "BAD_REQUEST",
    },
    "says nothing": { sent: [], code: "UNREACHABLE" },
    "says that it failed": {
      sent: [
        head,
        ...rest.slice(0, 3),
        Buffer.from('{"error":{"code":"DB_DAMAGED","detail":"Commit 4 is missing."}}'),
      ],
      code: "DB_DAMAGED",
    },
  };
  for (const [lie, { sent, code }] of Object.entries(lies)) {
    const at = fresh();
    const source = { ...inner, db: () => Promise.resolve(stream(encodeRecords(sent))) };
    const failed = await backUp(source, at).then(
      ({ manifest }) => manifest.failed.map((one) => one.code).join(),
      (error: { code: string }) => error.code,
    );
    expect({ lie, failed }).toEqual({ lie, failed: code });
    // A run that comes to its end has nothing of it.
    for (const number of BackupFolder.open(at).numbers())
      expect(BackupFolder.open(at).manifest(number).dbs).toEqual([]);
    expect({ lie, problems: await problemsOf(at) }).toEqual({ lie, problems: [] });
    // What came whole before it may be gone on from; the rest is asked for anew.
    await backUp(engine, at);
    expect(BackupFolder.open(at).manifest(BackupFolder.open(at).numbers().at(-1) as number)).toMatchObject({
      failed: [],
      dbs: [{ seq: 20 }],
    });
    expect({ lie, problems: await problemsOf(at) }).toEqual({ lie, problems: [] });
  }
});

// eslint-disable-next-line @typescript-eslint/require-await -- what it stands for comes from a socket
async function* stream(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

test("branches, signatures and names of points are restored, but for names of what was not backed up yet", async () => {
  const engine = await server();
  const { did } = engine.signing.create();
  await write(engine, "shop", 1, 8);
  await engine.use("shop", async ({ log }) => {
    await log.createBranch("draft", { author: "ann", at: 5 });
    await log.createBranch("from-nothing", { author: "ann", at: 0 });
  });
  await put(engine, "items/1", { draft: true }, { db: "shop" });
  await engine.use("shop", (db) =>
    db.tx({
      author: "ann",
      branch: "draft",
      writes: [{ doc: "items/2", edit: { kind: "put", value: '{"on":"draft"}' } }],
    }),
  );
  const name = (called: string, seq: number) =>
    engine
      .snapshots("shop")
      .add({ name: called, kind: "history", seq, commit: null, created: 1, message: null, branch: null });
  name("early", 4);
  const at = fresh();
  const inner = sourceOf(engine);
  // Written after the log was read, and before the service file is.
  const source = {
    ...inner,
    files: async () => {
      await write(engine, "shop", 9, 12);
      name("late", 14);
      return inner.files();
    },
  };
  const { manifest } = await backUp(source, at);
  expect(manifest.files.map((file) => file.name)).toEqual(["service.sqlite", "signing-keys.json"]);
  expect(manifest.dbs).toMatchObject([{ seq: 12 }]);
  await backUp(engine, at);
  const first = await restored(at, { number: 1 });
  expect(
    first.engine
      .snapshots("shop")
      .page("", 10)
      .map((row) => row.name),
  ).toEqual(["early"]);
  const second = await restored(at);
  await expectSame(second.engine, engine, ["shop"]);
  expect(
    second.engine
      .snapshots("shop")
      .page("", 10)
      .map((row) => row.name),
  ).toEqual(["early", "late"]);
  for (const { engine: copy } of [first, second]) {
    await copy.use("shop", async ({ log }) => {
      expect(log.branches().map((branch) => branch.name)).toEqual(["main", "draft", "from-nothing"]);
      expect(log.commit(3)?.commit.signed?.signer).toBe(did);
    });
    expect(copy.signing.keys.map((key) => key.did)).toEqual([did]);
    await put(copy, "items/3", { again: true }, { db: "shop" });
    expect(await wrongInLog(copy, "shop")).toEqual([]);
    await closeEngine(copy);
  }
});

test("what was erased since a backup stays erased when that backup is restored", async () => {
  const engine = await server();
  await write(engine, "shop", 1, 5);
  await put(engine, "people/ann", { secret: CANARY }, { db: "shop" });
  await compact(engine, "shop");
  await write(engine, "shop", 6, 8);
  const at = fresh();
  await backUp(engine, at);
  await engine.use("shop", (db) => db.erase({ author: "ann", docs: ["people/ann"] }));
  await backUp(engine, at);
  const { engine: copy, dir } = await restored(at, { number: 1 });
  expect(await codeOf(() => read(copy, "people/ann", "shop"))).toBe("ERASED");
  expect(await read(copy, "items/3", "shop")).toEqual(await read(engine, "items/3", "shop"));
  expect(await wrongIn(copy, "shop")).toEqual([]);
  await closeEngine(copy);
  expect(traces(dir, CANARY)).toEqual([]);
});

const CANARY = "canary-4b1d7c-that-nobody-may-read";
