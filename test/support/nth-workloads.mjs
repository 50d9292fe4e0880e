// What runs under the faults, from the compiled engine. Nothing here starts Automerge but `projection`.
import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { request } from "node:http";
import path from "node:path";
import Database from "better-sqlite3";
import { Tokens } from "../../dist/auth/tokens.js";
import { readConfig } from "../../dist/config.js";
import { Engine } from "../../dist/db/engine.js";
import { dbFolder } from "../../dist/ids/names.js";
import { packBundle } from "../../dist/log/bundle.js";
import { readChange } from "../../dist/log/change.js";
import { genesisOf } from "../../dist/log/genesis.js";
import { Log } from "../../dist/log/log.js";
import { startService } from "../../dist/service.js";
import { within } from "./nth-case.mjs";
import { openSqliteCatalog } from "../../dist/store/sqlite-catalog.js";
import { openSqliteLog } from "../../dist/store/sqlite-log.js";

const SERVICE = "service.sqlite";

function startEngine(run, more = {}) {
  return new Engine({ dir: run.dir, reserve: 0, documents: { workers: 1 }, onError: run.told, ...more });
}

/** A start that failed must leave the way free for the next one. */
async function started(run, more) {
  const make = async () => startEngine(run, more);
  const engine = await run.step("start", make);
  if (engine) return engine;
  run.closed();
  run.failed = undefined;
  return run.step("start anew", make);
}

/** The db, without the projection's timer: it would start Automerge. */
const using = (engine, dbId, work) =>
  engine.use(dbId, async (db) => {
    await db.projection.close();
    try {
      return await work(db);
    } catch (error) {
      inside.add(error);
      throw error;
    }
  });

/** What was thrown by an open db. What opening one throws stops nothing: there was no write. */
const inside = new WeakSet();

async function made(run, engine, dbId) {
  const make = () => engine.create(dbId);
  run.dbs[dbId] = "gone";
  if ((await run.step(`create ${dbId}`, make)) === undefined) {
    run.dbs[dbId] = "unknown";
    if (run.failed.includes(SERVICE)) return false;
    // The disk failed on a db that nobody was promised.
    run.failed = undefined;
    if ((await run.step(`create ${dbId} anew`, make)) === undefined) {
      // Removing what was begun struck the list of dbs.
      if (run.failed.includes(SERVICE)) return false;
      run.wrong(`${dbId} cannot be made on a sound disk`);
      return false;
    }
  }
  run.dbs[dbId] = "there";
  return true;
}

/** Nothing was asked of it yet, so an opening that failed may be tried again. */
async function opened(run, engine) {
  const open = () => using(engine, "a", () => true);
  if (await run.step("open", open)) return true;
  run.failed = undefined;
  if (await run.step("open anew", open)) return true;
  run.wrong("does not open on a sound disk");
  return false;
}

async function wrote(run, engine, doc, pad) {
  return using(engine, "a", (db) => run.tx(db, doc, pad)).then((tx) =>
    run.step(`write ${tx.id}`, async () => {
      await using(engine, "a", (db) => run.send((request) => db.tx(request), tx));
      return true;
    }),
  );
}

/** Closes the engine; a failed log must not have been touched meanwhile. */
async function ended(run, engine, tokens) {
  let untouched = () => {};
  if (run.failed?.includes("log.sqlite") && inside.has(run.error)) {
    await using(engine, "a", async (db) => {
      untouched = await run.stopped(db);
    }).catch((error) => run.wrong("reads do not go on", error));
  }
  const failed = run.failed;
  await run.step("close tokens", async () => tokens?.close());
  await within(engine.close(), "close").catch((error) => {
    run.steps.push(`close ${error?.code ?? error}`);
    if (error?.code !== "STORAGE_FULL" && error?.code !== "STORAGE_FAILED") run.wrong("close", error);
    if (error?.code === "STORAGE_FAILED" && failed === undefined && run.failed === undefined)
      run.failed = "close";
  });
  untouched();
  run.closed();
}

