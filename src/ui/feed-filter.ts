/** What of the change feed is shown, as it stands in the page's address. */
export interface FeedFilter {
  readonly collection: string;
  /** Start of the keys in `collection`. */
  readonly prefix: string;
  /** One document, `collection/key`; goes before the other two. */
  readonly doc: string;
  /** "" is `main`, "*" all of them. */
  readonly branch: string;
  /** A seq, a time or `now`; "" the last commits. */
  readonly since: string;
}

export const NO_FILTER: FeedFilter = { collection: "", prefix: "", doc: "", branch: "", since: "" };

export function filterOf(query: Readonly<Record<string, string>>): FeedFilter {
  const { collection = "", prefix = "", doc = "", branch = "", since = "" } = query;
  return { collection, prefix: collection === "" ? "" : prefix, doc, branch, since };
}

/** For the address: what is not set is left out. */
export function filterQuery(filter: FeedFilter): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, value || undefined]));
}

/** Commits that a page begins with. */
export const FIRST_COMMITS = 200;

/** What the feed is asked with. `head` is the seq of the db's last commit. */
export function feedQuery(filter: FeedFilter, head: number): Record<string, string | undefined> {
  const { collection, prefix, doc, branch, since } = filter;
  return {
    ...selected({ collection, prefix, doc }),
    branch: branch || undefined,
    since: since === "" ? String(Math.max(0, head - FIRST_COMMITS)) : sinceOf(since),
  };
}

/** A time as a field gives it, in the zone of whoever reads it, as the server takes it. */
function sinceOf(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?$/.test(text)) return text;
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : at.toISOString();
}

function selected({ collection, prefix, doc }: Pick<FeedFilter, "collection" | "prefix" | "doc">) {
  if (doc !== "") return { doc };
  return { collection: collection || undefined, prefix: collection === "" ? undefined : prefix || undefined };
}

/** One commit, asked for with what it did. */
export function commitQuery(
  filter: FeedFilter,
  seq: number,
  branch: string,
): Record<string, string | undefined> {
  return { ...selected(filter), branch, since: String(seq - 1), limit: "1", include: "patch" };
}
