import type { Pages } from "./page-loader.ts";
import { officePages } from "./pages-office.ts";
import { shellPages } from "./pages-shell.ts";
import { workbenchPages } from "./pages-workbench.ts";

/** Each page is loaded when it is first gone to. */
export const pages: Pages = { ...shellPages, ...workbenchPages, ...officePages };
