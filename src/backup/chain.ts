import { SkaldError } from "../errors.ts";
import { cidDigest, cidToString } from "../ids/cid.ts";
import { blake3 } from "../ids/hash.ts";
import { isBundle, unpackBundle } from "../log/bundle.ts";
import type { Place } from "../log/log.ts";
import { addressesOf, checkedBlock, openRecord, type StoredCommit } from "../log/stored-commit.ts";

/**
 * Records one after the other, each checked before it counts: its bytes against its own check, its commit and its
 * blocks against their addresses, and that it names the commit before it. What depends on the documents (deps,
 * heads, actors) is for `verifyLog`, which a restore runs over all of it.
 */
export class RecordChain {
  readonly #uid: Uint8Array;
  #at: Place;

  /** `at` is the commit that the first record follows. */
  constructor(uid: Uint8Array, at: Place) {
    this.#uid = uid;
    this.#at = at;
  }

  /** The commit taken last. */
  get at(): Place {
    return this.#at;
  }

  /** The commits of a body: of a bundle all, of a record its one. Nothing is taken. Throws DB_DAMAGED. */
  open(body: Uint8Array): readonly StoredCommit[] {
    if (isBundle(body)) return unpackBundle(this.#uid, body);
    const stored = openRecord(body, this.#at.seq + 1);
    const { seq } = stored.commit;
    if (Buffer.compare(blake3(stored.bytes), cidDigest(stored.cid)) !== 0)
      throw damaged(seq, "its bytes do not hash to its address");
    const named = addressesOf(stored.commit);
    if (named.length !== stored.blocks.length)
      throw damaged(seq, `it names ${named.length} blocks and holds ${stored.blocks.length}`);
    // An erased block is an empty one: its address stays.
    stored.blocks.forEach((block, i) => block.length > 0 && checkedBlock(stored, i));
    return [stored];
  }

  /** Takes commits that were opened. Throws DB_DAMAGED when they do not follow. */
  follow(commits: readonly StoredCommit[]): void {
    for (const { commit, cid } of commits) {
      const { seq } = commit;
      if (seq !== this.#at.seq + 1) throw damaged(this.#at.seq + 1, `commit ${seq} stands in its place`);
      if (Buffer.compare(commit.db, this.#uid) !== 0) throw damaged(seq, "it is of another db");
      if (!isSame(beforeOf(commit), this.#at.cid))
        throw damaged(
          seq,
          `it does not name ${this.#at.cid ? cidToString(this.#at.cid) : "nothing"} as the one before it`,
        );
      this.#at = { seq, cid };
    }
  }

  /** Goes back to an earlier place. */
  return(at: Place): void {
    this.#at = at;
  }
}

/** The address of the commit with the seq before; none of the first one. */
export function beforeOf({ line, parents }: StoredCommit["commit"]): Uint8Array | undefined {
  return line ?? parents[0];
}

export function isSame(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && Buffer.compare(a, b) === 0);
}

function damaged(seq: number, what: string): SkaldError {
  return new SkaldError("DB_DAMAGED", `Commit ${seq} is not what it should be: ${what}.`, {
    details: { seq },
  });
}
