import type { Catalog, StageBase } from "./catalog.ts";
import type { ChangeHeader } from "./change.ts";
import { advance, newDocState, setAside, type DocState } from "./doc-state.ts";
import { bringersOf } from "./merged.ts";
import { refusalOf } from "./refusals.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";

/**
 * The catalog as it was after commit `at`: what another line is checked against that leaves this one there.
 * A document that was touched since is worked out again from its commits up to there.
 */
export class CatalogAt implements StageBase {
  readonly #catalog: Catalog;
  readonly #at: number;
  readonly #commitsOf: (doc: string, upTo: number) => Iterable<StoredCommit>;
  readonly #states = new Map<string, DocState | undefined>();

  /** `commitsOf` gives the commits up to a seq that touched a document, oldest first. */
  constructor(
    catalog: Catalog,
    at: number,
    commitsOf: (doc: string, upTo: number) => Iterable<StoredCommit>,
  ) {
    this.#catalog = catalog;
    this.#at = at;
    this.#commitsOf = commitsOf;
  }

  flushes(): number {
    return this.#catalog.flushes();
  }

  doc(name: string): DocState | undefined {
    const now = this.#catalog.doc(name);
    if (!now || now.last <= this.#at) return now;
    if (now.first > this.#at) return undefined;
    let then = this.#states.get(name);
    if (!then) this.#states.set(name, (then = stateOf(name, this.#commitsOf(name, this.#at))));
    return then;
  }

  find(prefix: number): number[] {
    return this.#catalog.find(prefix).filter((seq) => seq <= this.#at);
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    const seq = this.#catalog.receipt(principal, clientTxId);
    return seq !== undefined && seq <= this.#at ? seq : undefined;
  }
}

/** The state of a document after the commits that touched it. */
function stateOf(name: string, commits: Iterable<StoredCommit>): DocState {
  const state = newDocState(name);
  const headers = new Map<string, ChangeHeader>();
  for (const stored of commits) {
    const { commit } = stored;
    const entry = commit.entries.find(({ doc }) => doc === name);
    if (!entry) continue;
    const bringer = bringersOf(stored);
    headersIn(stored, name).forEach((header, i) => {
      headers.set(header.hash, header);
      advance(state, header, bringer(name, entry.changes[i] as Uint8Array) ?? commit.author);
    });
    if (state.first === 0) state.first = commit.seq;
    state.last = commit.seq;
    state.deleted = entry.deleted === true;
    if (entry.refused) setAside(state, refusalOf(name, entry.refused, entry.heads, headers), commit.seq);
  }
  return state;
}
