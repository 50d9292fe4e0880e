// Runs in a child process under the disk recorder, from the compiled engine: does one of the workloads below
// and marks what it asks for and what it is answered, one JSON object a mark. Marks go through a file that
// the recorder knows, so each has its place among the writes and syncs.
import fs, { openSync, writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";
import Database from "better-sqlite3";
import { plainChange, sha256 } from "./plain-change.mjs";

const options = JSON.parse(process.argv[2]);
const marks = openSync(process.env.SKALD_RECORD_MARKS, "w");
const mark = (what) => writeSync(marks, JSON.stringify(what));

/** Builds that break a promise: each must be seen to lose something. */
const broken = {
  none() {},
  normal: () => synchronous("NORMAL"),
  off: () => synchronous("OFF"),
  /** Names of files and folders are never synced by our own code. */
  folders: () => syncs((fd) => !fs.fstatSync(fd).isDirectory()),
  /** A log that is closed does not make sure that its write-ahead log stays empty. */
  emptied: () => syncs((fd) => !fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith("-wal")),
  /** Handled where the log is made. */
  early() {},
  /** What a killed process left in the write-ahead log is read and not made durable. */
  unsettled() {
    syncs((fd) => !fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith("-wal"));
    pragmas((real, text) =>
      text.startsWith("wal_checkpoint") ? [{ busy: 0, log: 0, checkpointed: 0 }] : real(text),
    );
  },
};

const synchronous = (level) =>
  pragmas((real, text) => real(text.replace(/^synchronous = FULL$/, `synchronous = ${level}`)));

/** Leaves out the syncs of our own code, not those of SQLite, that are not `kept`. */
function syncs(kept) {
  const { fsyncSync } = fs;
  fs.fsyncSync = (fd) => kept(fd) && fsyncSync(fd);
  syncBuiltinESMExports();
}

function pragmas(instead) {
  const pragma = Reflect.get(Database.prototype, "pragma");
  Database.prototype.pragma = function (text, ...rest) {
    return instead((other) => pragma.call(this, other, ...rest), text);
  };
}

broken[options.broken ?? "none"]();
const { Engine } = await import("../../dist/db/engine.js");
const { Tokens } = await import("../../dist/auth/tokens.js");
const { openSqliteLog } = await import("../../dist/store/sqlite-log.js");
const { openSqliteCatalog } = await import("../../dist/store/sqlite-catalog.js");
const { Log } = await import("../../dist/log/log.js");
const { readChange } = await import("../../dist/log/change.js");
const { cidToString } = await import("../../dist/ids/cid.js");
const { genesisOf } = await import("../../dist/log/genesis.js");

let seed = options.seed;
function random() {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (limit) => Math.floor(random() * limit);

const { dir } = options;
let sent = 0;

function start(at = dir) {
  return new Engine({
    dir: at,
    reserve: 0,
    documents: { workers: 1 },
    onError: (error) => mark({ error: String(error) }),
  });
}

/** One change for each of `docs`, each on top of what the log has. */
function changesOf(log, docs, pad) {
  return docs.map((doc) => {
    const [collection, key] = doc.split("/");
    const state = log.state(doc);
    const actor = sha256(`${options.seed} ${doc} ${process.pid}`).subarray(0, 16).toString("hex");
    const bytes = plainChange({
      deps: state ? [...state.heads.keys()] : [genesisOf(log.identity.uid, collection, key).hash],
      actor,
      seq: (state?.actors.get(actor)?.seq ?? 0) + 1,
      startOp: (state?.maxOp ?? 0) + 1,
      key: `k${below(40)}`,
      value: below(64),
      pad,
    });
    return { doc, changes: [bytes] };
  });
}

/** Writes to a db, with a mark before it is asked for and one after it is answered. */
async function write(db, docs, pad = 0) {
  const id = `${process.pid}-${sent++}`;
  mark({ sent: db.id, id });
  const receipt = await db.tx({ author: "writer", clientTxId: id, writes: changesOf(db.log, docs, pad) });
  mark({ acked: db.id, id, seq: receipt.seq, commit: receipt.commit });
}

async function writers(db, count, each, besides = () => {}) {
  const one = async (doc) => {
    for (let i = 0; i < each; i += 1) {
      await write(db, [doc], random() < 0.1 ? below(5000) : 0);
      besides();
    }
  };
  await Promise.all(Array.from({ length: count }, (_, i) => one(`notes/${i}`)));
}

async function create(engine, db) {
  mark({ creating: db });
  await engine.create(db);
  mark({ created: db });
}

async function remove(engine, db) {
  mark({ deleting: db });
  await engine.delete(db);
  mark({ deleted: db });
}

/** A storage that says durable before it wrote anything. */
function acknowledgesEarly(storage) {
  const waiting = new Map();
  return {
    identity: storage.identity,
    last: () => storage.last(),
    append(records) {
      for (const { seq, body } of records) waiting.set(seq, body);
      setTimeout(() => storage.append(records), 0);
      return Promise.resolve();
    },
    read: (seq) => storage.read(seq) ?? waiting.get(seq),
    page: (from, limit) => storage.page(from, limit),
    ranges: () => storage.ranges(),
    lives: () => storage.lives(),
    staged: () => storage.staged(),
    tidy: () => storage.tidy(),
    close: () => storage.close(),
  };
}

const workloads = {
  /** Eight writers at once; checkpoints and batches of the catalog in between. */
  async storm() {
    const engine = start();
    await create(engine, "a");
    await engine.use("a", (db) =>
      writers(db, 8, 8, () => {
        if (random() < 0.12) db.log.tidy();
      }),
    );
    await engine.close();
  },

  /** Transactions that do not fit into SQLite's cache, among small ones. */
  async large() {
    const engine = start();
    await create(engine, "a");
    await engine.use("a", async (db) => {
      for (let i = 0; i < 2; i += 1) {
        await writers(db, 2, 1 + below(3));
        await write(
          db,
          Array.from({ length: 28 }, (_, n) => `large/${n}`),
          80_000 + below(10_000),
        );
        if (i === 0) db.log.tidy();
      }
      await writers(db, 2, 2);
    });
    await engine.close();
  },

  /** Dbs that come and go, and come again under the same name. */
  async dbs() {
    const engine = start();
    const there = new Set();
    for (let i = 0; i < 14; i += 1) {
      const db = `d${below(3)}`;
      if (there.delete(db)) await remove(engine, db);
      else {
        await create(engine, db);
        there.add(db);
      }
      for (const id of there) await engine.use(id, (open) => writers(open, 2, below(2)));
    }
    await engine.close();
  },

  /** Commits are put into bundles, and bundles made anew with more, while others write. */
  async compact() {
    const engine = start();
    await create(engine, "a");
    await engine.use("a", async (db) => {
      await writers(db, 6, 6);
      for (let i = 0; i < 4; i += 1) {
        await Promise.all([db.compact(), writers(db, 4, 4)]);
        if (i === 1) db.log.tidy();
      }
    });
    await engine.close();
    const again = start();
    await again.use("a", async (db) => {
      await writers(db, 2, 2);
      await db.compact();
    });
    await again.close();
  },

  /** Clean ends, new starts, and everything derived dropped and made anew. */
  async reopen() {
    for (let i = 0; i < 5; i += 1) {
      const engine = start();
      if (i === 0) await create(engine, "a");
      await engine.use("a", (db) => writers(db, 3, 3));
      if (i % 2 === 1) {
        await engine.rebuild("a").catch(() => {});
        await engine.use("a", (db) => writers(db, 2, 2, () => db.log.tidy()));
      }
      await engine.close();
    }
  },

  /** What the service itself keeps: tokens and the audit log, beside the list of dbs. */
  async service() {
    for (let round = 0; round < 2; round += 1) {
      const engine = start();
      const tokens = new Tokens(path.join(dir, "service.sqlite"));
      if (round === 0) await create(engine, "a");
      const ids = [];
      for (let i = 0; i < 16; i += 1) {
        if (ids.length > 0 && random() < 0.4) {
          const [id] = ids.splice(below(ids.length), 1);
          mark({ revoking: id });
          tokens.revoke(id);
          mark({ revoked: id });
        } else {
          const label = `t${sent++}`;
          mark({ making: label });
          const { token, record } = tokens.create({
            label,
            scopes: [{ db: "*", action: "*" }],
            subject: "s",
          });
          mark({ made: label, token: record.id });
          tokens.verify(token);
          ids.push(record.id);
        }
        tokens.audit({ principal: "p", action: "a", detail: "x".repeat(below(3000)) });
      }
      await engine.use("a", (db) => writers(db, 2, 2));
      await engine.close();
      tokens.close();
    }
  },

  /** Writers on a log alone; `early` acknowledges before the append is made. */
  async log() {
    const engine = start();
    await create(engine, "a");
    const folder = engine.folderOf("a");
    const storage = openSqliteLog(folder, "a", { reserve: 0 });
    const log = new Log(
      options.broken === "early" ? acknowledgesEarly(storage) : storage,
      openSqliteCatalog(folder),
    );
    const db = {
      id: "a",
      log,
      tx: ({ writes, ...request }) =>
        log.write({
          ...request,
          writes: writes.map(({ doc, changes }) => ({ doc, changes: changes.map(readChange) })),
        }),
    };
    for (let i = 0; i < 80; i += 1) {
      await write(db, [`notes/${i % 8}`]);
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (random() < 0.1) log.tidy();
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    await log.close();
    await engine.close();
  },

  /** Opens each of several crash images, tells what it has, writes to it once more and closes. */
  async recover() {
    for (const { at, dbs } of options.images) {
      mark({ image: at });
      const engine = start(at);
      for (const id of dbs) {
        if (!engine.has(id)) continue;
        await engine.use(id, async (db) => {
          const { seq, cid } = db.log.head();
          mark({ saw: id, seq, commit: cid ? cidToString(cid) : null });
          await write(db, ["notes/0"]);
        });
      }
      await engine.close();
    }
  },
};

await workloads[options.workload]();
process.exit(0);
