import type { Fact } from "../store/contract.ts";
import { AddressMap } from "./address-map.ts";
import { Branches, docOf, isOfMain, rowOf, type Branch } from "./branches.ts";
import { copyDocState, hollow, startRow, type DocState } from "./doc-state.ts";
import { decodeSchemaStep, type SchemaStep } from "./schema-steps.ts";

/** What a stage stands on: the catalog, or the catalog as it was. */
export interface StageBase {
  readonly branches: Branches;
  doc(name: string): DocState | undefined;
  find(prefix: number): number[];
  receipt(principal: string, clientTxId: string): number | undefined;
  flushes(): number;
  rowsOf(doc: string): readonly string[];
  schemaSteps(): readonly SchemaStep[];
}

/** A document's state, and the commits that touched it since the table was written. */
export interface Touched {
  state: DocState;
  readonly touches: number[];
}

/** The documents of one branch on a stage. */
export interface DocStage {
  /** The branch that is written. */
  readonly branch: number;
  doc(name: string): DocState | undefined;
  /** The state to advance: a copy, so that dropping the stage undoes it. */
  touch(name: string, seq: number): DocState;
  /** Seqs of commits, of whichever branch, that may hold the address or change hash with this prefix. */
  find(prefix: number): number[];
  /** Whose an actor is that this branch does not know, when another does. */
  owner(doc: string, actor: string): string | undefined;
  /** Set when a document is erased, whichever branch said so: the commit that did it, or 0 while only stubs tell. */
  erasedAt(doc: string): number | undefined;
  /** Ends a document by the state that `touch` gave; only `main` does that, for all branches. */
  erase(state: DocState, seq: number): void;
  readonly addresses: AddressMap;
}

/** What a group of commits will add to the catalog once it is durable; dropped when it is not. It is the stage of `main`. */
export class Stage implements DocStage {
  readonly branch = 0;
  readonly docs = new Map<string, Touched>();
  readonly addresses = new AddressMap();
  readonly receipts = new Map<string, number>();
  readonly branches: Branches;
  /** Commits of branches, once there is any but `main`. */
  readonly onBranches = new Map<number, number[]>();
  /** Rows on branches that there were none of, by document. */
  readonly newRows = new Map<string, string[]>();
  readonly facts: Fact[] = [];
  readonly flushes: number;
  readonly #catalog: StageBase;

  constructor(catalog: StageBase) {
    this.#catalog = catalog;
    this.flushes = catalog.flushes();
    this.branches = new Branches(catalog.branches);
  }

  doc(name: string): DocState | undefined {
    return this.docs.get(name)?.state ?? this.#catalog.doc(name);
  }

  touch(name: string, seq: number): DocState {
    return this.touchRow(name, seq, undefined);
  }

  /** `base` is what a row on a branch begins with. */
  touchRow(row: string, seq: number, base: DocState | undefined): DocState {
    let touched = this.docs.get(row);
    if (!touched) {
      const known = this.#catalog.doc(row);
      touched = { state: known ? copyDocState(known) : startRow(base, row), touches: [] };
      this.docs.set(row, touched);
      if (!known && !isOfMain(row)) {
        const doc = docOf(row);
        this.newRows.set(doc, [...(this.newRows.get(doc) ?? []), row]);
      }
    }
    const { state } = touched;
    if (state.first === 0) state.first = seq;
    state.last = seq;
    // A merge with changes on top writes a document twice in one commit.
    if (touched.touches.at(-1) !== seq) touched.touches.push(seq);
    return state;
  }

  /** A branch as a commit of it leaves it. */
  putBranch(branch: Branch): void {
    this.branches.put(branch);
    if (!this.branches.any) return;
    const known = this.onBranches.get(branch.id);
    if (known) known.push(branch.head);
    else this.onBranches.set(branch.id, [branch.head]);
    // From now on it has a row as well, which says where it is.
    if (!this.onBranches.has(0)) this.onBranches.set(0, []);
  }

