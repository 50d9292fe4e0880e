import type { PageName } from "./routes.ts";

/** Pages of a db in the order of the menu, each with an action that it is of no use without. */
export const DB_PAGES: readonly { readonly page: PageName; readonly at: string; readonly needs: string }[] = [
  { page: "overview", at: "", needs: "doc.read" },
  { page: "docs", at: "docs", needs: "doc.read" },
  { page: "time", at: "time", needs: "doc.read" },
  { page: "branches", at: "branches", needs: "doc.read" },
  { page: "sql", at: "sql", needs: "query.read" },
  { page: "feed", at: "feed", needs: "doc.read" },
  { page: "subscriptions", at: "subscriptions", needs: "doc.read" },
  { page: "sync", at: "sync", needs: "sync" },
  { page: "snapshots", at: "snapshots", needs: "snapshot.read" },
  { page: "db-people", at: "people", needs: "db.admin" },
];

/** Pages of the server; `needs` is what `me.can` has to say, "" nothing. */
export const SERVER_PAGES: readonly {
  readonly page: PageName;
  readonly needs: "" | "tokens" | "people" | "audit";
}[] = [
  { page: "tokens", needs: "tokens" },
  { page: "people", needs: "people" },
  { page: "audit", needs: "audit" },
  { page: "health", needs: "" },
];
