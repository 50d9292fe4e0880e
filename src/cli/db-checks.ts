import type { Command } from "commander";
import type * as z from "zod";
import type { Status } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { CliError } from "./failure.ts";
import { jsonLines } from "./json-lines.ts";
import { byteText, fields, note, print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";

interface Compacted {
  readonly bundles: number;
  readonly commits: number;
  /** Bytes of the log, before and after. */
  readonly before: number;
  readonly after: number;
}

type RestoreFlags = ClientFlags & {
  readonly doc?: string[];
  readonly collection?: string;
  readonly asBranch?: string;
  readonly message?: string;
  readonly dryRun?: true;
};

interface Restored {
  readonly seq: number;
  readonly changed: number;
  readonly returned: number;
  readonly deleted: number;
  readonly erased: number;
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

  clientCommand(
    program
      .command("restore-point <db> <point>")
      .description("bring documents back to how they were at a seq, a commit or a time, by new commits")
      .option("--doc <doc...>", "only these")
      .option("--collection <name>", "only those of one collection")
      .option("--as-branch <name>", "leave main as it is, and make a branch of that point")
      .option("--message <text>", "why, for the commits")
      .option("--dry-run", "say what would be done, and keep nothing"),
    [
      "skald restore-point shop 1200 --dry-run",
      "skald restore-point shop 2026-11-01T09:00:00Z --doc items/42",
    ],
  ).action((db: string, at: string, flags: RestoreFlags) =>
    withConnection(flags, async (connection) => {
      const { doc: documents, collection, message } = flags;
      const path = `${dbPath(db)}/restore${query({ dry_run: flags.dryRun ? "true" : undefined })}`;
      const named = flags.asBranch === undefined ? {} : { as: "branch", branch: flags.asBranch };
      const done = await longTask<Restored>(connection, path, {
        at,
        documents,
        collection,
        message,
        ...named,
      });
      const { changed, returned, deleted, erased, seq } = done;
      if (flags.json) return printJson({ db, ...done });
      if (flags.asBranch !== undefined) return print(`${flags.asBranch}: a branch of that point\n`);
      const would = flags.dryRun ? "would be " : "";
      await print(
        `${would}changed ${changed}, brought back ${returned}, deleted ${deleted}; at seq ${seq}\n`,
      );
      if (erased > 0) note(`${erased} documents were erased and cannot come back.`);
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
async function longTask<T = unknown>(connection: Connection, path: string, body?: object): Promise<T> {
  const progress = startProgress(body ? "documents" : "commits", false);
  try {
    for await (const line of jsonLines<Partial<{ ok: boolean; done: number; of: number }>>(connection, {
      method: "POST",
      path,
      ...(body
        ? { headers: { "content-type": "application/json" }, body: Buffer.from(JSON.stringify(body)) }
        : {}),
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
