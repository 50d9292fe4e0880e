import { createRequire } from "node:module";
import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A3 from "@automerge/automerge";
import { changeHash } from "../../src/documents/handle.ts";
import { splitFile } from "../../src/documents/split.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { readChange, readTrustedHeader, type ChangeHeader } from "../../src/log/change.ts";
import { headsOf } from "../../src/log/doc-state.ts";
import { Log } from "../../src/log/log.ts";
import type { DbIdentity, LogStorage } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { DocumentSync } from "../../src/sync/document-sync.ts";
import { Histories } from "../../src/sync/histories.ts";
import type { HistorySource } from "../../src/sync/log-history.ts";
import { setChange } from "../support/plain-change.mjs";
import { memoryLog } from "../support/memory-log.ts";

/** The Automerge that clients of automerge-repo 2.0 have. */
const REPO = path.resolve(import.meta.dirname, "../../node_modules/automerge-repo-2.0/package.json");
export const A2 = createRequire(REPO)("@automerge/automerge") as typeof A3;
export { A3 };

/** One end of one connection: a sync state of some kind. */
export interface End {
  receive(message: Uint8Array): Promise<void>;
  generate(): Promise<Uint8Array | undefined>;
  /** What of it outlives the connection. */
  encode(): Uint8Array;
}

/** Somebody who has a copy of the one document of a schedule. */
export interface Node {
  readonly name: string;
  edit(value: number): Promise<void>;
  /** A new connection, from what `encode` gave for the last one with that peer. */
  connect(kept: Uint8Array | undefined): End;
  heads(): string[];
  hashes(): Set<string>;
  /** Keeps the copy as it is now; gives what goes back to that, as a restart does. */
  save(): () => void;
  /** What happens by itself now and then: memory is let go, and old commits are put into bundles. */
  tidy(compact: boolean): Promise<void>;
  /** Hashes whose durability was told to somebody. */
  readonly acknowledged: Set<string>;
}

export type Random = (below: number) => number;

let actors = 0;
/** Nobody goes on with the actor of an older save: two contents for one number would never converge. */
function newActor(): string {
  actors += 1;
  return actors.toString(16).padStart(32, "c");
}

/** Automerge's own state machine on a document, as stock clients run it. */
export class StockNode implements Node {
  readonly acknowledged = new Set<string>();
  readonly name: string;
  readonly #A: typeof A3;
  #doc: A3.Doc<Record<string, number>>;

  constructor(name: string, automerge: typeof A3) {
    this.name = name;
    this.#A = automerge;
    this.#doc = automerge.init({ actor: newActor() });
  }

