import { prefixesFor } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { resolvePoint } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { automergeUrl } from "../log/automerge-ids.ts";
import { checkCollection, parseDocName } from "../ids/names.ts";
import { branchIn, nameCursor, onBranch, nameOfCursor, nextLink, pointHeaders } from "./point.ts";
import type { Answer, Call } from "./route.ts";
import { nextTurn } from "../world.ts";

interface Listed {
  readonly doc: string;
  readonly collection: string;
  readonly key: string;
  readonly seq: number;
  readonly heads: readonly string[];
  readonly automerge_url: string;
  /** JSON text as a read of the document gives it, integers beyond 2^53 included. */
  text?: string;
}

/** Names read at once at the least: some may be deleted or later than the point. */
const PAGE = 64;
/** Documents read at once: more would only wait in the workers' queues, where others wait too. */
const READS = 32;

/** `GET …/docs`: documents by name as they were at one point, those the caller may see. */
export async function listDocs(call: Call, db: Db): Promise<Answer> {
  const branch = branchIn(call);
  const { limit, cursor, at, collection, prefix, values } = call.query as {
    limit: number;
    cursor?: string;
    at?: string;
    collection?: string;
    prefix?: string;
    values?: string;
  };
  if (prefix !== undefined && collection === undefined) {
    throw new SkaldError("BAD_REQUEST", "`prefix` is of a key, so it needs `collection`.");
  }
  const start = collection === undefined ? "" : `${checkCollection(collection)}/${prefix ?? ""}`;
  const from = cursor === undefined ? undefined : placeOf(cursor);
  // All pages of one list are of one point: that of the first.
  await db.locate(at);
  const seq = resolvePoint(db.log, at ?? from?.seq, branch);
  const docs: Listed[] = [];
  const ranges = rangesOf(prefixesFor(call.principal, "doc.read", db.id), start);
  for (const range of ranges) {
    // One more than is shown tells whether there is a next page, and nothing of what may not be seen.
    if (docs.length > limit) break;
    for await (const listed of listedIn(
      db,
      range,
      from?.name ?? "",
      { seq, branch },
      Math.max(PAGE, limit + 1),
    )) {
      docs.push(listed);
      if (docs.length > limit) break;
    }
  }
  const most = Math.min(docs.length, limit);
  const shown = values === "true" ? await addValues(db, docs.slice(0, most), { seq, branch }) : most;
  const next = docs.length > shown ? nameCursor("docs", `${seq} ${docs[shown - 1]?.doc}`) : null;
  docs.length = shown;
  return {
    status: 200,
    headers: {
      "content-type": "application/json",
      ...pointHeaders(db, seq),
      ...nextLink(`/api/v1/db/${db.id}/docs`, call.query, next),
    },
    body: `{"docs":[${docs.map(jsonOf).join()}],"seq":${seq},"cursor":${JSON.stringify(next)}}`,
  };
}

function jsonOf({ text, ...listed }: Listed): string {
  const json = JSON.stringify(listed);
  return text === undefined ? json : `${json.slice(0, -1)},"value":${text}}`;
}

function placeOf(cursor: string): { seq: string; name: string } {
  const [, seq = "", name = ""] = /^(\d+) (.*)$/s.exec(nameOfCursor("docs", cursor)) ?? [];
  return { seq, name };
}

/** Prefixes of names to list: what is asked for and what may be seen, in the order of the names. */
function rangesOf(seen: readonly string[] | "all" | "none", start: string): string[] {
  if (seen === "all") return [start];
  if (seen === "none") return [];
  return (
    seen
      .filter((prefix) => prefix.startsWith(start) || start.startsWith(prefix))
      .map((prefix) => (prefix.length > start.length ? prefix : start))
      // Names are listed by their UTF-8 bytes, which is not the order of JavaScript's strings.
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  );
}

interface Where {
  readonly seq: number;
  readonly branch: string | undefined;
}

async function* listedIn(
  db: Db,
  prefix: string,
  from: string,
  { seq, branch }: Where,
  size: number,
): AsyncGenerator<Listed> {
  for (let after = from; ;) {
    const page = db.log.list(prefix, after, size, true, branch);
    for (const state of page) {
      after = state.name;
      const point = state.first <= seq ? db.log.stateAt(state.name, seq, branch) : undefined;
      if (!point || point.deleted) continue;
      yield {
        doc: state.name,
        ...parseDocName(state.name),
        seq: point.seq,
        heads: point.heads,
        automerge_url: automergeUrl(db.log.identity.uid, state.name),
      };
    }
    if (page.length < size) return;
    // A point before most documents were made: nobody else should wait while they are passed over.
    await nextTurn(db.log.world);
  }
}

/** Reads the documents' JSON, and gives how many of them fit into a page: one at least. */
async function addValues(db: Db, docs: readonly Listed[], { seq, branch }: Where): Promise<number> {
  const most = LIMITS.query.valuesCharacters.value;
  const todo = docs.values();
  let size = 0;
  const reader = async (): Promise<void> => {
    for (const listed of todo) {
      listed.text = (await db.read(listed.doc, { at: String(seq), ...onBranch(branch) })).json;
      size += listed.text.length;
      if (size > most) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(READS, docs.length) }, reader));
  let total = 0;
  const fit = docs.findIndex(({ text }) => text === undefined || (total += text.length) > most);
  return fit < 0 ? docs.length : Math.max(1, fit);
}
