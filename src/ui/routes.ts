/**
 * Where one is, as the part of the address behind `#`: `#/db/<db>/docs/<collection>/<key>?at=12`. It never reaches
 * a server. Names are escaped one by one, so a key may hold anything.
 */
export type PageName =
  | "databases"
  | "overview"
  | "docs"
  | "doc"
  | "time"
  | "branches"
  | "sql"
  | "feed"
  | "subscriptions"
  | "sync"
  | "snapshots"
  | "db-people"
  | "tokens"
  | "people"
  | "audit"
  | "health"
  | "invite"
  | "login"
  | "unknown";

export interface Place {
  readonly page: PageName;
  /** "" where the page is of no db. */
  readonly db: string;
  readonly collection: string;
  readonly key: string;
  /** Of an invitation. */
  readonly secret: string;
  readonly query: Readonly<Record<string, string>>;
}

const SERVER: Readonly<Record<string, PageName>> = {
  tokens: "tokens",
  people: "people",
  audit: "audit",
  health: "health",
  login: "login",
};
const DB: Readonly<Record<string, PageName>> = {
  time: "time",
  branches: "branches",
  sql: "sql",
  feed: "feed",
  subscriptions: "subscriptions",
  sync: "sync",
  snapshots: "snapshots",
  people: "db-people",
};

export function placeOf(hash: string): Place {
  const text = hash.replace(/^#?\/?/, "");
  const at = text.indexOf("?");
  const path = at < 0 ? text : text.slice(0, at);
  const query = Object.fromEntries(new URLSearchParams(at < 0 ? "" : text.slice(at + 1)));
  const place = (page: PageName, more: Partial<Place> = {}): Place => ({
    page,
    db: "",
    collection: "",
    key: "",
    secret: "",
    query,
    ...more,
  });
  const parts = path.split("/").map(unescaped);
  if (parts.at(-1) === "" && parts.length > 1) parts.pop();
  if (parts.includes(undefined)) return place("unknown");
  const [first = "", ...rest] = parts as string[];
  if (path === "") return place("databases");
  if (first === "invite" && rest.length === 1) return place("invite", { secret: rest[0] as string });
  if (first !== "db") return place((rest.length === 0 && own(SERVER, first)) || "unknown");
  const [db = "", section, collection = "", key = "", ...beyond] = rest;
  if (db === "" || beyond.length > 0) return place("unknown");
  if (section === undefined) return place("overview", { db });
  if (section === "docs") return place(key === "" ? "docs" : "doc", { db, collection, key });
  return place((collection === "" && own(DB, section)) || "unknown", { db });
}

function own(of: Readonly<Record<string, PageName>>, name: string): PageName | undefined {
  return Object.hasOwn(of, name) ? of[name] : undefined;
}

function unescaped(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

/** `link(["db", db, "docs"], {prefix: "a"})` gives `#/db/<db>/docs?prefix=a`; what is undefined is left out. */
export function link(
  parts: readonly string[],
  query: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}
