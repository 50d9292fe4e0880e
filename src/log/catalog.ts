import { isSkaldError } from "../errors.ts";
import type { CatalogBatch, CatalogTable, Fact, FactKind, SeqRange } from "../store/contract.ts";
import { AddressMap } from "./address-map.ts";
import { automergeIdOf, idPrefix } from "./automerge-ids.ts";
import {
  BRANCH_ROWS,
  Branches,
  branchRow,
  decodeBranch,
  docOf,
  encodeBranch,
  FIRST_NAME,
  isDocRow,
  isOfMain,
} from "./branches.ts";
import { decodeSchemaStep, type SchemaStep } from "./schema-steps.ts";
import { decodeDocState, encodeDocState, type DocState } from "./doc-state.ts";
import { receiptKey, type Stage, type StageBase, type Touched } from "./stage.ts";

/**
 * The index over the log: where each document, address and receipt is. New entries gather in memory
 * and go to the table in batches, which costs a third of writing them commit by commit and keeps
 * random page writes off the acknowledged path; after a crash the log's tail is read again. Lookups
 * see both. Invariant: table head <= log head, and everything between is in memory.
 */
export class Catalog implements StageBase {
  readonly #table: CatalogTable;
  readonly #uid: Uint8Array;
  readonly #dirty = new Map<string, Touched>();
  /** Least recently used first. */
  readonly #clean = new Map<string, DocState>();
  readonly #cleanMax: number;
  #addresses = new AddressMap();
  /** Names that are certainly not there: whoever makes a document asks for it some ten times before. */
  readonly #absent = new Set<string>();
  /** Names by the start of their Automerge ids, of documents that the table does not have yet. */
  readonly #named = new Map<number, string[]>();
  readonly #receipts = new Map<string, number>();
  /** The branches as of the head. */
  readonly branches = new Branches();
  /** Commits of branches that the table does not have yet; one without any changed otherwise. */
  readonly #onBranches = new Map<number, number[]>();
  /** Rows of a document on branches, for documents that were asked for. */
  readonly #rowsOf = new Map<string, readonly string[]>();
  /** What events said that the table does not have yet, by kind and name. */
  readonly #facts = new Map<string, Fact>();
  readonly #erasing: Map<string, Fact>;
  #setAside = 0;
  /** Steps of the schema, in order, once somebody asked. */
  #steps: SchemaStep[] | undefined;
  /** The last events on stored statements, once somebody asked. */
  #statements: Map<string, Fact> | undefined;
  /** Documents of which stubs came in since this was opened, and no commit that erased them. */
  readonly #owed = new Set<string>();
  #head: number;
  #headCid: Uint8Array | undefined;
  /** Why it could not take in all of a commit: from then on it answers nothing, rather than wrongly. */
  #broken: unknown;
  #flushes = 0;

