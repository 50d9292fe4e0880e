import path from "node:path";
import Database from "better-sqlite3";
import * as A from "@automerge/automerge";
import { JsonCache } from "../../src/db/json-cache.ts";
import type { Invariant } from "../../src/db/invariants.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { signerOf } from "../../src/ids/ed25519.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { decodeCommit, encodeCommit, type Commit, type CommitEntry } from "../../src/log/commit.ts";
import { signCommit } from "../../src/log/signature.ts";
import { decodeRecord, encodeRecord } from "../../src/log/record.ts";
import type {
  CatalogBatch,
  CatalogTable,
  DbIdentity,
  Fact,
  FactKind,
  LogStorage,
  AdoptedLine,
  Life,
  SeqRange,
  StoredDoc,
  StoredRecord,
} from "../../src/store/contract.ts";
import type { DocumentRow, Views } from "../../src/store/sqlite-views.ts";
import { BOTH, LAST, type Build, type Worked } from "./check-workload.ts";
import type { LEDGER_INVARIANTS } from "./ledger.ts";

/**
 * For each invariant a build that breaks it and as little else as can be: a check that was never seen to
 * fail proves nothing. They stand around the parts of a db; nothing in them is reached from src.
 */
export interface BrokenBuild extends Build {
  /** What is wrong with it, to read after "a build that". */
  readonly wrong: string;
  /** Done to the files once the workload is through. */
  readonly after?: (worked: Worked) => void;
}

/** A storage that passes everything on, to be made worse. */
export class StorageAround implements LogStorage {
  readonly sound: LogStorage;
  constructor(sound: LogStorage) {
    this.sound = sound;
  }
  get identity(): DbIdentity {
    return this.sound.identity;
  }
  last(): number {
    return this.sound.last();
  }
  append(records: readonly StoredRecord[]): Promise<void> {
    return this.sound.append(records);
  }
  read(seq: number): Uint8Array | undefined {
    return this.sound.read(seq);
  }
  page(from: number, limit: number): StoredRecord[] {
    return this.sound.page(from, limit);
  }
  replace(from: number, to: number, body: Uint8Array): Promise<void> {
    return this.sound.replace(from, to, body);
  }
  ranges(): SeqRange[] {
    return this.sound.ranges();
  }
  lives(): readonly Life[] {
    return this.sound.lives();
  }
  staged(): SeqRange | undefined {
    return this.sound.staged();
  }
  stagedPage(from: number, limit: number): StoredRecord[] {
    return this.sound.stagedPage(from, limit);
  }
  stage(records: readonly StoredRecord[]): Promise<void> {
    return this.sound.stage(records);
  }
  unstage(): Promise<void> {
    return this.sound.unstage();
  }
  adopt(line: AdoptedLine): Promise<void> {
    return this.sound.adopt(line);
  }
  tidy(): boolean {
    return this.sound.tidy();
  }
  bytes(): number {
    return this.sound.bytes();
  }
  inspect(): string[] {
    return this.sound.inspect();
  }
  close(): void {
    this.sound.close();
  }
}

