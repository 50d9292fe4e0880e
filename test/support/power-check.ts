import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Tokens } from "../../src/auth/tokens.ts";
import { isSkaldError } from "../../src/errors.ts";
import { cidToString } from "../../src/ids/cid.ts";
import { dbFolder } from "../../src/ids/names.ts";
import { isBundle, unpackBundle } from "../../src/log/bundle.ts";
import { openRecord } from "../../src/log/stored-commit.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { DbTable, SERVICE_FILE, type DbRow } from "../../src/store/sqlite-registry.ts";
import type { DiskImage, ImageFile } from "./disk-image.ts";
import { findingsIn } from "./ledger.ts";
import type { KnownDb, PowerLedger } from "./power-ledger.ts";

/** What the checker finds in a log, in words; empty when it is sound. */
export function unsound(storage: LogStorage): string[] {
  return findingsIn(storage).map(({ what, where }) => `${what}: ${where}`);
}

interface FoundCommit {
  readonly commit: string;
  readonly clientTxId: string;
}

interface FoundLog {
  readonly refused?: string;
  readonly problems: readonly string[];
  readonly commits: readonly FoundCommit[];
}

interface FoundService {
  readonly refused?: string;
  readonly rows: ReadonlyMap<string, DbRow>;
  readonly tokens: ReadonlyMap<string, { label: string; revoked: boolean }>;
}

/** The image's data directory. */
export const DATA = "data";
const SUFFIXES = ["", "-wal", "-journal", ".closed"];

/**
 * Opens what a power cut left as the product does and holds it against what clients were told. Only the
 * files that count are opened, each combination of their bytes once.
 */
export class PowerCheck {
  /** Combinations of files that were opened. */
  opened = 0;
  readonly #scratch: string;
  readonly #logs = new Map<string, FoundLog>();
  readonly #services = new Map<string, FoundService>();
  /** Bodies of records that were expanded before, by the seq they are under. */
  readonly #bodies: Map<number, { body: Buffer; name: string; commits: FoundCommit[] }[]>;
  readonly #verdicts: Map<string, readonly string[]>;

  constructor(scratch: string, like?: PowerCheck) {
    this.#scratch = scratch;
    this.#bodies = like ? like.#bodies : new Map();
    this.#verdicts = like ? like.#verdicts : new Map();
  }

  /** One for another disk: keys of files count on one disk only, what records hold counts everywhere. */
  another(): PowerCheck {
    return new PowerCheck(this.#scratch, this);
  }

  /** What is wrong with the image, in words. */
  problems(image: DiskImage, ledger: PowerLedger): string[] {
    const service = this.service(image);
    if (service.refused !== undefined) return [`${SERVICE_FILE} refuses to open: ${service.refused}`];
    const problems: string[] = [];
    const known = new Set([...ledger.dbs.keys(), ...service.rows.keys()]);
    for (const id of known) {
      const row = service.rows.get(id);
      const db = ledger.dbs.get(id);
      if (!db) problems.push(`the db ${id} was made up`);
      else this.#db(image, id, db, row, ledger, problems);
    }
    for (const [id, state] of ledger.tokens) {
      const found = service.tokens.get(id);
      if (!found) problems.push(`token ${id} is lost`);
      else if (state === "revoked" && !found.revoked) problems.push(`the revocation of ${id} is lost`);
      else if (state === "made" && found.revoked) problems.push(`the revocation of ${id} was made up`);
    }
    for (const { label } of service.tokens.values())
      if (!ledger.labels.has(label)) problems.push(`the token ${label} was made up`);
    return problems;
  }

  #db(
    image: DiskImage,
    id: string,
    db: KnownDb,
    row: DbRow | undefined,
    ledger: PowerLedger,
    problems: string[],
  ): void {
    if (db.state === "ready" && row?.state !== "ready") problems.push(`the db ${id} is lost`);
    if (db.state === "absent" && row) problems.push(`the db ${id} is there after it was deleted`);
    if (!row && image.folders.has(`${DATA}/dbs/${dbFolder(id)}`))
      problems.push(`the folder of ${id} is there and nothing knows it`);
    if (row?.state !== "ready") return;
    const log = this.log(image, id);
    if (log.refused !== undefined) problems.push(`the log of ${id} refuses to open: ${log.refused}`);
    for (const problem of log.problems) problems.push(`the log of ${id} is unsound: ${problem}`);
    const last = log.commits.length;
    if (last < db.acked) problems.push(`commits of ${id} are lost: ${last} of ${db.acked}`);
    log.commits.forEach(({ commit, clientTxId }, i) => {
      const truth = db.truth.get(i + 1);
      if (truth !== undefined && truth !== commit) problems.push(`commit ${i + 1} of ${id} is another one`);
      if (!ledger.sent.has(clientTxId)) problems.push(`commit ${i + 1} of ${id} was made up`);
    });
  }

