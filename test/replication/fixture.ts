import path from "node:path";
import { checkDb, finished } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import { listErasures } from "../../src/db/erasure.ts";
import { Engine } from "../../src/db/engine.ts";
import { sqliteFiles, type DbFiles } from "../../src/db/files.ts";
import { cidToString } from "../../src/ids/cid.ts";
import type { Place } from "../../src/log/log.ts";
import { encodeHead, encodeRecords } from "../../src/replication/frames.ts";
import type { Carrying } from "../../src/replication/exchange.ts";
import type { Peer } from "../../src/replication/peer.ts";
import { compareLines, streamRecords, takePush, takeStaged } from "../../src/replication/serve.ts";
import { memoryDir } from "../support/temp-dir.ts";

const root = memoryDir();
let count = 0;
const engines = new Set<Engine>();
afterAll(async () => {
  for (const engine of engines) await engine.close().catch(() => {});
});

export function openEngine(
  dir = path.join(root, `side-${++count}`),
  files: DbFiles = sqliteFiles,
  sign: "auto" | "always" = "auto",
): Engine {
  const engine = new Engine({ dir, files, sign, reserve: 0, documents: { workers: 1 }, onError: () => {} });
  engines.add(engine);
  return engine;
}

export async function closeEngine(engine: Engine): Promise<void> {
  engines.delete(engine);
  await engine.close();
}

export const DB = "notes";

/** What goes wrong on the way: asked for each stream and each push. */
export interface Weather {
  /** Bytes of the stream after which it breaks off. */
  readonly cut?: () => number;
  /** Whether a push gets lost before it is done, or its answer after. */
  readonly lost?: () => "before" | "after" | undefined;
}

export const brokeOff = (): Error => Object.assign(new Error("broke off"), { code: "ECONNRESET" });

/** A copy as the routes give it, without the routes. */
export function peerOf(engine: Engine, db = DB, { cut, lost }: Weather = {}): Peer {
  const use = <T>(work: (db: Db) => T | Promise<T>): Promise<T> => engine.use(db, work);
  const perhaps = async <T>(work: () => Promise<T>): Promise<T> => {
    const fate = lost?.();
    if (fate === "before") throw brokeOff();
    const done = await work();
    if (fate === "after") throw brokeOff();
    return done;
  };
  const send = (
    take: (db: Db, bytes: Uint8Array) => Promise<Place>,
    [uid, after, bodies, erased = []]: Parameters<Peer["push"]>,
  ): Promise<Place> => {
    const head = encodeHead({ uid, after: after.seq, commit: after.cid, erased });
    return perhaps(() => use((held) => take(held, Buffer.concat([head, encodeRecords(bodies)]))));
  };
  return {
    name: `${db} of ${engine.dir}`,
    compare: (have, between) =>
      use(async (held) => ({ uid: held.log.identity.uid, ...(await compareLines(held, have, between)) })),
    pull: (after, upTo) => Promise.resolve(cutAt(streamRecords(use, after, upTo), cut?.() ?? Infinity)),
    erased: (docs) => use((held) => listErasures(held, "", docs.length, docs).erasures.map(({ doc }) => doc)),
    push: (...page) => send((held, bytes) => takePush(held, bytes, { erase: true, define: true }), page),
    stage: (...page) => send(takeStaged, page),
    merge: (staged) =>
      perhaps(async () => {
        const { head, here, there, common } = await engine.merge(db, staged, "operator");
        return { head, heads: [here, there], common };
      }),
  };
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

export const carrying: Carrying = { pause: () => new Promise((resolve) => setImmediate(resolve)) };

/** Makes an empty copy of a db on another side. */
export async function makeCopy(from: Engine, to: Engine, db = DB): Promise<void> {
  const uid = await from.use(db, (held) => held.log.identity.uid);
  await to.create(db, uid);
}

/** The addresses of every commit, in order. */
export const lineOf = (engine: Engine, db = DB): Promise<string[]> =>
  engine.use(db, (held) =>
    Array.from({ length: held.log.head().seq }, (_, i) =>
      cidToString(held.log.commit(i + 1)?.cid ?? new Uint8Array(0)),
    ),
  );

export const headOf = (engine: Engine, db = DB): Promise<Place> => engine.use(db, (held) => held.log.head());

/** Everything that does not hold of a copy. */
export const wrongWith = (
  engine: Engine,
  db = DB,
  receipts: readonly { readonly seq: number; readonly commit: string }[] = [],
): Promise<readonly unknown[]> =>
  engine.use(db, async (held) => {
    await held.projection.catchUp();
    return (await finished(checkDb(held, { receipts }))).findings;
  });

export function put(
  engine: Engine,
  doc: string,
  value: unknown,
  { db: name = DB, ...more }: { author?: string; clientTxId?: string; db?: string } = {},
) {
  return engine.use(name, (db) =>
    db.tx({ author: "ann", ...more, writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] }),
  );
}

export const read = (engine: Engine, doc: string, name = DB): Promise<unknown> =>
  engine.use(name, async (db) => JSON.parse((await db.read(doc)).json) as unknown);

export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return "none";
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

/** Copies of dbs on one engine: for what does not need two processes. */
export function copies() {
  const engine = openEngine();
  let names = 0;
  const next = (): string => `copy-${++names}`;
  return {
    engine,
    peer: (db: string, weather?: Weather): Peer => peerOf(engine, db, weather),
    made: async (): Promise<string> => {
      const name = next();
      await engine.create(name);
      return name;
    },
    copy: async (of: string): Promise<string> => {
      const name = next();
      await engine.create(name, await engine.use(of, ({ log }) => log.identity.uid));
      return name;
    },
  };
}