  /** What commits did to the schema, those of this stage included. */
  schemaSteps(): SchemaStep[] {
    const own = this.facts.filter(({ kind }) => kind === "schema");
    return [...this.#catalog.schemaSteps(), ...own.map(({ value }) => decodeSchemaStep(value))];
  }

  /** The rows that a document has on branches other than `main`. */
  rowsOf(doc: string): readonly string[] {
    if (!this.branches.any) return NO_ROWS;
    return [...this.#catalog.rowsOf(doc), ...(this.newRows.get(doc) ?? [])];
  }

  /** The states that a document has on branches other than `id`. */
  others(doc: string, id: number): DocState[] {
    const rows = this.rowsOf(doc);
    if (rows.length === 0 && id === 0) return NO_STATES;
    const own = rowOf(id, doc);
    return [doc, ...rows]
      .filter((row) => row !== own)
      .map((row) => this.doc(row))
      .filter((state) => state !== undefined);
  }

  owner(doc: string, actor: string): string | undefined {
    return ownerAmong(this.others(doc, 0), actor);
  }

  erasedAt(doc: string): number | undefined {
    return this.doc(doc)?.erased;
  }

  erase(state: DocState, seq: number): void {
    hollow(state);
    state.erased = seq;
    this.facts.push({ kind: "erasing", name: state.name, seq, value: NOTHING });
    for (const row of this.rowsOf(state.name)) {
      let touched = this.docs.get(row);
      if (!touched) {
        const known = this.#catalog.doc(row);
        if (!known) continue;
        touched = { state: copyDocState(known), touches: [] };
        this.docs.set(row, touched);
      }
      hollow(touched.state);
      touched.state.erased = seq;
    }
  }

  find(prefix: number): number[] {
    return [...this.addresses.find(prefix), ...this.#catalog.find(prefix)];
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    return (
      this.receipts.get(receiptKey(principal, clientTxId)) ?? this.#catalog.receipt(principal, clientTxId)
    );
  }

  addReceipt(principal: string, clientTxId: string, seq: number): void {
    this.receipts.set(receiptKey(principal, clientTxId), seq);
  }
}

/** The stage of another branch: a document begins there with what the branch found when it was made. */
export class BranchStage implements DocStage {
  readonly branch: number;
  readonly addresses: AddressMap;
  readonly #stage: Stage;
  readonly #found: (doc: string) => DocState | undefined;

  /** `found` gives a document as the branch found it. */
  constructor(stage: Stage, branch: number, found: (doc: string) => DocState | undefined) {
    this.branch = branch;
    this.addresses = stage.addresses;
    this.#stage = stage;
    this.#found = found;
  }

  doc(name: string): DocState | undefined {
    return this.#stage.doc(rowOf(this.branch, name)) ?? this.#found(name);
  }

  touch(name: string, seq: number): DocState {
    const row = rowOf(this.branch, name);
    return this.#stage.touchRow(row, seq, this.#stage.doc(row) ? undefined : this.#found(name));
  }

  find(prefix: number): number[] {
    return this.#stage.find(prefix);
  }

  owner(doc: string, actor: string): string | undefined {
    return ownerAmong(this.#stage.others(doc, this.branch), actor);
  }

  erasedAt(doc: string): number | undefined {
    return this.#stage.doc(doc)?.erased || this.doc(doc)?.erased;
  }

  erase({ name }: DocState): void {
    throw new RangeError(`${name} is erased on main`);
  }
}

/** An actor of a document has one owner on all branches: whoever first wrote with it. */
export function ownerAmong(states: readonly DocState[], actor: string): string | undefined {
  for (const { actors } of states) {
    const known = actors.get(actor);
    if (known) return known.principal;
  }
  return undefined;
}

const NO_ROWS: readonly string[] = [];
const NO_STATES: DocState[] = [];
const NOTHING = new Uint8Array(0);

/** How a receipt is found: by who wrote, and the name they gave. */
export function receiptKey(principal: string, clientTxId: string): string {
  return `${principal}\0${clientTxId}`;
}
