import type { Pages } from "./page-loader.ts";

export const workbenchPages: Pages = {};
