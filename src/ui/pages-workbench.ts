import type { Pages } from "./page-loader.ts";

export const workbenchPages: Pages = {
  branches: () => import("./pages/branches.svelte"),
  sql: () => import("./pages/sql.svelte"),
  feed: () => import("./pages/feed.svelte"),
  subscriptions: () => import("./pages/subscriptions.svelte"),
  sync: () => import("./pages/sync.svelte"),
};
