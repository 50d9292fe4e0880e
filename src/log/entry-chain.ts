import { SkaldError } from "../errors.ts";
import type { StoredCommit } from "./stored-commit.ts";

/** Commits of a document one after the other: each starts from the heads that the one before it left. */
export class EntryChain {
  readonly #doc: string;
  #heads: readonly string[] | undefined;

  constructor(doc: string, heads: readonly string[] | undefined) {
    this.#doc = doc;
    this.#heads = heads;
  }

  /** Throws DERIVED_DAMAGED when one in between was left out, or this one is not of the document. */
  follow({ commit }: StoredCommit): void {
    const entry = commit.entries.find(({ doc }) => doc === this.#doc);
    const heads = this.#heads;
    if (
      !entry ||
      (heads && (heads.length !== entry.base.length || heads.some((head, i) => head !== entry.base[i])))
    ) {
      throw new SkaldError(
        "DERIVED_DAMAGED",
        `The catalog leads to commit ${commit.seq} of ${this.#doc} and not to the one before it.`,
        { details: { seq: commit.seq } },
      );
    }
    this.#heads = entry.heads;
  }
}
