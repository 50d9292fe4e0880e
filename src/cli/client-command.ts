import type { Command } from "commander";
import type { ConnectionFlags } from "./connection.ts";
import { parseDocName } from "../ids/names.ts";

/** What every command that talks to a Skald takes. */
export interface ClientFlags extends ConnectionFlags {
  readonly json?: true;
}

/** Adds the options of every command that talks to a Skald, and its examples to its help. */
export function clientCommand(command: Command, examples: readonly string[]): Command {
  return command
    .option("--dir <path>", "data directory (default ./skald_data, env SKALD_DIR)")
    .option("--url <url>", "server to talk to instead of a directory (env SKALD_URL)")
    .option("--token <token>", "token for that server (better in env SKALD_TOKEN)")
    .option("--json", "print one JSON value a line")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}\n`).join("")}`);
}

export function dbPath(db: string): string {
  return `/api/v1/db/${encodeURIComponent(db)}`;
}

/** Throws NAME_INVALID. */
export function docPath(db: string, doc: string): string {
  const { collection, key } = parseDocName(doc);
  return `${dbPath(db)}/docs/${encodeURIComponent(collection)}/${encodeURIComponent(key)}`;
}

/** The query of a path, without what is undefined. */
export function query(values: Readonly<Record<string, string | number | undefined>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== undefined) search.set(name, String(value));
  return search.size === 0 ? "" : `?${search.toString()}`;
}
