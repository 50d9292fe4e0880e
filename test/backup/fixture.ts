import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { BackupFolder } from "../../src/backup/folder.ts";
import { restoreBackup, type RestoreOptions, type Restored } from "../../src/backup/restore.ts";
import { streamDb, streamFiles } from "../../src/backup/serve.ts";
import type { DbRequest, Source } from "../../src/backup/source.ts";
import { takeBackup, type TakeOptions, type Taken } from "../../src/backup/take.ts";
import { verifyBackup } from "../../src/backup/verify.ts";
import * as A from "@automerge/automerge";
import { Tokens } from "../../src/auth/tokens.ts";
import { checkDb, finished } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import type { Engine } from "../../src/db/engine.ts";
import { cidToString } from "../../src/ids/cid.ts";
import { toHex } from "../../src/ids/hash.ts";
import { bodyOf } from "../../src/log/stored-commit.ts";
import { realWorld } from "../../src/world.ts";
import { brokeOff, closeEngine, openEngine } from "../replication/fixture.ts";
import { copyOf, lastChange, set, type Doc } from "../log/fixture.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";

const root = memoryDir();
let count = 0;

/** A path that nothing is at yet. */
export const fresh = (): string => path.join(root, `at-${++count}`);

/** An engine as the routes give it, without the routes. `cut` says after how many bytes a stream breaks off. */
export function sourceOf(engine: Engine, cut?: () => number): Source {
  return {
    // eslint-disable-next-line @typescript-eslint/require-await -- what it stands for asks a server
    async *dbs() {
      for (const { dbId } of engine.list("", 1000)) yield dbId;
    },
    db: async (name: string, wanted: DbRequest) => {
      const stream = streamDb(engine, name, wanted);
      const first = await stream.next();
      return cutAt(again(first, stream), cut?.() ?? Infinity);
    },
    files: () => Promise.resolve(streamFiles(engine.dir, realWorld)),
  };
}

async function* again<T>(first: IteratorResult<T, void>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  if (first.done !== true) yield first.value;
  yield* rest;
}

async function* cutAt(parts: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const part of parts) {
    if (part.length >= left) {
      if (left > 0) yield part.subarray(0, left);
      throw brokeOff();
    }
    left -= part.length;
    yield part;
  }
}

export async function backUp(
  from: Engine | Source,
  to: string,
  options: Partial<TakeOptions> & { keep?: number } = {},
): Promise<Taken> {
  const { keep, ...more } = options;
  const world = { ...realWorld, timer: (_ms: number, work: () => void) => realWorld.timer(1, work) };
  const folder = BackupFolder.take(to);
  try {
    const source = "dbs" in from ? from : sourceOf(from);
    const taken = await takeBackup(source, folder, { skald: "test", world, ...more });
    if (keep !== undefined) folder.prune(keep);
    return taken;
  } finally {
    folder.release();
  }
}

export const verified = (at: string) => verifyBackup(BackupFolder.open(at));

export const problemsOf = async (at: string) => (await verified(at)).problems;

export async function restored(
  from: string,
  options: RestoreOptions = {},
): Promise<{ engine: Engine; said: Restored; dir: string }> {
  const dir = fresh();
  const said = await restoreBackup(BackupFolder.open(from), dir, { reserve: 0, ...options });
  return { engine: openEngine(dir), said, dir };
}

/** A service file as every server has one. */
export function withTokens(engine: Engine, labels: readonly string[] = ["admin"]): string[] {
  const tokens = new Tokens(path.join(engine.dir, "service.sqlite"));
  try {
    return labels.map((label) => tokens.create({ label, scopes: [{ db: "*", action: "*" }] }).token);
  } finally {
    tokens.close();
  }
}

/** Every record of a db, as it is when it stands alone. */
export const recordsOf = (engine: Engine, db: string): Promise<string[]> =>
  engine.use(db, ({ log }) => {
    const all: string[] = [];
    for (let seq = 1; seq <= log.head().seq; seq += 1) {
      const stored = log.commit(seq);
      all.push(stored ? toHex(bodyOf(stored)) : "missing");
    }
    return all;
  });

export const headCid = (engine: Engine, db: string): Promise<string | null> =>
  engine.use(db, ({ log }) => {
    const { cid } = log.head();
    return cid ? cidToString(cid) : null;
  });

/** Everything that does not hold of a db, and what is derived of it. */
export const wrongIn = (engine: Engine, db: string): Promise<readonly unknown[]> =>
  engine.use(db, async (held) => {
    await held.projection.catchUp();
    return (await finished(checkDb(held, {}))).findings;
  });

/** The same of its log alone, which needs no thread. */
export const wrongInLog = (engine: Engine, db: string): Promise<readonly unknown[]> =>
  engine.use(db, ({ storage }) => findingsIn(storage));

const documents = new WeakMap<Engine, Map<string, Doc>>();
let actors = 0;

/** Writes that a client authors, so that no thread has to be started for them. */
export async function write(engine: Engine, db: string, from: number, to: number): Promise<void> {
  const known = documents.get(engine) ?? new Map<string, Doc>();
  documents.set(engine, known);
  for (let n = from; n <= to; n += 1) {
    const doc = `items/${n % 7}`;
    await engine.use(db, async (held) => {
      const key = `${toHex(held.log.identity.uid)} ${doc}`;
      const copy = known.get(key) ?? loaded(held.log, doc);
      const next = set(copy, { n, text: "x".repeat(n % 40) });
      known.set(key, next);
      await held.tx({ author: "ann", writes: [{ doc, changes: [lastChange(next)] }] });
    });
  }
}

function loaded(log: Db["log"], doc: string): Doc {
  actors += 1;
  const copy = copyOf(log, doc, actors.toString(16).padStart(32, "0"));
  return A.applyChanges(copy, log.changes(doc, 0, log.head().seq))[0];
}

/** Every file below a folder, by its name in it. */
export function filesIn(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return (readdirSync(dir, { recursive: true }) as string[])
    .filter((name) => statSync(path.join(dir, name)).isFile())
    .sort();
}

export { closeEngine, openEngine };
