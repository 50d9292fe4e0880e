import type { Pages } from "./page-loader.ts";

export const officePages: Pages = {
  time: () => import("./pages/time.svelte"),
};
