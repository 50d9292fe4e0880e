import type { Pages } from "./page-loader.ts";

export const shellPages: Pages = {
  databases: () => import("./pages/databases.svelte"),
  login: () => import("./pages/login.svelte"),
};
