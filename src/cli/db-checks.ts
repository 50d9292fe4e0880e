import type { Command } from "commander";
import type * as z from "zod";
import type { Status } from "../protocol/wire.ts";
import { clientCommand, dbPath, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { CliError } from "./failure.ts";
import { jsonLines } from "./json-lines.ts";
import { byteText, fields, print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";

interface Compacted {
  readonly bundles: number;
  readonly commits: number;
  /** Bytes of the log, before and after. */
  readonly before: number;
  readonly after: number;
}

export function addChecks(program: Command): void {
  clientCommand(
    program.command("rebuild <db>").description("make everything derived of a db anew from its log"),
    ["skald rebuild shop"],
  ).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      await longTask(connection, `${dbPath(db)}/rebuild`);
      await (flags.json ? printJson({ db, rebuilt: true }) : print(`${db}: rebuilt\n`));
    }),
  );

  clientCommand(
    program
      .command("compact <db>")
      .description("put a db's commits into bundles: every one stays, in a fraction of the space"),
    ["skald compact shop"],
  ).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const { bundles, commits, before, after } = await longTask<Compacted>(
        connection,
        `${dbPath(db)}/compact`,
      );
      if (flags.json) return printJson({ db, bundles, commits, before, after });
      return print(`${bundles} bundles of ${commits} commits: ${byteText(before)} -> ${byteText(after)}\n`);
    }),
  );

  clientCommand(program.command("status").description("show who answers, and how it is"), [
    "skald status --json",
  ]).action((flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const status = await askJson<z.infer<typeof Status>>(connection, { method: "GET", path: "/status" });
      if (flags.json) return printJson({ where: connection.where, ...status });
      return print(
        fields({
          where: connection.where,
          version: status.version,
          node: status.node,
          automerge: status.automerge,
          uptime: `${status.uptime_seconds} s`,
          dbs: `${status.dbs.known}, ${status.dbs.open} of them open`,
          subscriptions: subscriptionsText(status.subscriptions),
          memory: `${Math.round(status.memory.rss / 2 ** 20)} MiB`,
          scrub:
            status.scrub.findings > 0
              ? `found ${status.scrub.findings} things that are damaged: the server's log names them`
              : `${Math.round(status.scrub.progress * 100)} %, last ended ${status.scrub.last_pass ?? "never"}`,
        }),
      );
    }),
  );
}

/** Starts a task of the server that tells how far it is, and gives what it ends with. */
async function longTask<T = unknown>(connection: Connection, path: string): Promise<T> {
  const progress = startProgress("commits", false);
  try {
    for await (const line of jsonLines<Partial<{ ok: boolean; done: number; of: number }>>(connection, {
      method: "POST",
      path,
    })) {
      if (line.ok) return line as T;
      progress.update(line.done ?? 0, line.of ? (line.done ?? 0) / line.of : undefined);
    }
  } finally {
    progress.end();
  }
  throw new CliError("FAILED", "The server ended the task without a result.", { hint: "Its log says why." });
}

function subscriptionsText(totals: z.infer<typeof Status>["subscriptions"]): string {
  const { subscriptions, consumers, worst, parked } = totals;
  if (subscriptions === 0) return "none";
  return `${subscriptions}, ${consumers} consumers, at most ${worst} commits behind, ${parked} events parked`;
}
