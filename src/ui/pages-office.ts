import type { Pages } from "./page-loader.ts";

export const officePages: Pages = {};
