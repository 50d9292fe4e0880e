import type { Pages } from "./page-loader.ts";

export const officePages: Pages = {
  time: () => import("./pages/time.svelte"),
  tokens: () => import("./pages/tokens.svelte"),
  people: () => import("./pages/people.svelte"),
  "db-people": () => import("./pages/db-people.svelte"),
  invite: () => import("./pages/invite.svelte"),
  audit: () => import("./pages/audit.svelte"),
  snapshots: () => import("./pages/snapshots.svelte"),
  health: () => import("./pages/health.svelte"),
};
