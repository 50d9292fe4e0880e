import { isSkaldError } from "../errors.ts";
import { headsOf } from "../log/doc-state.ts";
import { nextTurn } from "../world.ts";
import type { Db } from "./db.ts";
import { checkNotAfter } from "./point.ts";
import type { TxWrite } from "./write.ts";

/** What is to be as it was, and who says so. */
export interface RestoreRequest {
  readonly author: string;
  /** The commit to go back to; see `resolvePoint`. */
  readonly at: number;
  /** Only these documents. */
  readonly documents?: readonly string[];
  /** Only documents whose names start so. */
  readonly prefix?: string;
  readonly message?: string;
  /** Say what would be done, keep nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /** Documents looked at so far. */
  readonly onProgress?: (done: number, of: number) => void;
}

/** What a restore did. Documents that are as they were then are in none of the numbers. */
export interface Restored {
  readonly at: number;
  /** The db's last commit after it. */
  readonly seq: number;
  /** Commits it took. */
  readonly commits: number;
  /** Documents that were changed back, that were brought back, and that were deleted for not having been there. */
  readonly changed: number;
  readonly returned: number;
  readonly deleted: number;
  /** Documents that cannot come back, since their bytes were erased; they were left alone. */
  readonly erased: number;
}

/**
 * Brings documents back to how they were after commit `at`, by new commits on top of all there is: for each the
 * smallest change that does it, a deletion for those that were not there. Nothing is rewritten. What does not
 * fit into one commit takes several; repeating it does what is left, so one that broke off is finished by
 * the same call. Others may write meanwhile: their writes to documents that are not done yet go back as well.
 * Throws POINT_IN_FUTURE, DOC_NOT_FOUND for a named document that there never was, and what a write throws.
 */
export async function restorePoint(db: Db, request: RestoreRequest): Promise<Restored> {
  const { at, dryRun = false, signal, onProgress } = request;
  checkNotAfter(db.log.head().seq, at);
  const done = { commits: 0, changed: 0, returned: 0, deleted: 0, erased: 0 };
  let looked = 0;
  let steps: Step[] = [];
  const flush = async (): Promise<void> => {
    const some = steps;
    steps = [];
    await write(db, request, some, done, dryRun);
    onProgress?.(looked, of);
  };
  const of = request.documents?.length ?? db.log.counts().documents + db.log.counts().deleted;
  for await (const doc of concerned(db, request)) {
    if (signal?.aborted) break;
    looked += 1;
    const step = stepFor(db, doc, at);
    if (step) steps.push(step);
    if (steps.length >= BATCH) await flush();
  }
  await flush();
  return { at, seq: db.log.head().seq, ...done };
}

interface Step {
  readonly write: TxWrite;
  readonly kind: "changed" | "returned" | "deleted";
  readonly before: readonly string[];
}

async function* concerned(db: Db, { documents, prefix = "" }: RestoreRequest): AsyncGenerator<string> {
  if (documents) {
    for (const doc of new Set(documents)) {
      db.known(doc);
      yield doc;
    }
    return;
  }
  for (let after = ""; ;) {
    const page = db.log.list(prefix, after, PAGE, true);
    for (const { name } of page) yield name;
    const last = page.at(-1);
    if (page.length < PAGE || !last) return;
    after = last.name;
    await nextTurn(db.log.world);
  }
}

/** What has to be written for a document to be as it was; undefined when it is. */
function stepFor(db: Db, doc: string, at: number): Step | undefined {
  const state = db.log.state(doc);
  if (!state || state.last <= at) return undefined;
  const before = headsOf(state);
  const then = state.first <= at ? db.log.stateAt(doc, at) : undefined;
  if (!then || then.deleted) {
    return state.deleted ? undefined : { write: { doc, delete: true }, kind: "deleted", before };
  }
  return {
    write: { doc, edit: { kind: "revert", heads: [...then.heads] } },
    kind: state.deleted ? "returned" : "changed",
    before,
  };
}

/** One commit, or several where one would be too large. */
async function write(
  db: Db,
  request: RestoreRequest,
  steps: readonly Step[],
  done: Record<"commits" | "erased" | Step["kind"], number>,
  dryRun: boolean,
): Promise<void> {
  if (steps.length === 0) return;
  try {
    const receipt = await db.tx({
      author: request.author,
      message: request.message ?? `restore to seq ${request.at}`,
      writes: steps.map((step) => step.write),
      dryRun,
    });
    if (receipt.duplicate) return;
    done.commits += 1;
    for (const {
      write: { doc },
      kind,
      before,
    } of steps) {
      const heads = receipt.heads[doc] ?? [];
      // One that differs in its history alone is as it was.
      const same = heads.length === before.length && heads.every((head) => before.includes(head));
      if (kind !== "changed" || !same) done[kind] += 1;
    }
  } catch (error) {
    const code: string | undefined = isSkaldError(error) ? error.code : undefined;
    if (steps.length === 1) {
      // Somebody else deleted it meanwhile: then it need not be done.
      if (code === "DOC_NOT_FOUND") return;
      if (code === ERASED) return void (done.erased += 1);
    }
    if (steps.length === 1 || !SPLITS.has(code ?? "")) throw error;
    const middle = steps.length >> 1;
    await write(db, request, steps.slice(0, middle), done, dryRun);
    await write(db, request, steps.slice(middle), done, dryRun);
  }
}

/** Documents of a commit: each is authored before any is written, so the first are held up by the last. */
const BATCH = 100;
const PAGE = 256;
const ERASED: string = "ERASED";
/** With fewer documents it may well go. */
const SPLITS: ReadonlySet<string> = new Set([
  "TOO_LARGE",
  "DOC_NOT_FOUND",
  "HEADS_CONFLICT",
  "WORK_BUSY",
  ERASED,
]);
