import type { Branches } from "./branches.ts";
import type { Catalog } from "./catalog.ts";
import type { StageBase } from "./stage.ts";
import type { DocState } from "./doc-state.ts";
import type { SchemaStep } from "./schema-steps.ts";

/**
 * The catalog as it was after commit `at`: what another line is checked against that leaves this one there.
 * A document that was touched since is worked out again from its commits up to there.
 */
export class CatalogAt implements StageBase {
  readonly branches: Branches;
  readonly #catalog: Catalog;
  readonly #at: number;
  readonly #stateAt: (row: string, at: number) => DocState | undefined;
  readonly #states = new Map<string, DocState | undefined>();

  /** `stateAt` works out the state of a row at a point before its newest. */
  constructor(
    catalog: Catalog,
    at: number,
    branches: Branches,
    stateAt: (row: string, at: number) => DocState | undefined,
  ) {
    this.#catalog = catalog;
    this.#at = at;
    this.branches = branches;
    this.#stateAt = stateAt;
  }

  flushes(): number {
    return this.#catalog.flushes();
  }

  doc(row: string): DocState | undefined {
    const now = this.#catalog.doc(row);
    if (!now || now.last <= this.#at) return now;
    if (now.first > this.#at) return undefined;
    if (!this.#states.has(row)) this.#states.set(row, this.#stateAt(row, this.#at));
    return this.#states.get(row);
  }

  rowsOf(doc: string): readonly string[] {
    return this.#catalog.rowsOf(doc);
  }

  find(prefix: number): number[] {
    return this.#catalog.find(prefix).filter((seq) => seq <= this.#at);
  }

  schemaSteps(): SchemaStep[] {
    return this.#catalog.schemaSteps().filter(({ seq }) => seq <= this.#at);
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    const seq = this.#catalog.receipt(principal, clientTxId);
    return seq !== undefined && seq <= this.#at ? seq : undefined;
  }
}