  service(image: DiskImage): FoundService {
    const files = own(image, `${DATA}/${SERVICE_FILE}`);
    return remembered(this.#services, keyOf(files), () => {
      if (files.length === 0) return { rows: new Map(), tokens: new Map() };
      const dir = this.#put(files, "service");
      const opened: { close(): void }[] = [];
      try {
        const table = new DbTable(dir);
        opened.push(table);
        const rows = [...table.page("", 1000), ...table.unfinished()];
        const tokens = new Tokens(path.join(dir, SERVICE_FILE));
        opened.push(tokens);
        return {
          rows: new Map(rows.map((row) => [row.dbId, row])),
          tokens: new Map(
            tokens.list().map(({ id, label, revoked }) => [id, { label, revoked: revoked !== null }]),
          ),
        };
      } catch (error) {
        return { refused: nameOf(error), rows: new Map(), tokens: new Map() };
      } finally {
        for (const one of opened) one.close();
      }
    });
  }

  log(image: DiskImage, id: string): FoundLog {
    const files = own(image, `${DATA}/dbs/${dbFolder(id)}/log.sqlite`);
    return remembered(this.#logs, `${id} ${keyOf(files)}`, () => {
      const dir = this.#put(files, "log");
      let storage: LogStorage | undefined;
      try {
        storage = openSqliteLog(dir, id, { reserve: 0 });
        return this.#walk(storage);
      } catch (error) {
        return { refused: nameOf(error), problems: [], commits: [] };
      } finally {
        storage?.close();
      }
    });
  }

  /** Verifies a log; the part that is a function of its records only once for each series of them. */
  #walk(storage: LogStorage): FoundLog {
    const commits: FoundCommit[] = [];
    const bodies: string[] = [];
    for (const { seq, body } of storage.page(1, 1_000_000)) {
      const known = remembered(this.#bodies, seq, () => []);
      let found = known.find((one) => one.body.equals(body));
      if (!found) {
        const stored = isBundle(body) ? unpackBundle(storage.identity.uid, body) : [openRecord(body, seq)];
        found = {
          body: Buffer.from(body),
          name: `${seq}.${known.length}`,
          commits: stored.map(({ cid, clientTxId }) => ({ commit: cidToString(cid), clientTxId })),
        };
        known.push(found);
      }
      bodies.push(found.name);
      for (const commit of found.commits) commits.push(commit);
    }
    const verdict = remembered(this.#verdicts, bodies.join(), () => unsound(storage));
    return { problems: [...verdict, ...storage.inspect()], commits };
  }

  #put(files: readonly (readonly [string, ImageFile])[], name: string): string {
    this.opened += 1;
    const dir = path.join(this.#scratch, name);
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    for (const [file, { bytes }] of files) writeFileSync(path.join(dir, path.basename(file)), bytes());
    return dir;
  }
}

function own(image: DiskImage, file: string): (readonly [string, ImageFile])[] {
  return SUFFIXES.flatMap((suffix) => {
    const found = image.files.get(file + suffix);
    return found ? [[file + suffix, found] as const] : [];
  });
}

function keyOf(files: readonly (readonly [string, ImageFile])[]): string {
  return files.map(([file, { key }]) => `${file}:${key}`).join(" ");
}

function remembered<K, V>(known: Map<K, V>, key: K, make: () => V): V {
  let value = known.get(key);
  if (value === undefined) {
    value = make();
    known.set(key, value);
  }
  return value;
}

function nameOf(error: unknown): string {
  return isSkaldError(error) ? `${error.code} ${error.message}` : String(error);
}
