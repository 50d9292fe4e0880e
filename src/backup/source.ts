import type { Place } from "../log/log.ts";
import { placeJson, readJson, type Ask } from "../replication/peer.ts";

/** What a backup is made of: a server, or a directory that is opened for it. */
export interface Source {
  /** The names of all dbs. */
  dbs(): AsyncIterable<string>;
  /** See `frames.ts`. Throws DB_NOT_FOUND, and what opening the db throws. */
  db(name: string, wanted: DbRequest): Promise<AsyncIterable<Uint8Array>>;
  /** Its own files: of each a note with its name and size, and its bytes; at last a note. See `frames.ts`. */
  files(): Promise<AsyncIterable<Uint8Array>>;
}

export interface DbRequest {
  readonly have: readonly Place[];
  readonly known?: Place;
  readonly all?: boolean;
}

export function httpSource(ask: Ask): Source {
  return {
    async *dbs() {
      for (let path: string | undefined = "/api/v1/db?own=true&limit=1000"; path !== undefined;) {
        const page: { dbs: { db: string }[]; cursor: string | null } = await readJson(
          await ask({ method: "GET", path }),
        );
        for (const { db } of page.dbs) yield db;
        path =
          page.cursor === null
            ? undefined
            : `/api/v1/db?own=true&limit=1000&cursor=${encodeURIComponent(page.cursor)}`;
      }
    },
    db: (name, { have, known, all }) =>
      ask({
        method: "POST",
        path: `/api/v1/db/${encodeURIComponent(name)}/backup`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          have: have.map(placeJson),
          ...(known ? { known: placeJson(known) } : {}),
          ...(all === true ? { all } : {}),
        }),
      }),
    files: () => ask({ method: "GET", path: "/api/v1/admin/backup" }),
  };
}
