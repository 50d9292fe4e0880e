import { cidFromDigest, CODEC_DAG_CBOR } from "../../src/ids/cid.ts";
import { blake3, toHex } from "../../src/ids/hash.ts";
import { automergeIdOf } from "../../src/log/automerge-ids.ts";
import type { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";

/** Stable codes of what may be said in the place of an answer that damage took away. */
const STABLE = /^(DB_DAMAGED|DB_FOREIGN|DB_NEWER|DB_MISSING|DERIVED_DAMAGED|DOC_UNREADABLE|STORAGE_FAILED)$/;

export interface Question {
  readonly name: string;
  readonly ask: (db: Db) => unknown;
}

/** What is asked of a db that is known to be sound, and again after each damage. Nothing here needs Automerge. */
export function questionsOf(
  db: Db,
  receipts: readonly (readonly [author: string, id: string, doc: string])[],
): Question[] {
  const { seq } = db.log.head();
  const names = db.log.list("", "", 1000, true).map(({ name }) => name);
  const questions: Question[] = [
    { name: "head", ask: ({ log }) => [log.head().seq, hex(log.head().cid)] },
    {
      name: "list",
      ask: ({ log }) =>
        log
          .list("", "", 1000, true)
          .map((state) => [state.name, state.last, state.deleted, [...state.heads.keys()].sort()]),
    },
    { name: "list of those not deleted", ask: ({ log }) => log.list("", "", 1000).map(({ name }) => name) },
    {
      name: "a page of the list",
      ask: ({ log }) => log.list("", names[names.length >> 1] as string, 3, true).map(({ name }) => name),
    },
    { name: "counts", ask: ({ log }) => log.counts() },
    {
      name: "commits",
      ask: ({ log }) =>
        all(log, seq).map(({ cid, bytes, blocks }) => [hex(cid), bytes.length, blocks.length]),
    },
    { name: "a commit of no seq", ask: ({ log }) => log.commit(seq + 1) === undefined },
    {
      name: "an address of nothing",
      ask: ({ log }) =>
        log.findCommit(cidFromDigest(CODEC_DAG_CBOR, blake3(new Uint8Array(3)))) === undefined,
    },
    { name: "a document of no name", ask: ({ log }) => log.state("no/such") === undefined },
  ];
  for (const stored of all(db.log, seq).filter((_, i) => i % 5 === 0)) {
    const { cid, commit } = stored;
    questions.push({ name: `address of commit ${commit.seq}`, ask: ({ log }) => log.findCommit(cid) });
  }
  for (const name of names) {
    const id = automergeIdOf(db.log.identity.uid, name);
    questions.push({ name: `name of the Automerge id of ${name}`, ask: ({ log }) => log.named(id) });
    questions.push(
      {
        name: `state of ${name}`,
        ask: ({ log }) => {
          const s = log.state(name);
          return s && [s.last, s.first, s.deleted, s.changes, s.maxOp, [...s.actors], [...s.heads]];
        },
      },
      { name: `history of ${name}`, ask: ({ log }) => log.history(name, seq, 1000) },
      { name: `${name} at ${seq >> 1}`, ask: ({ log }) => log.stateAt(name, seq >> 1) },
      {
        name: `changes of ${name}`,
        ask: ({ log }) => log.changes(name, 0, seq).map((bytes) => hex(blake3(bytes))),
      },
      // A row that is not there, or older, is no answer: a worker then reads the document from the log.
      {
        name: `value of ${name}`,
        ask: ({ log, views }) => {
          const row = views.document(name);
          return row?.seq === log.state(name)?.last ? [row?.json, row?.deleted] : NONE;
        },
      },
      {
        name: `saved form of ${name}`,
        ask: ({ views }) => {
          const saved = views.saved(name);
          return saved ? [saved.seq, hex(saved.bytes)] : NONE;
        },
      },
    );
  }
  for (const [author, id, doc] of receipts) {
    questions.push({ name: `receipt ${id}`, ask: (held) => held.earlier(author, id, doc)?.seq });
  }
  questions.push({
    name: "receipt of nothing",
    ask: (held) => held.earlier("ann", "never", names[0] as string) === undefined,
  });
  return questions;
}

/** What the projection does not have for now: whoever asks gets it from the log. */
export const NONE = "none";

export interface Asked {
  /** Questions that were answered otherwise than when all was sound. */
  readonly wrong: string[];
  /** Codes of those that were refused. */
  readonly refused: string[];
}

export async function ask(
  engine: Engine,
  dbId: string,
  questions: readonly Question[],
  expected: readonly string[],
): Promise<Asked> {
  const wrong: string[] = [];
  const refused: string[] = [];
  const codeOf = (error: unknown): string => String((error as { code?: unknown }).code);
  try {
    await engine.use(dbId, (db) => {
      let damage: unknown;
      questions.forEach(({ name, ask: one }, i) => {
        try {
          const answer = JSON.stringify(one(db));
          if (answer !== expected[i] && answer !== JSON.stringify(NONE))
            wrong.push(`${name}: ${answer?.slice(0, 150)}, not ${expected[i]?.slice(0, 150)}`);
        } catch (error) {
          if (STABLE.test(codeOf(error))) refused.push(codeOf(error));
          else wrong.push(`${name}: ${String(error)}`);
          damage ??= error;
        }
      });
      // As a caller does with an error: the engine then sees to what is derived.
      if (damage !== undefined) throw damage;
    });
  } catch (error) {
    if (!STABLE.test(codeOf(error))) wrong.push(String(error));
    else if (refused.length === 0) refused.push(codeOf(error));
  }
  return { wrong, refused };
}

function all(log: Db["log"], upTo: number) {
  const found = [];
  while (found.length < upTo) {
    const page = log.commits(found.length + 1, 500);
    if (page.length === 0) break;
    found.push(...page);
  }
  return found;
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes ? toHex(bytes) : "";
}
