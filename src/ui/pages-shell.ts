import type { Pages } from "./page-loader.ts";

export const shellPages: Pages = {
  login: () => import("./pages/login.svelte"),
  databases: () => import("./pages/databases.svelte"),
  docs: () => import("./pages/docs.svelte"),
  doc: () => import("./pages/doc.svelte"),
  overview: () => import("./pages/overview.svelte"),
};