/** A catalog that passes everything on, to be made worse. */
export class CatalogAround implements CatalogTable {
  readonly sound: CatalogTable;
  constructor(sound: CatalogTable) {
    this.sound = sound;
  }
  head(): number {
    return this.sound.head();
  }
  headCid(): Uint8Array | undefined {
    return this.sound.headCid();
  }
  doc(name: string): StoredDoc | undefined {
    return this.sound.doc(name);
  }
  /** One by one, so that a `doc` in the place of this one's is asked. */
  docs(names: readonly string[]): StoredDoc[] {
    return names.flatMap((name) => this.doc(name) ?? []);
  }
  named(automerge: number): string[] {
    return this.sound.named(automerge);
  }
  find(prefix: number): number[] {
    return this.sound.find(prefix);
  }
  receipt(principal: string, clientTxId: string): number | undefined {
    return this.sound.receipt(principal, clientTxId);
  }
  touches(doc: number, before: number, limit: number): number[] {
    return this.sound.touches(doc, before, limit);
  }
  touchesAfter(doc: number, after: number, upTo: number): number[] {
    return this.sound.touchesAfter(doc, after, upTo);
  }
  list(prefix: string, after: string, limit: number, withDeleted: boolean): StoredDoc[] {
    return this.sound.list(prefix, after, limit, withDeleted);
  }
  touchedSince(from: number, limit: number): string[] {
    return this.sound.touchedSince(from, limit);
  }
  counts(): { documents: number; deleted: number } {
    return this.sound.counts();
  }
  bundlesOf(doc: number): number[] {
    return this.sound.bundlesOf(doc);
  }
  bundles(): SeqRange[] {
    return this.sound.bundles();
  }
  fold(bundles: readonly (SeqRange & { readonly docs: readonly string[] })[]): void {
    this.sound.fold(bundles);
  }
  facts(kind: FactKind): Fact[] {
    return this.sound.facts(kind);
  }
  settle(docs: readonly string[], addresses: readonly (readonly [prefix: number, seq: number])[]): void {
    this.sound.settle(docs, addresses);
  }
  write(batch: CatalogBatch): readonly number[] | void {
    return this.sound.write(batch);
  }
  close(): void {
    this.sound.close();
  }
}