  constructor(table: CatalogTable, uid: Uint8Array, cachedDocs = 10_000) {
    this.#table = table;
    this.#uid = uid;
    this.#cleanMax = cachedDocs;
    this.#head = table.head();
    this.#headCid = table.headCid();
    const rows = table.list(BRANCH_ROWS, "", EVERY, true);
    if (rows.length === 0)
      this.branches.put({ ...this.branches.main, head: this.#head, headCid: this.#headCid });
    for (const { state } of rows) this.branches.put(decodeBranch(state));
    this.#erasing = new Map(table.facts("erasing").map((fact) => [fact.name, fact]));
  }

  /** Batches written so far: a stage begun before the last one may not know the rows it made. */
  flushes(): number {
    return this.#flushes;
  }

  /** The seq up to which commits were absorbed. */
  head(): number {
    return this.#head;
  }

  /** The address of the commit at the head, as the table has it. */
  headCid(): Uint8Array | undefined {
    return this.#headCid;
  }

  /** The state of a document, or undefined when it was never written. Not to be changed by the caller. */
  doc(name: string): DocState | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    const dirty = this.#dirty.get(name);
    if (dirty) return dirty.state;
    const clean = this.#clean.get(name);
    if (clean) {
      this.#clean.delete(name);
      this.#clean.set(name, clean);
      return clean;
    }
    if (this.#absent.has(name)) return undefined;
    const row = this.#table.doc(name);
    if (!row) {
      this.#miss(name);
      return undefined;
    }
    const state = decodeDocState(row);
    this.#keep(state);
    return state;
  }

  /** Asks the table for documents that will be asked for: one by one that takes several times as long. */
  warm(names: readonly string[]): void {
    if (this.#broken !== undefined || names.length > this.#cleanMax / 2) return;
    const unknown = names.filter(
      (name) => !this.#dirty.has(name) && !this.#clean.has(name) && !this.#absent.has(name),
    );
    if (unknown.length < 2) return;
    const found = new Set<string>();
    for (const row of this.#table.docs(unknown)) {
      found.add(row.name);
      this.#keep(decodeDocState(row));
    }
    for (const name of unknown) if (!found.has(name)) this.#miss(name);
  }

  #miss(name: string): void {
    if (this.#absent.size >= this.#cleanMax) this.#absent.clear();
    this.#absent.add(name);
  }

  /** Seqs of commits that may hold the address or change hash with this prefix. */
  find(prefix: number): number[] {
    return [...this.#addresses.find(prefix), ...this.#table.find(prefix)];
  }

  /** Names of the documents whose Automerge id may be the one that starts with these 52 bits. */
  named(automerge: number): string[] {
    if (this.#broken !== undefined) throw this.#broken;
    const fresh = this.#named.get(automerge) ?? [];
    return fresh.length > 0 ? [...fresh, ...this.#table.named(automerge)] : this.#table.named(automerge);
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    return (
      this.#receipts.get(receiptKey(principal, clientTxId)) ?? this.#table.receipt(principal, clientTxId)
    );
  }

  /** The rows that a document has on branches other than `main`, in no order. */
  rowsOf(doc: string): readonly string[] {
    if (!this.branches.any) return NO_ROWS;
    let rows = this.#rowsOf.get(doc);
    if (!rows) {
      rows = this.named(idPrefix(automergeIdOf(this.#uid, doc))).filter(
        (row) => !isOfMain(row) && docOf(row) === doc,
      );
      if (this.#rowsOf.size >= this.#cleanMax) this.#rowsOf.clear();
      this.#rowsOf.set(doc, rows);
    }
    return rows;
  }

  /** Seqs of commits that touched a document, at or below `before`, newest first. */
  touches(name: string, before: number, limit: number): number[] {
    const state = this.doc(name);
    if (!state) return [];
    return this.#touches(state.id, this.#dirty.get(name)?.touches, before, limit);
  }

  /**
   * Seqs of commits of a branch at or below `before`, newest first. Those of `main` are kept from the commit on that
   * made the first branch.
   */
  commitsOn(id: number, before: number, limit: number): number[] {
    if (!this.branches.any) return [];
    return this.#touches(this.#table.doc(branchRow(id))?.id, this.#onBranches.get(id), before, limit);
  }

  #touches(id: number | undefined, pending: readonly number[] = [], before: number, limit: number): number[] {
    const fresh = pending.filter((seq) => seq <= before).reverse();
    if (fresh.length >= limit) return fresh.slice(0, limit);
    if (id === undefined) return fresh;
    return [...fresh, ...this.#table.touches(id, before, limit - fresh.length)];
  }

  /** Seqs of commits that touched a document in (after, upTo], oldest first. */
  touchesAfter(name: string, after: number, upTo: number): number[] {
    const state = this.doc(name);
    if (!state) return [];
    const fresh = (this.#dirty.get(name)?.touches ?? []).filter((seq) => seq > after && seq <= upTo);
    if (state.id === undefined) return fresh;
    return [...this.#table.touchesAfter(state.id, after, upTo), ...fresh];
  }

  /** Documents in name order, after `after`, whose names start with `prefix`. Writes what is pending first. */
  list(prefix: string, after: string, limit: number, withDeleted: boolean): DocState[] {
    return this.listRows(
      prefix,
      after < FIRST_NAME && prefix === "" ? BEFORE_NAMES : after,
      limit,
      withDeleted,
    );
  }

  /** The same of rows, also those of other branches. */
  listRows(prefix: string, after: string, limit: number, withDeleted: boolean): DocState[] {
    if (this.#flushed()) return this.#table.list(prefix, after, limit, withDeleted).map(decodeDocState);
    const pending = [...this.#dirty.values()].map(({ state }) => state);
    const rows = this.#table.list(prefix, after, limit + pending.length, withDeleted);
    const from = Buffer.from(after);
    return [
      ...rows.filter((row) => !this.#dirty.has(row.name)).map(decodeDocState),
      ...pending.filter(
        ({ name, deleted }) =>
          name.startsWith(prefix) && Buffer.compare(Buffer.from(name), from) > 0 && (withDeleted || !deleted),
      ),
    ]
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
      .slice(0, limit);
  }

  /** Rows with this prefix that commits after `after` touched, in name order. Costs as much as there are rows. */
  touchedRows(prefix: string, after: number): string[] {
    const rows: string[] = [];
    for (let from = ""; ;) {
      const page = this.listRows(prefix, from, ROWS_PAGE, true);
      for (const { name, last } of page) if (last > after) rows.push(name);
      if (page.length < ROWS_PAGE) return rows;
      from = page.at(-1)?.name ?? "";
    }
  }

  /** Names of documents touched by commits from `from` on, in no order, at most `limit`. */
  touchedSince(from: number, limit: number): string[] {
    const names = new Set<string>();
    for (const [name, { state }] of this.#dirty) {
      if (names.size >= limit) break;
      if (state.last >= from && isOfMain(name)) names.add(name);
    }
    // What the table has of the dirty ones is older than what memory has, so both together are right.
    if (from <= this.#tableHead()) {
      for (const name of this.#table.touchedSince(from, limit)) {
        if (names.size >= limit) break;
        names.add(name);
      }
    }
    return [...names];
  }

  counts(): { documents: number; deleted: number } {
    if (this.#flushed()) return this.#table.counts();
    const counts = this.#table.counts();
    for (const [name, { state }] of this.#dirty) {
      if (!isOfMain(name)) continue;
      const row = this.#table.doc(name);
      if (row) counts[row.deleted ? "deleted" : "documents"] -= 1;
      counts[state.deleted ? "deleted" : "documents"] += 1;
    }
    return counts;
  }

  /** Takes over what a group of durable commits staged. Gives what kept it from that, for it must not reach them. */
  absorb(stage: Stage, head: number, headCid: Uint8Array | undefined): unknown {
    let failure: unknown;
    for (const branch of stage.branches.own()) this.branches.put(branch);
    for (const [id, seqs] of stage.onBranches) {
      const known = this.#onBranches.get(id);
      if (known) known.push(...seqs);
      else this.#onBranches.set(id, [...seqs]);
    }
    for (const doc of stage.newRows.keys()) this.#rowsOf.delete(doc);
    for (const [name, staged] of stage.docs) {
      const { erased, refusedAt } = staged.state;
      if (refusedAt > this.#setAside) this.#setAside = refusedAt;
      if (erased === 0) this.#owed.add(docOf(name));
      else if (erased !== undefined) this.#owed.delete(docOf(name));
      const touched = this.#dirty.get(name);
      if (touched) {
        touched.state = staged.state;
        touched.touches.push(...staged.touches);
      } else {
        this.#clean.delete(name);
        this.#absent.delete(name);
        if (stage.flushes !== this.#flushes) {
          try {
            staged.state.id ??= this.#table.doc(name)?.id;
          } catch (error) {
            this.#broken ??= error;
            failure = error;
          }
        }
        if (staged.state.id === undefined) this.#name(name);
        this.#dirty.set(name, staged);
      }
    }
    this.#addresses.addAll(stage.addresses);
    for (const [key, seq] of stage.receipts) this.#receipts.set(key, seq);
    for (const fact of stage.facts) {
      this.#facts.set(factKey(fact), fact);
      if (fact.kind === "erasing") this.#erasing.set(fact.name, fact);
      if (fact.kind === "schema") this.#steps?.push(decodeSchemaStep(fact.value));
      if (fact.kind === "statement") this.#statements?.set(fact.name, fact);
    }
    this.#head = head;
    this.#headCid = headCid;
    return failure;
  }

  /** Bundles that hold commits of a document, by their last seq, newest first. */
  bundlesOf(name: string): number[] {
    const id = isDocRow(name) ? this.doc(name)?.id : this.#table.doc(name)?.id;
    return id === undefined ? [] : this.#table.bundlesOf(id);
  }

  bundles(): SeqRange[] {
    return this.#table.bundles();
  }

  /** The bundles of a row, newest first, that begin at or before `upTo`: others have nothing for who reads up to there. */
  bundlesUpTo(name: string, upTo: number): number[] {
    const lasts = this.bundlesOf(name);
    if (lasts.length === 0 || upTo >= (lasts[0] as number)) return lasts;
    this.#starts ??= new Map(this.#table.bundles().map(({ first, last }) => [last, first]));
    return lasts.filter((last) => (this.#starts?.get(last) ?? 0) <= upTo);
  }

  #starts: ReadonlyMap<number, number> | undefined;

  /** Up to here commits are in bundles, of which only documents' names are kept. */
  bundledUpTo(): number {
    this.#bundled ??= this.#table.bundles().at(-1)?.last ?? 0;
    return this.#bundled;
  }

  #bundled: number | undefined;

  fold(bundles: readonly (SeqRange & { readonly docs: readonly string[] })[]): void {
    this.flush();
    // Also when it breaks off: the rows may be there, and only giving back their space failed.
    this.#bundled = undefined;
    this.#starts = undefined;
    this.#table.fold(bundles);
  }

  /** Documents that were erased and may not be gone. Asked after every commit. */
  erasing(): Fact[] {
    if (this.#erasing.size === 0) return [];
    return [...this.#erasing.values()];
  }

  /** Documents of which changes came without their bytes since this was opened, and that no commit has erased so far. */
  owed(): string[] {
    return [...this.#owed];
  }

  /** What events say of one kind, by name. */
  facts(kind: FactKind): Fact[] {
    const facts = new Map(this.#table.facts(kind).map((fact) => [fact.name, fact]));
    for (const fact of this.#facts.values()) if (fact.kind === kind) facts.set(fact.name, fact);
    return [...facts.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  /** The last commit that set changes aside, of those that came since this was opened, with at most a batch before them; 0 for none. */
  setAside(): number {
    return this.#setAside;
  }

  /** What commits did to the schema, in the order of the commits. Only ever grows, by what commits add. */
  schemaSteps(): readonly SchemaStep[] {
    this.#steps ??= this.facts("schema").map(({ value }) => decodeSchemaStep(value));
    return this.#steps;
  }

  /** The last event on each stored statement, by name. */
  statements(): ReadonlyMap<string, Fact> {
    this.#statements ??= new Map(this.facts("statement").map((fact) => [fact.name, fact]));
    return this.#statements;
  }

  /**
   * Notes that nothing is left of documents that were erased, and lets go of the hashes of their changes, which
   * nobody can work out again.
   */
  settle(docs: readonly string[], hashes: readonly (readonly [prefix: number, seq: number])[]): void {
    this.flush();
    this.#table.settle(docs, hashes);
    for (const doc of docs) this.#erasing.delete(doc);
  }

  pending(): number {
    return this.#head - this.#tableHead();
  }

  /** Rows of documents that the table does not have as they are. */
  pendingRows(): number {
    return this.#dirty.size;
  }

  /** Writes everything that is only in memory to the table. */
  flush(): void {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.pending() === 0) return;
    const ids = new Map([...this.#named].flatMap(([id, names]) => names.map((name) => [name, id] as const)));
    const dirty = [...this.#dirty.values()];
    const rows = this.#table.write({
      head: this.#head,
      headCid: this.#headCid,
      docs: [
        ...dirty.map(({ state, touches }) => ({
          id: state.id,
          name: state.name,
          automerge: ids.get(state.name) ?? 0,
          state: encodeDocState(state),
          first: state.first,
          // What the commits that touched a row are compared with, so of a row of a branch those of that branch.
          last: state.last,
          deleted: state.deleted,
          touches,
        })),
        ...[...this.#onBranches].map(([id, touches]) => this.#branchRow(id, touches)),
      ],
      addresses: this.#addresses.entries(),
      receipts: [...this.#receipts].map(([key, seq]) => [...splitReceiptKey(key), seq] as const),
      facts: [...this.#facts.values()],
    });
    this.#written = this.#head;
    for (const [i, { state }] of dirty.entries()) {
      state.id ??= rows?.[i];
      if (state.id !== undefined) this.#keep(state);
    }
    this.#dirty.clear();
    this.#onBranches.clear();
    this.#named.clear();
    this.#addresses = new AddressMap();
    this.#receipts.clear();
    this.#facts.clear();
    this.#flushes += 1;
  }

  #branchRow(id: number, touches: readonly number[]): CatalogBatch["docs"][number] {
    const name = branchRow(id);
    const branch = this.branches.get(id) ?? this.branches.main;
    const known = this.#table.doc(name);
    return {
      id: known?.id,
      name,
      // No document's: whoever looks for those compares names.
      automerge: id,
      state: encodeBranch(branch),
      first: known?.first ?? touches[0] ?? 0,
      last: touches.at(-1) ?? known?.last ?? 0,
      deleted: branch.deleted > 0,
      touches,
    };
  }

  #name(name: string): void {
    const prefix = idPrefix(automergeIdOf(this.#uid, docOf(name)));
    const known = this.#named.get(prefix);
    if (known) known.push(name);
    else this.#named.set(prefix, [name]);
  }

  close(): void {
    this.#table.close();
  }

  /** False when the disk is full: reads then go on with what is in memory. */
  #flushed(): boolean {
    try {
      this.flush();
      return true;
    } catch (error) {
      if (isSkaldError(error) && error.code === "STORAGE_FULL") return false;
      throw error;
    }
  }

  #written: number | undefined;

  #tableHead(): number {
    this.#written ??= this.#table.head();
    return this.#written;
  }

  #keep(state: DocState): void {
    this.#clean.set(state.name, state);
    for (const oldest of this.#clean.keys()) {
      if (this.#clean.size <= this.#cleanMax) break;
      this.#clean.delete(oldest);
    }
  }
}

const ROWS_PAGE = 1000;

const NO_ROWS: readonly string[] = [];
/** After every row that is not a document's on `main`. */
const BEFORE_NAMES = "\u001f";
const EVERY = 1_000_000_000;

function factKey({ kind, name }: Fact): string {
  return `${kind} ${name}`;
}

function splitReceiptKey(key: string): [string, string] {
  const at = key.indexOf("\0");
  return [key.slice(0, at), key.slice(at + 1)];
}
