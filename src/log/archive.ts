import { SkaldError } from "../errors.ts";
import type { World } from "../world.ts";
import { branchOf, docOf, type Branches } from "./branches.ts";
import type { Catalog } from "./catalog.ts";
import type { Commit } from "./commit.ts";
import type { Records } from "./records.ts";
import type { StoredCommit } from "./stored-commit.ts";

/** The bundles with commits that touched a row. */
export function* archive(
  records: Records,
  catalog: Catalog,
  row: string,
  order: "newest first" | "oldest first" = "newest first",
): Generator<readonly StoredCommit[]> {
  const lasts = catalog.bundlesOf(row);
  for (const last of order === "newest first" ? lasts : lasts.reverse()) yield records.bundle(last);
}

/** Whether a commit is of a branch and writes a document. */
export function touchesRow(
  branches: Branches,
  { branch, entries, seq }: Commit,
  id: number,
  doc: string,
): boolean {
  return entries.some((entry) => entry.doc === doc) && (!branches.any || branches.idOf(branch, seq) === id);
}

/** The commits up to a seq that touched a row, oldest first. Throws DB_DAMAGED. */
export function* commitsOfRow(
  records: Records,
  catalog: Catalog,
  row: string,
  upTo: number,
): Generator<StoredCommit> {
  const [id, doc] = [branchOf(row), docOf(row)];
  for (const commits of archive(records, catalog, row, "oldest first")) {
    for (const stored of commits) {
      if (stored.commit.seq > upTo) break;
      if (touchesRow(catalog.branches, stored.commit, id, doc)) yield stored;
    }
  }
  for (const seq of catalog.touchesAfter(row, 0, upTo)) yield records.commit(seq) as StoredCommit;
}

/**
 * The same for writes that name a change so old, which is rare unless somebody makes it up: expanding
 * bundles takes at most a tenth of the writer's time, and who comes when that is used up is told to wait.
 */
export class WritersArchive {
  readonly #records: Records;
  readonly #catalog: Catalog;
  readonly #world: World;
  /** Milliseconds spent on expanding bundles, less a tenth of the time since. */
  #debt = 0;
  #at = 0;

  constructor(records: Records, catalog: Catalog, world: World) {
    this.#records = records;
    this.#catalog = catalog;
    this.#world = world;
  }

  /** Throws WORK_BUSY. */
  *of(row: string): Generator<readonly StoredCommit[]> {
    for (const last of this.#catalog.bundlesOf(row)) {
      const started = this.#world.monotonic();
      this.#debt = Math.max(0, this.#debt - (started - this.#at) / 10);
      this.#at = started;
      if (this.#debt > ARCHIVE_DEBT_MS) {
        throw new SkaldError(
          "WORK_BUSY",
          "The write names an old change, and too many such are being looked up.",
        );
      }
      const commits = this.#records.bundle(last);
      this.#debt += this.#world.monotonic() - started;
      yield commits;
    }
  }
}

/** A whole history of a million commits can be searched once before anybody has to wait. */
const ARCHIVE_DEBT_MS = 15_000;
