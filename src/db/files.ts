import type { CatalogTable, LogStorage } from "../store/contract.ts";
import { catalogHeadIn, openSqliteCatalog } from "../store/sqlite-catalog.ts";
import { createSqliteLog, openSqliteLog, type SqliteLogOptions } from "../store/sqlite-log.ts";
import { openViews, viewsHeadIn, type Views } from "../store/sqlite-views.ts";

/** How the files of a db are opened. What stands in for one must keep its contract, or show what happens if not. */
export interface DbFiles {
  createLog(folder: string, dbId: string, options: SqliteLogOptions): LogStorage;
  openLog(folder: string, dbId: string, options: SqliteLogOptions): LogStorage;
  openCatalog(folder: string): CatalogTable;
  openViews(folder: string): Views;
}

export const sqliteFiles: DbFiles = {
  createLog: createSqliteLog,
  openLog: (folder, dbId, options) =>
    openSqliteLog(folder, dbId, {
      ...options,
      known: () => Math.max(catalogHeadIn(folder), viewsHeadIn(folder)),
    }),
  openCatalog: openSqliteCatalog,
  openViews,
};