/** A directory's whole life: making it, dbs and tokens, writes, views, two compactions, deleting, closing. */
async function life(run, { thread = false } = {}) {
  const engine = await started(run);
  if (!engine) return run.wrong("does not start on a sound disk");
  let tokens;
  await lived(run, engine, thread, (made) => (tokens = made));
  await ended(run, engine, tokens);
}

async function lived(run, engine, thread, holdTokens) {
  for (const dbId of ["a", "b"]) if (!(await made(run, engine, dbId))) return;
  const compact = (db) => (thread ? db.compact() : db.log.compact(packBundle));
  if (!(await opened(run, engine))) return;
  for (let i = 0; i < 3; i += 1) if (!(await wrote(run, engine, `notes/${i % 2}`, i * 3000))) return;
  // A group: three writers share one append.
  const group = await using(engine, "a", (db) => [0, 1, 2].map((i) => run.tx(db, `notes/${i}`)));
  await Promise.all(
    group.map((tx) =>
      run.step(`write ${tx.id}`, () => using(engine, "a", (db) => run.send((request) => db.tx(request), tx))),
    ),
  );
  if (run.failed !== undefined) return;
  await run.step("list", () => using(engine, "a", (db) => db.log.list("", "", 10)));
  await run.step("tidy", () => using(engine, "a", (db) => db.log.tidy()));
  if (run.failed !== undefined) return;
  await run.step("views", () =>
    using(engine, "a", ({ views, log }) => {
      const { seq } = log.head();
      const row = { deleted: false, json: "{}".padEnd(9000), problem: undefined, seq };
      views.write([{ ...row, name: "notes/0" }], seq);
      views.putSaved("notes/0", seq, new Uint8Array(9000));
      views.tidy();
    }),
  );
  await run.step("compact", () => using(engine, "a", compact));
  if (run.failed !== undefined) return;
  if (!(await wrote(run, engine, "notes/1"))) return;
  await run.step("compact again", () => using(engine, "a", compact));
  if (run.failed !== undefined) return;
  if (!(await wrote(run, engine, "notes/2"))) return;
  const tokens = await run.step("tokens", async () => new Tokens(path.join(run.dir, SERVICE)));
  if (!tokens) return;
  holdTokens(tokens);
  const first = { text: "", id: "", state: "unknown" };
  run.tokens.push(first);
  await run.step("make a token", async () => {
    const { token, record } = tokens.create({ label: "t", subject: "s", scopes: [{ db: "*", action: "*" }] });
    Object.assign(first, { text: token, id: record.id, state: "good" });
  });
  if (run.failed !== undefined) return;
  await run.step("audit", async () => tokens.audit({ principal: first.id, action: "db.create", db: "a" }));
  if (run.failed !== undefined) return;
  first.state = "unknown";
  await run.step("revoke", async () => {
    tokens.revoke(first.id);
    first.state = "revoked";
    if (tokens.verify(first.text)) run.wrong("a revoked token is taken");
  });
  if (run.failed !== undefined) return;
  run.dbs.b = "unknown";
  const drop = async () => {
    await engine.delete("b");
    return true;
  };
  if ((await run.step("delete", drop)) === undefined) {
    if (run.failed.includes(SERVICE)) return;
    run.failed = undefined;
    if ((await run.step("delete anew", drop)) === undefined)
      return run.wrong("cannot be deleted on a sound disk");
  }
  run.dbs.b = "gone";
  if (!(await made(run, engine, "b"))) return;
  await run.step("read", () => using(engine, "a", (db) => run.readable(db)));
}

/**
 * A directory as a crash left it: a write-ahead log that is not moved, a bundle that the catalog does not
 * know, a db half made and one half deleted. `template` makes it, without faults.
 */
