import type { Command } from "commander";
import type { Exchanged } from "../replication/exchange.ts";
import type { SyncRemote } from "../protocol/wire.ts";
import type * as z from "zod";
import { dbPath } from "./client-command.ts";
import { askJson, type Connection } from "./connection.ts";
import { CliError, asCliError, usageError } from "./failure.ts";
import { byteText, print, printJson } from "./output.ts";
import { parseRemote, together, urlOf, type Flags, type Remote } from "./replication-run.ts";

export function addReplication(program: Command): void {
  withFlags(
    program
      .command("clone <url> [db]")
      .description(
        "copy a db of another server with its whole log; a second time it goes on where it stopped",
      )
      .option("--as <name>", "name of the copy (default: the db's)"),
    [
      "skald clone https://skald.example shop",
      "skald clone https://skald.example/api/v1/db/shop --as shop-copy",
    ],
  ).action(async (url: string, db: string | undefined, flags: Flags & { as?: string }) => {
    const remote = parseRemote(url, db);
    const name = flags.as ?? remote.db;
    await together(flags, true, async ({ connect, local, carrying, copies }) => {
      const pair = await connect(remote, name, true);
      await remember(local, name, remote);
      await tell(name, remote, await copies.pull(pair, carrying), flags);
    });
  });

  withFlags(
    program
      .command("pull <db-or-url> [db]")
      .usage("[options] [url] <db>")
      .description("bring what the other server has of a db that was cloned, or that a URL names"),
    ["skald pull shop", "skald pull https://skald.example shop"],
  ).action((first: string, second: string | undefined, flags: Flags) =>
    together(flags, false, async ({ connect, local, carrying, copies }) => {
      const { name, remote } = await meant(local, first, second);
      await tell(name, remote, await copies.pull(await connect(remote, name, false), carrying), flags);
    }),
  );

  withFlags(
    program
      .command("push <db-or-url> [db]")
      .usage("[options] [url] <db>")
      .description("send what the other server lacks of a db that was cloned, or that a URL names")
      .option(
        "--no-merge",
        "refuse when the other server has commits that are not here, instead of pulling first",
      ),
    ["skald push shop", "skald push https://skald.example shop"],
  ).action((first: string, second: string | undefined, flags: Flags & { merge: boolean }) =>
    together(flags, false, async ({ connect, local, carrying, copies }) => {
      const { name, remote } = await meant(local, first, second);
      const pair = await connect(remote, name, false);
      await tell(name, remote, await copies.push(pair, carrying, { merge: flags.merge }), flags);
    }),
  );
}

function withFlags(command: Command, examples: readonly string[]): Command {
  return command
    .option("--dir <path>", "data directory of this side (default ./skald_data, env SKALD_DIR)")
    .option("--token <token>", "token for the other server (better in env SKALD_TOKEN)")
    .option("--quiet", "show no progress")
    .option("--json", "print one JSON value a line")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}\n`).join("")}`);
}

/** The db of this side and the other server's: the one that is named, else the one it was cloned from. */
async function meant(
  local: Connection,
  first: string,
  second: string | undefined,
): Promise<{ name: string; remote: Remote }> {
  if (second !== undefined) return { name: second, remote: parseRemote(first, undefined, second) };
  if (/^https?:/.test(first)) throw usageError("Name the db of this side after the URL.");
  try {
    const { url } = await askJson<z.infer<typeof SyncRemote>>(local, {
      method: "GET",
      path: `${dbPath(first)}/sync/remote`,
    });
    return { name: first, remote: parseRemote(url, undefined) };
  } catch (error) {
    if (asCliError(error).code !== "NOT_FOUND") throw error;
    throw new CliError("NO_REMOTE", `${first} was not cloned from anywhere.`, {
      hint: "Name the other server: `skald pull <url> <db>`.",
    });
  }
}

async function remember(local: Connection, name: string, remote: Remote): Promise<void> {
  const value: z.infer<typeof SyncRemote> = { url: urlOf(remote) };
  await askJson(local, {
    method: "PUT",
    path: `${dbPath(name)}/sync/remote`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(value),
  });
}

async function tell(name: string, remote: Remote, done: Exchanged, flags: Flags): Promise<void> {
  const { head, ...rest } = done;
  const { sent, received, ahead, behind } = rest;
  if (flags.json) return printJson({ db: name, remote: urlOf(remote), ...rest, ...head });
  const parts: string[] = [];
  if (received.commits > 0) parts.push(`received ${received.commits} commits (${byteText(received.bytes)})`);
  if (sent.commits > 0) parts.push(`sent ${sent.commits} commits (${byteText(sent.bytes)})`);
  if (rest.merged) {
    const [mine, theirs] = rest.merged.heads;
    parts.push(
      `merged ${mine?.commit ?? "none"} and ${theirs?.commit ?? "none"}, which had commit ${rest.merged.common} in common`,
    );
  }
  if (ahead > 0) parts.push(`${ahead} commits are here alone`);
  if (behind > 0) parts.push(`${behind} commits are there alone`);
  if (parts.length === 0) parts.push("nothing to do");
  return print(`${name}: ${parts.join(", ")}; at commit ${head.seq} (${head.commit ?? "none"})\n`);
}