  edit(value: number): Promise<void> {
    this.#doc = this.#A.change(this.#doc, { time: 0 }, (draft) => {
      draft[`k${value % 5}`] = value;
    });
    return Promise.resolve();
  }

  connect(kept: Uint8Array | undefined): End {
    let state = kept ? this.#A.decodeSyncState(kept) : this.#A.initSyncState();
    return {
      receive: (message) => {
        [this.#doc, state] = this.#A.receiveSyncMessage(this.#doc, state, message);
        return Promise.resolve();
      },
      generate: () => {
        const [next, message] = this.#A.generateSyncMessage(this.#doc, state);
        state = next;
        return Promise.resolve(message ?? undefined);
      },
      encode: () => this.#A.encodeSyncState(state),
    };
  }

  heads(): string[] {
    return this.#A.getHeads(this.#doc).toSorted();
  }

  hashes(): Set<string> {
    return new Set(this.#A.getAllChanges(this.#doc).map(changeHash));
  }

  save(): () => void {
    const saved = this.#A.save(this.#doc);
    return () => {
      this.#doc = this.#A.load(saved, { actor: newActor() });
    };
  }

  tidy(): Promise<void> {
    return Promise.resolve();
  }
}

/** A log that many schedules share, each with a document of its own. */
export interface SharedLog {
  log: Log;
  histories: Histories;
  storage: LogStorage;
}

export function openShared(root: string, storage = memoryLog(identity())): SharedLog {
  const log = new Log(storage, openSqliteCatalog(mkdtempSync(path.join(root, "catalog-"))));
  return { storage, log, histories: new Histories(sourceOn(log), 256 * 1024) };
}

function identity(): DbIdentity {
  return { dbId: "sync", uid: new Uint8Array(16).fill(7), actor: new Uint8Array(16).fill(8), created: 0 };
}

/** The document workers' part, on this thread. */
function sourceOn(log: Log): HistorySource {
  return {
    log,
    kept: () => undefined,
    save: (doc) => {
      const state = log.state(doc);
      const seq = state?.last ?? 0;
      const loaded = A3.applyChanges(A3.init(), log.changes(doc, 0, seq))[0];
      const saved = { seq, heads: state ? headsOf(state) : [], bytes: A3.save(loaded) };
      A3.free(loaded);
      return Promise.resolve(saved);
    },
    split: (bytes) => Promise.resolve(splitFile(bytes).changes),
  };
}

export type MakeSync = (
  kept: Uint8Array | undefined,
) => Pick<DocumentSync, "receive" | "generate" | "encode" | "released">;

export const realSync: MakeSync = (kept) => (kept ? DocumentSync.decode(kept) : new DocumentSync());

/** Ours: the protocol over a log, which the document is never loaded for. */
export class LogNode implements Node {
  readonly acknowledged = new Set<string>();
  readonly name: string;
  readonly #doc: string;
  readonly #shared: SharedLog;
  readonly #make: MakeSync;
  #actor = newActor();
  #writes = 0;

  /** Folder for the files of logs. */
  static root = "";

  constructor(name: string, doc: string, shared: SharedLog, make: MakeSync) {
    this.name = name;
    this.#doc = doc;
    this.#shared = shared;
    this.#make = make;
  }

  async edit(value: number): Promise<void> {
    const state = this.#shared.log.state(this.#doc);
    const { bytes } = setChange({
      deps: this.heads(),
      actor: this.#actor,
      seq: (state?.actors.get(this.#actor)?.seq ?? 0) + 1,
      startOp: (state?.maxOp ?? 0) + 1,
      key: `o${value % 5}`,
      value: value % 64,
    });
    await this.#write([readChange(bytes)]);
  }

  connect(kept: Uint8Array | undefined): End {
    const sync = this.#make(kept);
    const history = () => this.#shared.histories.of(this.#doc);
    return {
      receive: async (message) => this.#write((await sync.receive(message, history())).changes),
      generate: async () => {
        await this.#write(await sync.released(history()));
        return sync.generate(history());
      },
      encode: () => sync.encode(),
    };
  }

  heads(): string[] {
    const state = this.#shared.log.state(this.#doc);
    return state ? headsOf(state) : [];
  }

  hashes(): Set<string> {
    const { log } = this.#shared;
    return new Set(log.changes(this.#doc, 0, log.head().seq).map((bytes) => readTrustedHeader(bytes).hash));
  }

  /** Only for a log of its own: it goes back to the records that it had, as from a backup. */
  save(): () => void {
    const { storage, log } = this.#shared;
    const records = storage.page(1, log.head().seq);
    return () => {
      const older = memoryLog(storage.identity);
      // What it does beside answering later is done at once.
      void older.append(records);
      Object.assign(this.#shared, openShared(LogNode.root, older));
      this.#actor = newActor();
    };
  }

  async tidy(compact: boolean): Promise<void> {
    const { log, histories } = this.#shared;
    histories.forget(this.#doc);
    if (compact && log.head().seq > 20) await log.compact(packBundle, { upTo: log.head().seq - 5 });
  }

  async #write(changes: readonly ChangeHeader[]): Promise<void> {
    if (changes.length === 0) return;
    const { log, histories } = this.#shared;
    const writes = [{ doc: this.#doc, changes }];
    const receipt = await log.write({ author: "a", clientTxId: "", writes });
    this.#writes += 1;
    // The other half is read from the log, as what others wrote is.
    if (this.#writes % 2 === 0)
      histories.took(this.#doc, receipt.seq, changes, receipt.heads[this.#doc] ?? []);
    for (const { hash } of changes) this.acknowledged.add(hash);
  }
}
