import type { Engine } from "../db/engine.ts";
import { AUDIT_DB } from "../ids/names.ts";
import { nextTurn } from "../world.ts";
import { ENTRIES, keyAt, type AuditDocument } from "./entry.ts";

/** What is asked for; what is left out may be anything. */
export interface AuditFilter {
  readonly db?: string;
  /** Id or subject. */
  readonly who?: string;
  /** The whole action, or its start up to a dot with `*` behind it: `token.*`. */
  readonly action?: string;
  /** Milliseconds since 1970: entries of this moment and later ones. */
  readonly since?: number;
  /** Entries of this moment and earlier ones. */
  readonly until?: number;
}

export interface AuditFound extends AuditDocument {
  /** The key of its document in the db `_audit`. */
  readonly id: string;
}

export interface AuditPage {
  /** Newest first. */
  readonly entries: readonly AuditFound[];
  /** The key after which a next page goes on; undefined when there is nothing more. */
  readonly after: string | undefined;
}

/**
 * At most `limit` entries after the key `after`, newest first. A page ends earlier when many entries had to be passed
 * over, also without any: it then says where to go on.
 */
export async function auditPage(
  engine: Engine,
  filter: AuditFilter,
  after: string | undefined,
  limit: number,
): Promise<AuditPage> {
  if (!engine.has(AUDIT_DB)) return { entries: [], after: undefined };
  return engine.use(AUDIT_DB, async (db) => {
    const from = filter.until === undefined ? "" : keyAt(filter.until);
    // Keys of one millisecond begin alike: beyond the last one that may be shown comes this.
    const beyond = filter.since === undefined ? "\u{10ffff}" : `${keyAt(filter.since)}~`;
    const entries: AuditFound[] = [];
    let last = after !== undefined && after > from ? after : from;
    for (let looked = 0; looked < MOST_LOOKED_AT;) {
      const page = db.log.list(`${ENTRIES}/`, `${ENTRIES}/${last}`, PAGE, false);
      const keys = page.map(({ name }) => name.slice(ENTRIES.length + 1)).filter((key) => key < beyond);
      const documents = await Promise.all(keys.map((key) => db.read(`${ENTRIES}/${key}`)));
      for (const [i, { json }] of documents.entries()) {
        last = keys[i] as string;
        looked += 1;
        const document = JSON.parse(json) as AuditDocument;
        if (!matches(document, filter)) continue;
        entries.push({ id: last, ...document });
        if (entries.length === limit) {
          const rest = i + 1 < keys.length || keys.length === PAGE;
          return { entries, after: rest ? last : undefined };
        }
      }
      if (keys.length < PAGE) return { entries, after: undefined };
      // Others have their turn, however long ago what is looked for was.
      await nextTurn(db.log.world);
    }
    return { entries, after: last };
  });
}

/** All of them, newest first, page by page as they are taken. */
export async function* auditAll(
  engine: Engine,
  filter: AuditFilter,
  limit = Infinity,
): AsyncGenerator<AuditFound> {
  let left = limit;
  for (let after: string | undefined; left > 0;) {
    const page = await auditPage(engine, filter, after, Math.min(left, EXPORT_PAGE));
    yield* page.entries;
    left -= page.entries.length;
    ({ after } = page);
    if (after === undefined) return;
  }
}

function matches(entry: AuditDocument, { db, who, action }: AuditFilter): boolean {
  if (db !== undefined && entry.db !== db) return false;
  if (who !== undefined && entry.who !== who && entry.subject !== who) return false;
  if (action === undefined) return true;
  return action.endsWith("*") ? entry.action.startsWith(action.slice(0, -1)) : entry.action === action;
}

/** Entries read at once. */
const PAGE = 128;
const EXPORT_PAGE = 1000;
/** Entries looked at for one page. */
const MOST_LOOKED_AT = 5000;
