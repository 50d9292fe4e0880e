import { cidDigest } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { commitsMissing, type LogStorage } from "../store/contract.ts";
import { archive, commitsOfRow } from "./archive.ts";
import { branchAfter, branchEventIn, mergeEventIn } from "./branch-events.ts";
import { branchRow, rowOf } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { Catalog } from "./catalog.ts";
import { Stage } from "./stage.ts";
import { advance, followHollow, hollow, setAside } from "./doc-state.ts";
import { erasedBy, stubbedIn } from "./erased.ts";
import { stageFacts } from "./facts.ts";
import type { LogHead } from "./receipt.ts";
import { bringersOf, stageMerged } from "./merged.ts";
import { FoundDocs, OnBranches } from "./on-branches.ts";
import type { Records } from "./records.ts";
import { refusalOf } from "./refusals.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";

/** Commits between two batches of the catalog: large enough to share pages, small enough to stay below 20 ms. */
const CATALOG_BATCH = 1024;
/** The same of documents, of which one commit may write a thousand. */
const CATALOG_ROWS = 2048;
/** Commits read at first, before it is known how many documents they write. */
const FIRST_PAGE = 16;

/** Whether the catalog has enough in memory that it is to be written. */
export function isBatch(catalog: Catalog): boolean {
  return catalog.pending() >= CATALOG_BATCH || catalog.pendingRows() >= CATALOG_ROWS;
}

/** Reads the log's tail into the catalog: what was appended after its last batch. */
export function recover(storage: LogStorage, records: Records, catalog: Catalog): LogHead {
  const last = storage.last();
  const at = catalog.head();
  // The catalog's head vouches for itself and is never ahead of what is durable: the log is what is wrong.
  const known = at > 0 && at <= last ? records.commit(at) : undefined;
  if (at > 0 && !(known && Buffer.compare(known.cid, catalog.headCid() ?? new Uint8Array(0)) === 0)) {
    throw commitsMissing(storage.last(), at, "its catalog");
  }
  const found = new FoundDocs();
  for (let size = FIRST_PAGE; catalog.head() < last;) {
    const stage = new Stage(catalog);
    const page = records.page(catalog.head() + 1, Math.min(size, CATALOG_BATCH - catalog.pending()));
    const below = {
      archive: (row: string) => archive(records, catalog, row),
      commitsOn: () => [],
      commitsOf: (row: string, upTo: number) => commitsOfRow(records, catalog, row, upTo),
      found,
      last: catalog.head(),
    };
    const on = new OnBranches(stage, below, (seq) => records.commit(seq) as StoredCommit);
    for (const stored of page) stageStored(stored, stage, on);
    // A page is never empty: what is missing on the way was thrown.
    const { cid, commit } = page.at(-1) as StoredCommit;
    // Nothing was written since the stage was begun, so it takes all of it.
    catalog.absorb(stage, commit.seq, cid);
    size = stage.docs.size > CATALOG_ROWS ? Math.max(1, size >> 2) : Math.min(2 * size, CATALOG_BATCH);
    if (isBatch(catalog)) catalog.flush();
  }
  noteBundles(storage, records, catalog);
  const head = last > 0 ? records.commit(last) : undefined;
  return head ? { seq: last, cid: head.cid, time: head.commit.time } : { seq: 0, cid: undefined, time: 0 };
}

/** Tells the catalog of bundles that it does not know: made before a crash, or before it was dropped. */
export function noteBundles(storage: LogStorage, records: Records, catalog: Catalog): void {
  const noted = catalog.bundles();
  const ranges = storage.ranges();
  const same = noted.findIndex(({ first, last }, i) => ranges[i]?.first !== first || ranges[i].last !== last);
  const upTo = (same < 0 ? noted : noted.slice(0, same)).at(-1)?.last ?? 0;
  const missing = records.bundles(upTo);
  if (missing.length === 0) return;
  catalog.fold(missing.map((range) => ({ ...range, docs: rowsIn(catalog, records.bundle(range.last)) })));
}

/** What one commit writes. */
export interface Touch {
  readonly branch: string;
  readonly seq: number;
  readonly docs: readonly string[];
}

export function touchesIn(commits: readonly StoredCommit[]): Touch[] {
  return commits.map(({ commit: { branch, seq, entries } }) => ({
    branch,
    seq,
    docs: entries.map(({ doc }) => doc),
  }));
}

/** The rows of the catalog that commits touched, each once: of documents, and of branches once there are any. */
export function rowsIn(catalog: Catalog, commits: readonly StoredCommit[]): string[] {
  return rowsOf(catalog, touchesIn(commits));
}

export function rowsOf({ branches }: Catalog, touched: readonly Touch[]): string[] {
  const rows = new Set<string>();
  for (const { branch, seq, docs } of touched) {
    const id = branches.any ? (branches.idOf(branch, seq) ?? 0) : 0;
    for (const doc of docs) rows.add(rowOf(id, doc));
    if (branches.any) rows.add(branchRow(id));
  }
  return [...rows];
}

/** Puts a commit of the log on a stage: the same steps a live write takes after its checks. */
function stageStored(stored: StoredCommit, main: Stage, on: OnBranches): void {
  const { commit, cid, clientTxId } = stored;
  const bringer = bringersOf(stored);
  const stubbed = stubbedIn(stored);
  const erased = erasedBy(stored);
  const branch = branchAfter(commit, branchEventIn(stored), cid, main.branches, mergeEventIn(stored));
  const stage = on.stage(branch.id);
  for (const entry of commit.entries) {
    const state = stage.touch(entry.doc, commit.seq);
    for (const address of entry.changes) stage.addresses.add(prefixOf(toHex(cidDigest(address))), commit.seq);
    state.deleted = entry.deleted === true;
    if (stubbed.has(entry.doc)) hollow(state);
    if (branch.id === 0 && erased.has(entry.doc)) main.erase(state, commit.seq);
    if (state.erased !== undefined) {
      followHollow(state, entry);
      continue;
    }
    headersIn(stored, entry.doc).forEach((header, i) => {
      const owner = state.actors.has(header.actor) ? undefined : stage.owner(entry.doc, header.actor);
      advance(state, header, owner ?? bringer(entry.doc, entry.changes[i] as Uint8Array) ?? commit.author);
      stage.addresses.add(prefixOf(header.hash), commit.seq);
    });
    if (entry.refused) {
      const headers = on.headers(entry.doc, [...entry.refused, ...entry.heads]);
      setAside(state, refusalOf(entry.doc, entry.refused, entry.heads, headers), commit.seq);
    }
  }
  main.addresses.add(prefixOf(toHex(cidDigest(cid))), commit.seq);
  if (clientTxId !== "") main.addReceipt(commit.author, clientTxId, commit.seq);
  stageMerged(stored, main);
  stageFacts(stored, main);
  main.putBranch(branch);
}
