import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import type { Place } from "../log/log.ts";
import { placeJson } from "../replication/peer.ts";
import { encodeRecords } from "../replication/frames.ts";
import type { LogStorage } from "../store/contract.ts";
import { SERVICE_FILE } from "../store/sqlite-registry.ts";
import { openSqliteSubscriptions } from "../store/sqlite-subscriptions.ts";
import { named, openSqlite, storageError } from "../store/sqlite.ts";
import type { World } from "../world.ts";
import { encodeNote, type Head } from "./frames.ts";
import { SERVER_FILES } from "./server-files.ts";
import { encodeSubscriptions } from "./subscription-rows.ts";

/**
 * What a server gives to whoever backs it up. It reads a page at a time, between others' requests, as the pages
 * are taken from it; nothing waits for it. Bundles go out as they are: whoever takes them opens them.
 */

/** Records read at once, in number and bytes. */
const PAGE_RECORDS = 512;
const PAGE_BYTES = 512 * 1024;
const COPY_BYTES = 256 * 1024;

export interface Wanted {
  /** Commits that the asker has, and goes on from the newest that is on this line. */
  readonly have: readonly Place[];
  /** The head of an earlier backup. */
  readonly known?: Place | undefined;
  /** From the first commit on, whatever is there. */
  readonly all?: boolean | undefined;
}

export interface BackedUp {
  use<T>(dbId: string, work: (db: Db) => T | Promise<T>): Promise<T>;
  folderOf(dbId: string): string;
}

/**
 * One db up to its head as it is now: what was acknowledged before is in it. Throws DB_NOT_FOUND and what opening
 * throws; what goes wrong later is the stream's last item.
 */
export async function* streamDb(engine: BackedUp, dbId: string, wanted: Wanted): AsyncGenerator<Uint8Array> {
  const begun = await engine.use(dbId, async (db) => {
    const { identity } = db.log;
    // Before the head is fixed, so that no position is beyond it.
    const subscriptions = subscriptionsOf(engine.folderOf(dbId), identity.uid);
    const head = db.log.head();
    const known =
      wanted.known?.cid === undefined || (await db.log.common([wanted.known])).seq === wanted.known.seq;
    const common = wanted.all === true ? { seq: 0, cid: undefined } : await db.log.common(wanted.have);
    const after: Place = common.seq > head.seq ? { seq: 0, cid: undefined } : common;
    const said: Head = {
      uid: toHex(identity.uid),
      actor: toHex(identity.actor),
      created: identity.created,
      lives: db.storage.lives(),
      subscriptions,
      after: placeJson(after),
      known,
      head: placeJson(head),
    };
    return { said, head, after, uid: identity.uid, epoch: db.log.epoch };
  });
  const { said, head, after, uid, epoch } = begun;
  yield encodeRecords([encodeNote({ head: said })]);
  try {
    for (let seq = after.seq; seq < head.seq;) {
      const from = seq + 1;
      const page = await engine.use(dbId, (db) => {
        if (db.log.epoch !== epoch || Buffer.compare(db.log.identity.uid, uid) !== 0)
          throw new SkaldError("SYNC_DIVERGED", `The db ${dbId} took over another line meanwhile.`);
        return bodiesFrom(db.storage, from, head.seq);
      });
      seq = page.last;
      yield encodeRecords(page.bodies);
    }
    yield encodeRecords([encodeNote({ end: placeJson(head) })]);
  } catch (error) {
    if (!isSkaldError(error)) throw error;
    yield encodeRecords([encodeNote({ error: { code: error.code, detail: error.message } })]);
  }
}

interface Bodies {
  readonly bodies: readonly Uint8Array[];
  /** The last commit in them. */
  readonly last: number;
}

/** Bodies as they are kept, from the one with commit `from` on; at most up to `upTo`, but for the last bundle's end. */
function bodiesFrom(storage: LogStorage, from: number, upTo: number): Bodies {
  const packed = storage.packed?.(from, Math.min(PAGE_RECORDS, upTo - from + 1), PAGE_BYTES);
  if (packed) {
    let at = 0;
    const bodies = packed.ends.map((end) => packed.bytes.subarray(at, (at = end)));
    return { bodies, last: from + bodies.length - 1 };
  }
  const [row] = storage.page(from, 1);
  if (!row) throw new SkaldError("DB_DAMAGED", `Commit ${from} is missing.`, { details: { seq: from } });
  return { bodies: [row.body], last: row.seq };
}

function subscriptionsOf(folder: string, uid: Uint8Array): Head["subscriptions"] {
  try {
    const table = openSqliteSubscriptions(folder, uid, { readonly: true });
    if (!table) return null;
    try {
      return table.stored.size === 0
        ? null
        : Buffer.from(encodeSubscriptions(table.stored.values())).toString("base64");
    } finally {
      table.close();
    }
  } catch (error) {
    if (!isSkaldError(error)) throw error;
    return { code: error.code, detail: error.message };
  }
}

/**
 * The server's own files, the service file as it is at one moment: it is copied beside itself first, so that a reader
 * who takes its time keeps nobody waiting. Throws STORAGE_FULL, STORAGE_FAILED, DB_DAMAGED.
 */
export async function* streamFiles(dir: string, world: World): AsyncGenerator<Uint8Array> {
  const own = `service-copy-${process.pid}-`;
  for (const name of readdirSync(dir))
    if (/^service-copy-\d+-[0-9a-f]+\.part$/.test(name) && !name.startsWith(own))
      rmSync(path.join(dir, name), { force: true });
  const copy = path.join(dir, `${own}${toHex(world.random(8))}.part`);
  try {
    named(copy, () => writeFileSync(copy, "", { mode: 0o600, flag: "wx" }));
    const source = openSqlite(path.join(dir, SERVICE_FILE), { kind: "service", readonly: true });
    try {
      await source.backup(copy);
    } catch (error) {
      throw storageError(error, copy);
    } finally {
      source.close();
    }
    let files = 0;
    for (const name of SERVER_FILES) {
      const file = name === SERVICE_FILE ? copy : path.join(dir, name);
      if (!existsSync(file)) continue;
      yield* streamFile(name, file);
      files += 1;
    }
    yield encodeRecords([encodeNote({ done: files })]);
  } finally {
    for (const suffix of ["", "-journal"])
      if (existsSync(copy + suffix)) rmSync(copy + suffix, { force: true });
  }
}

async function* streamFile(name: string, file: string): AsyncGenerator<Uint8Array> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    yield encodeRecords([encodeNote({ file: { name, bytes: size } })]);
    for (let at = 0; at < size;) {
      const { bytesRead, buffer } = await handle.read(
        Buffer.allocUnsafe(COPY_BYTES),
        0,
        Math.min(COPY_BYTES, size - at),
      );
      // It was cut meanwhile: whoever reads misses the rest.
      if (bytesRead === 0) return;
      yield encodeRecords([buffer.subarray(0, bytesRead)]);
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
