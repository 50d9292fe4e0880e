import type * as z from "zod";
import type { DocList } from "../protocol/wire.ts";
import { dbPath, query } from "./client-command.ts";
import { askJson, type Connection } from "./connection.ts";

type Page = z.infer<typeof DocList>;

export interface ListOptions {
  readonly collection?: string;
  readonly prefix?: string;
  readonly at?: string;
  readonly branch?: string;
  readonly values?: boolean;
}

/** Pages of documents in name order, all of them at the point of the first. */
export async function* listDocs(
  connection: Connection,
  db: string,
  options: ListOptions,
): AsyncGenerator<Page> {
  const { collection, prefix, branch } = options;
  let { at } = options;
  let cursor: string | undefined;
  do {
    const search = query({
      collection,
      prefix,
      at,
      branch,
      cursor,
      // A page of values is built in memory, so it is a smaller one.
      limit: options.values ? 100 : 1000,
      values: options.values ? "true" : undefined,
    });
    const page: Page = await askJson<Page>(connection, {
      method: "GET",
      path: `${dbPath(db)}/docs${search}`,
    });
    yield page;
    at = String(page.seq);
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}