const recovery = {
  async template(run) {
    const engine = startEngine(run);
    await engine.create("a");
    run.dbs.a = "there";
    for (let i = 0; i < 6; i += 1) await wrote(run, engine, `notes/${i % 3}`, i * 1000);
    await using(engine, "a", (db) => db.log.list("", "", 10));
    const folder = engine.folderOf("a");
    const crashed = `${run.dir}.crashed`;
    const copied = path.join(crashed, path.relative(run.dir, folder));
    const copy = (pattern, to) => {
      mkdirSync(to, { recursive: true });
      const from = to === copied ? folder : run.dir;
      for (const name of readdirSync(from))
        if (pattern.test(name) && !name.endsWith("-shm")) cpSync(path.join(from, name), path.join(to, name));
    };
    copy(/^(?:catalog|views)/, copied);
    await using(engine, "a", (db) => db.log.compact(packBundle));
    for (let i = 0; i < 4; i += 1) await wrote(run, engine, `notes/${i}`);
    copy(/^log/, copied);
    copy(/^service/, crashed);
    await engine.close();
    return crashed;
  },
  async work(run) {
    const engine = await started(run);
    if (!engine) return run.wrong("does not start on a sound disk");
    if ((await opened(run, engine)) && (await wrote(run, engine, "notes/1"))) {
      await run.step("read", () => using(engine, "a", (db) => run.readable(db)));
    }
    await ended(run, engine);
  },
};

/** A directory whose files have a schema from before every migration; `template` makes one without faults. */
const older = {
  async template(run) {
    const engine = startEngine(run);
    await engine.create("a");
    run.dbs.a = "there";
    for (let i = 0; i < 3; i += 1) await wrote(run, engine, `notes/${i % 2}`);
    const folder = engine.folderOf("a");
    await engine.close();
    age(path.join(folder, "catalog.sqlite"));
    age(path.join(folder, "views.sqlite"));
    return run.dir;
  },
  work: (run) => recovery.work(run),
};

/** Empties a file down to the state before its first migration. */
function age(file) {
  // It was sealed as what it was.
  rmSync(`${file}.seal`, { force: true });
  const sqlite = new Database(file);
  sqlite.pragma("foreign_keys = OFF");
  for (const name of sqlite
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .pluck()
    .all())
    sqlite.exec(`DROP TABLE "${String(name)}"`);
  sqlite.exec(
    "CREATE TABLE from_before (filler); INSERT INTO from_before VALUES (zeroblob(9000)); DROP TABLE from_before",
  );
  sqlite.pragma("user_version = 0");
  sqlite.close();
}

let shared;
let current;

/** The documents projection, in Automerge: one engine for all runs, a db for each. Faults hit the db's folder. */
async function projection(run, spec) {
  current = run;
  shared ??= new Engine({
    dir: path.join(spec.root, "projection"),
    reserve: 0,
    documents: { workers: 1 },
    onError: (error) => current.told(error),
  });
  const dbId = `p${spec.id}`;
  await shared.create(dbId);
  const use = (work) => shared.use(dbId, work);
  await use(async (db) => {
    for (const doc of ["notes/0", "notes/1", "notes/0"]) await run.send((tx) => db.tx(tx), run.tx(db, doc));
  });
  const folder = shared.folderOf(dbId);
  run.rearm(folder);
  const followed = () =>
    use(async (db) => {
      await db.projection.catchUp();
      return rows(db);
    });
  const acknowledged = await run.step("follow", followed);
  await run.step("list", () => use((db) => db.log.list("", "", 10)));
  await run.step("compact", () => use((db) => db.compact()));
  run.heal();
  const failed = run.failed;
  await within(shared.rebuild(dbId), "rebuild").catch((error) => failed ?? run.wrong("rebuild", error));
  const anew = await within(use(rows), "read").catch((error) => run.wrong("read", error));
  if (acknowledged !== undefined && acknowledged !== anew)
    run.wrong(`${acknowledged} and, made anew, ${anew}`);
  if (!anew?.includes("k0")) run.wrong(`it is ${anew}`);
  await within(shared.delete(dbId), "delete").catch((error) => run.wrong("delete", error));
  await new Promise((resolve) => setImmediate(resolve));
  run.closed(folder);
}