/** The views with some of their methods in another's place. */
export function viewsAround(sound: Views, worse: Partial<Record<keyof Views, unknown>>): Views {
  return new Proxy(sound, {
    get: (target, name) => {
      if (Object.hasOwn(worse, name)) return worse[name as keyof Views];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

interface Parts {
  commit: Commit;
  blocks: readonly Uint8Array[];
  digest?: Uint8Array;
  clientTxId: string;
}

/** A storage that keeps another commit than it was given, under the right address and check. */
function respelling(wanted: (commit: Commit) => boolean, respell: (parts: Parts) => Parts): Build {
  return {
    storage: (sound) =>
      new (class extends StorageAround {
        override append(records: readonly StoredRecord[]): Promise<void> {
          return super.append(
            records.map(({ seq, body }) => {
              const record = decodeRecord(body, seq);
              const before = decodeCommit(record.commit);
              if (!wanted(before)) return { seq, body };
              const { blocks, clientTxId } = record;
              const parts = respell({ commit: before, blocks, clientTxId });
              const commit = encodeCommit(parts.commit);
              return { seq, body: encodeRecord({ digest: blake3(commit), ...parts, commit }) };
            }),
          );
        }
      })(sound),
  };
}

const isLast = ({ message }: Commit): boolean => message === LAST;
const lastCommit = (alter: (commit: Commit) => Partial<Commit>): Build =>
  respelling(isLast, (parts) => ({ ...parts, commit: { ...parts.commit, ...alter(parts.commit) } }));
const lastEntry = (alter: (entry: CommitEntry) => Partial<CommitEntry>): Build =>
  lastCommit(({ entries }) => ({ entries: entries.map((entry) => ({ ...entry, ...alter(entry) })) }));
/** The last commit with another change, all addresses right. */
const lastChange = (alter: Record<string, unknown>): Build =>
  respelling(isLast, (parts) => {
    const [entry] = parts.commit.entries as [CommitEntry];
    const { hash: _, ...decoded } = A.decodeChange(parts.blocks[0] as Uint8Array);
    const change = A.encodeChange({ ...decoded, ...alter } as never);
    const heads = [A.decodeChange(change).hash as string];
    const entries = [{ ...entry, changes: [cidOf(CODEC_RAW, change)], heads }];
    return { ...parts, commit: { ...parts.commit, entries }, blocks: [change] };
  });

const other = (bytes: Uint8Array): Uint8Array =>
  bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));

export const BROKEN_BUILDS: Readonly<Record<Invariant | keyof typeof LEDGER_INVARIANTS, BrokenBuild>> = {
  record: {
    wrong: "flips a bit of a record",
    storage: (sound) =>
      new (class extends StorageAround {
        override append(records: readonly StoredRecord[]): Promise<void> {
          return super.append(
            records.map(({ seq, body }) => ({
              seq,
              body: seq === 5 ? body.map((byte, i) => (i === 60 ? byte ^ 4 : byte)) : body,
            })),
          );
        }
      })(sound),
  },
  address: {
    wrong: "keeps another block than the commit names",
    ...respelling(isLast, (parts) => ({ ...parts, blocks: parts.blocks.map(other) })),
  },
  chain: {
    wrong: "names another commit as the parent",
    ...lastCommit(() => ({ parents: [cidOf(CODEC_DAG_CBOR, new Uint8Array([1]))] })),
  },
  branch: {
    wrong: "keeps a commit of a branch that nobody made",
    ...lastCommit(() => ({ branch: "nobody's" })),
  },
  seq: {
    wrong: "loses a record that it acknowledged",
    storage: (sound) =>
      new (class extends StorageAround {
        override page(from: number, limit: number): StoredRecord[] {
          return super.page(from, limit).filter(({ seq }) => seq !== 6);
        }
        override read(seq: number): Uint8Array | undefined {
          return seq === 6 ? undefined : super.read(seq);
        }
      })(sound),
  },
  erased: {
    wrong: "keeps a commit without the bytes of its change",
    ...respelling(isLast, (parts) => ({ ...parts, blocks: parts.blocks.map(() => new Uint8Array(0)) })),
  },
  removed: {
    wrong: "says that it took away what was erased and leaves it",
    storage: (sound) =>
      new (class extends StorageAround {
        override replace(from: number, to: number, body: Uint8Array): Promise<void> {
          return from === to ? Promise.resolve() : super.replace(from, to, body);
        }
      })(sound),
  },
  merged: {
    wrong: "names a second parent that it does not hold",
    ...lastCommit(({ parents }) => ({ parents: [...parents, cidOf(CODEC_DAG_CBOR, new Uint8Array([1]))] })),
  },
  identity: {
    wrong: "keeps a commit of another db",
    ...lastCommit(() => ({ db: new Uint8Array(16).fill(7) })),
  },
  blocks: {
    wrong: "drops a block on append",
    ...respelling(
      ({ message }) => message === BOTH,
      (parts) => ({ ...parts, blocks: parts.blocks.slice(1) }),
    ),
  },
  change: {
    wrong: "cuts a change off, and addresses what is left",
    ...respelling(isLast, (parts) => {
      const cut = (parts.blocks[0] as Uint8Array).slice(0, -1);
      const entries = parts.commit.entries.map((entry) => ({ ...entry, changes: [cidOf(CODEC_RAW, cut)] }));
      return { ...parts, commit: { ...parts.commit, entries }, blocks: [cut] };
    }),
  },
  deps: {
    wrong: "takes a change on one that is not there",
    ...lastChange({ deps: ["ff".repeat(32)] }),
  },
  actor: { wrong: "takes a number of an actor twice", ...lastChange({ seq: 1 }) },
  ops: { wrong: "takes operations far ahead", ...lastChange({ startOp: 900 }) },
  time: { wrong: "lets a commit's time fall", ...lastCommit(() => ({ time: 5 })) },
  base: { wrong: "starts an entry from other heads", ...lastEntry(() => ({ base: ["00".repeat(32)] })) },
  heads: { wrong: "ends an entry at other heads", ...lastEntry(({ base }) => ({ heads: base })) },
  refused: {
    wrong: "sets a change aside that is not there",
    ...respelling(isLast, (parts) => {
      const entries = parts.commit.entries.map((entry) => ({
        ...entry,
        changes: [],
        heads: entry.base,
        refused: ["ab".repeat(32)],
      }));
      return { ...parts, commit: { ...parts.commit, entries }, blocks: [] };
    }),
  },
  signature: {
    wrong: "signs other bytes than the commit's",
    ...lastCommit((commit) => {
      const { signed } = signCommit({ ...commit, time: commit.time + 1 }, signerOf(new Uint8Array(32)));
      return signed ? { signed } : {};
    }),
  },
  engine: {
    wrong: "says of a record that it starts where another ends",
    after: ({ folder }) => {
      const sqlite = new Database(path.join(folder, "log.sqlite"));
      sqlite.exec("UPDATE record SET first = 5 WHERE seq = 6");
      sqlite.close();
    },
  },
  receipts: {
    wrong: "forgets a receipt, so that a repeat is written again",
    catalog: (sound) =>
      new (class extends CatalogAround {
        override receipt(principal: string, clientTxId: string): number | undefined {
          return clientTxId === "tx-2" ? undefined : super.receipt(principal, clientTxId);
        }
      })(sound),
  },
  acknowledged: {
    wrong: "acknowledges before it keeps",
    storage: (sound) =>
      new (class extends StorageAround {
        readonly #kept: StoredRecord[] = [];
        override append(records: readonly StoredRecord[]): Promise<void> {
          const isIt = records.some(({ seq, body }) => isLast(decodeCommit(decodeRecord(body, seq).commit)));
          // The process ends before it gets to the disk.
          return isIt ? Promise.resolve(void this.#kept.push(...records)) : super.append(records);
        }
      })(sound),
  },
  invented: {
    wrong: "writes something of its own",
    ...respelling(isLast, (parts) => ({ ...parts, clientTxId: "nobody's" })),
  },
  feed: {
    wrong: "leaves a commit out of short pages",
    storage: (sound) =>
      new (class extends StorageAround {
        override page(from: number, limit: number): StoredRecord[] {
          const page = super.page(from, limit);
          return limit === 2 ? page.filter((_, i) => i !== 0 || page.length === 1) : page;
        }
      })(sound),
  },
  catalog: {
    wrong: "keeps a deleted document as one that is there",
    catalog: (sound) =>
      new (class extends CatalogAround {
        override write(batch: CatalogBatch): void {
          super.write({ ...batch, docs: batch.docs.map((doc) => ({ ...doc, deleted: false })) });
        }
      })(sound),
  },
  projection: {
    wrong: "writes a row one batch late",
    views: (sound) => {
      let late: readonly DocumentRow[] = [];
      return viewsAround(sound, {
        write: (rows: readonly DocumentRow[], head: number) => {
          const before = late;
          late = rows.filter(({ name }) => name === "c/a");
          sound.write([...before, ...rows.filter(({ name }) => name !== "c/a")], head);
        },
      });
    },
  },
  saved: {
    wrong: "keeps a saved form under a later commit than it was made at",
    views: (sound) =>
      viewsAround(sound, {
        putSaved: (name: string, seq: number, bytes: Uint8Array) => sound.putSaved(name, seq + 7, bytes),
      }),
  },
  routes: {
    wrong: "answers a reader from a cache that does not look which commit its value is of",
    cache: new (class extends JsonCache {
      readonly #first = new Map<string, string>();
      override get(docRef: string): string | undefined {
        return this.#first.get(docRef);
      }
      override put(docRef: string, _seq: number, json: string): void {
        if (!this.#first.has(docRef)) this.#first.set(docRef, json);
      }
    })(2 ** 20),
  },
  whole: {
    wrong: "keeps half of a write and says that it failed",
    storage: (sound) =>
      new (class extends StorageAround {
        override async append(records: readonly StoredRecord[]): Promise<void> {
          const failed = records.some(
            ({ seq, body }) => decodeCommit(decodeRecord(body, seq).commit).message === BOTH,
          );
          await super.append(
            records.map(({ seq, body }) => {
              const record = decodeRecord(body, seq);
              const commit = decodeCommit(record.commit);
              if (commit.message !== BOTH) return { seq, body };
              const bytes = encodeCommit({ ...commit, entries: commit.entries.slice(0, 1) });
              const half = {
                ...record,
                digest: blake3(bytes),
                commit: bytes,
                blocks: record.blocks.slice(0, 1),
              };
              return { seq, body: encodeRecord(half) };
            }),
          );
          if (failed) throw Object.assign(new Error("the disk failed"), { code: "STORAGE_FAILED" });
        }
      })(sound),
  },
  turnedAway: {
    wrong: "keeps a write and says that the disk is full",
    storage: (sound) =>
      new (class extends StorageAround {
        override async append(records: readonly StoredRecord[]): Promise<void> {
          await super.append(records);
          if (records.some(({ seq, body }) => isLast(decodeCommit(decodeRecord(body, seq).commit))))
            throw Object.assign(new Error("the disk is full"), { code: "STORAGE_FULL" });
        }
      })(sound),
  },
};
