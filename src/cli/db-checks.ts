import type { Command } from "commander";
import type * as z from "zod";
import type { Status, VerifyLine } from "../protocol/wire.ts";
import { clientCommand, dbPath, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection, type Send } from "./connection.ts";
import { listDbs } from "./db-commands.ts";
import { CliError, EXIT, asCliError, failureText, printable, usageError } from "./failure.ts";
import { splitLines } from "./line-splitter.ts";
import { byteText, fields, print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";
import { LIMITS } from "../limits.ts";

type Line = z.infer<typeof VerifyLine>;

interface Compacted {
  readonly bundles: number;
  readonly commits: number;
  /** Bytes of the log, before and after. */
  readonly before: number;
  readonly after: number;
}

export function addChecks(program: Command): void {
  clientCommand(
    program
      .command("verify [db]")
      .description("check every byte of a db's log; ends with 1 when something is wrong")
      .option("--all", "check every db"),
    ["skald verify shop", "skald verify --all"],
  ).action((db: string | undefined, flags: ClientFlags & { all?: true }) => {
    if ((db === undefined) !== (flags.all === true)) throw usageError("Name one db, or give --all.");
    return withConnection(flags, async (connection) => {
      const names = db === undefined ? await allDbs(connection) : [db];
      for (const name of names) {
        if (!(await verifyOne(connection, name, flags, names.length > 1))) process.exitCode = EXIT.refused;
      }
    });
  });

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
    for await (const line of lines<Partial<{ ok: boolean; done: number; of: number }>>(connection, {
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

async function allDbs(connection: Connection): Promise<string[]> {
  const names: string[] = [];
  for await (const { db } of listDbs(connection)) names.push(db);
  return names;
}

/** Whether the db is sound. One that cannot be checked at all counts as damaged when others follow. */
async function verifyOne(
  connection: Connection,
  db: string,
  flags: ClientFlags,
  goOn: boolean,
): Promise<boolean> {
  const progress = startProgress("commits", false);
  let verdict: Line | undefined;
  try {
    for await (const line of lines<Line>(connection, { method: "GET", path: `${dbPath(db)}/verify` })) {
      if (line.verdict !== undefined) verdict = line;
      else progress.update(line.checked, line.of === 0 ? undefined : line.checked / line.of);
    }
    if (!verdict) throw new CliError("FAILED", `The check of ${db} ended without a verdict.`);
  } catch (error) {
    progress.end();
    if (!goOn) throw error;
    const failure = asCliError(error);
    if (flags.json)
      await printJson({ db, verdict: "unreadable", code: failure.code, detail: failure.message });
    else await print(`${db}: unreadable: ${failureText(failure, false)}\n`);
    return false;
  }
  progress.end();
  if (flags.json) await printJson({ db, ...verdict });
  else {
    const { checked, commit, problems = [] } = verdict;
    await print(`${db}: ${verdict.verdict}, ${checked} commits, head ${commit ?? "none"}\n`);
    for (const { what, where } of problems) await print(`  ${what}: ${printable(where)}\n`);
  }
  return verdict.verdict === "sound";
}

/** The JSON lines of a streamed answer. Throws FAILED when it breaks off. */
async function* lines<T>(connection: Connection, request: Send): AsyncGenerator<T> {
  const reply = await connection.send(request);
  try {
    // A verdict names at most so many problems that it stays far below.
    for await (const line of splitLines(reply, LIMITS.cli.recordBytes.value))
      yield JSON.parse(line.toString("utf8")) as T;
  } catch (cause) {
    throw new CliError("FAILED", "The server broke off its answer.", { hint: "Its log says why.", cause });
  }
}