const rows = ({ views, log }) => JSON.stringify([views.head() - log.head().seq, views.page("", 100)]);

/** The service: what the caller hears, and that a failed disk is fatal. */
async function service(run) {
  let fatal = 0;
  const config = readConfig({ dir: run.dir, logLevel: "silent", workers: "1", reserveMb: "0" }, {});
  const start = () => startService(config, { listen: false, onFatal: () => (fatal += 1) });
  let running = await run.step("start", start);
  if (!running) {
    run.closed();
    run.failed = undefined;
    running = await run.step("start anew", start);
    if (!running) return run.wrong("does not start on a sound disk");
  }
  const asked = async (method, url, body) => {
    const { status, code } = await ask(running.socket, method, url, body);
    if (status < 400) return true;
    if ((code === "STORAGE_FULL") !== (status === 507)) run.wrong(`${code} is answered with ${status}`);
    if (code === "STORAGE_FAILED" && fatal === 0) run.wrong("goes on after the disk failed");
    throw Object.assign(new Error(`${method} ${url} ${status}`), { name: "SkaldError", code, details: {} });
  };
  run.dbs.a = "unknown";
  const steps = [
    { method: "PUT", url: "/api/v1/db/a" },
    { method: "GET", url: "/readyz" },
    {
      method: "POST",
      url: "/api/v1/admin/tokens",
      body: { label: "t", subject: "s", scopes: ["a:doc.read"] },
    },
    { method: "GET", url: "/api/v1/db/a" },
  ];
  for (const { method, url, body } of steps) {
    const done = await run.step(`${method} ${url}`, () => asked(method, url, body));
    if (done === undefined) break;
    if (method === "PUT") run.dbs.a = "there";
  }
  await within(running.stop("test"), "stop").catch((error) => run.steps.push(`stop ${error?.code}`));
  run.closed();
}

function ask(socketPath, method, url, body) {
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath, path: url, method, headers: { "content-type": "application/json" } },
      async (got) => {
        let text = "";
        for await (const chunk of got) text += chunk;
        const answer = text.startsWith("{") ? JSON.parse(text) : {};
        resolve({ status: got.statusCode, code: answer.code });
      },
    );
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** The log alone, over a storage that answers before it has appended: to see the tests fail. */
const early = {
  async template(run) {
    const engine = startEngine(run);
    await engine.create("a");
    run.dbs.a = "there";
    await engine.close();
    return run.dir;
  },
  work: earlyWork,
};

async function earlyWork(run) {
  const folder = path.join(run.dir, "dbs", dbFolder("a"));
  const log = new Log(answersEarly(openSqliteLog(folder, "a", { reserve: 0 })), openSqliteCatalog(folder), {
    onError: () => {},
  });
  const db = { log, genesis: (doc) => genesisOf(log.identity.uid, ...doc.split("/")) };
  for (let i = 0; i < 6; i += 1)
    await run.send((request) => log.write(plain(request)), run.tx(db, "notes/0")).catch(() => {});
  await log.close().catch(() => {});
}

const plain = ({ author, clientTxId, writes }) => ({
  author,
  clientTxId,
  writes: writes.map(({ doc, changes }) => ({ doc, changes: changes.map(readChange) })),
});

function answersEarly(storage) {
  let last = storage.last();
  let before = Promise.resolve();
  const kept = [];
  return new Proxy(storage, {
    get(target, name) {
      if (name === "last") return () => last;
      if (name === "read") return (seq) => target.read(seq) ?? kept[seq];
      if (name === "append")
        return (records) => {
          for (const { seq, body } of records) kept[seq] = body;
          last += records.length;
          before = before.then(() => target.append(records)).catch(() => {});
          return Promise.resolve();
        };
      const value = target[name];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

export const WORKLOADS = {
  life: { work: life },
  recovery,
  older,
  projection: { work: projection },
  service: { work: service },
  early,
};
