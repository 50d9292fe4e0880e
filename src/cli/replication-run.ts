import { clientEnvironment, readConfig } from "../config.ts";
import { toHex } from "../ids/hash.ts";
import type { Carrying, Pair } from "../replication/exchange.ts";
import type { Peer } from "../replication/peer.ts";
import { dbPath, query } from "./client-command.ts";
import { askJson, openConnection, withConnection, type Connection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { byteText } from "./output.ts";
import { startProgress } from "./progress.ts";

export interface Flags {
  readonly dir?: string;
  readonly token?: string;
  readonly json?: true;
  readonly quiet?: true;
}

/** A db of another server. */
export interface Remote {
  /** The server, as `--url` takes it. */
  readonly base: string;
  readonly db: string;
}

/** Reads a server's URL, or that of a db of it; `otherwise` is the db of a URL that names none. Throws USAGE. */
export function parseRemote(text: string, db: string | undefined, otherwise?: string): Remote {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) throw usageError(`"${text}" is no http or https URL.`);
  if (url.username !== "" || url.password !== "")
    throw usageError("A URL with a password is not taken: give a token in SKALD_TOKEN.");
  const named = /^(.*)\/api\/v1\/db\/([^/]+)\/?$/.exec(url.pathname);
  const base = `${url.origin}${(named?.[1] ?? url.pathname).replace(/\/$/, "")}`;
  const name = db ?? (named?.[2] === undefined ? otherwise : decodeURIComponent(named[2]));
  if (name === undefined) throw usageError(`Which db of ${text}? Name it after the URL.`);
  return { base, db: name };
}

export function urlOf({ base, db }: Remote): string {
  return `${base}${dbPath(db)}`;
}

export interface Together {
  /** This side: a directory, through whoever runs on it. */
  readonly local: Connection;
  readonly carrying: Carrying;
  /** Opens both copies; `create` makes the one of this side when it is not there. */
  readonly connect: (remote: Remote, name: string, create: boolean) => Promise<Pair>;
  readonly copies: typeof import("../replication/exchange.ts");
}

/** Runs work with this side open, and closes all that it opens, whatever happens. */
export async function together(
  flags: Flags,
  create: boolean,
  work: (both: Together) => Promise<void>,
): Promise<void> {
  const { dir } = readConfig(flags.dir === undefined ? {} : { dir: flags.dir });
  const token = flags.token ?? clientEnvironment().token;
  // Loaded only now: the hashes that it needs take longer to load than most commands.
  const copies = await import("../replication/exchange.ts");
  const { httpPeer } = await import("../replication/peer.ts");
  const opened: Connection[] = [];
  const quiet = flags.quiet === true;
  let shown = 0;
  const progress = startProgress("commits", quiet, () => byteText(shown));
  const carrying: Carrying = {
    onProgress: ({ commits, bytes, of }) => {
      shown = bytes;
      progress.update(commits, of === 0 ? undefined : commits / of);
    },
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
  const connect = async (remote: Remote, name: string, made: boolean): Promise<Pair> => {
    const far = await openConnection(
      { url: remote.base, ...(token === undefined ? {} : { token }) },
      false,
      2,
    );
    opened.push(far);
    const there: Peer = httpPeer((request) => far.send(request), remote.db, urlOf(remote));
    if (made) {
      const { uid } = await there.compare([]);
      await askJson(local, { method: "PUT", path: `${dbPath(name)}${query({ uid: toHex(uid) })}` });
    }
    return { here: httpPeer((request) => local.send(request), name, name), there };
  };
  let local: Connection;
  try {
    await withConnection(
      { dir },
      (connection) => {
        local = connection;
        return work({ local, carrying, connect, copies });
      },
      create,
    );
  } finally {
    progress.end();
    for (const connection of opened) await connection.close();
  }
}
