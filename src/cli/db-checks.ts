import { createInterface } from "node:readline";
import type { Command } from "commander";
import type * as z from "zod";
import type { Status, VerifyLine } from "../protocol/wire.ts";
import { clientCommand, dbPath, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection, type Send } from "./connection.ts";
import { listDbs } from "./db-commands.ts";
import { CliError, EXIT, asCliError, failureText, printable, usageError } from "./failure.ts";
import { fields, print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";

type Line = z.infer<typeof VerifyLine>;

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
      let rebuilt = false;
      const progress = startProgress("commits", false);
      for await (const line of lines<{ done?: number; of?: number; ok?: boolean }>(connection, {
        method: "POST",
        path: `${dbPath(db)}/rebuild`,
      })) {
        if (line.ok) rebuilt = true;
        else progress.update(line.done ?? 0, line.of ? (line.done ?? 0) / line.of : undefined);
      }
      progress.end();
      if (!rebuilt) throw new CliError("FAILED", "The server broke off the rebuild.");
      await (flags.json ? printJson({ db, rebuilt }) : print(`${db}: rebuilt\n`));
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
        }),
      );
    }),
  );
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

/** The JSON lines of a streamed answer. */
async function* lines<T>(connection: Connection, request: Send): AsyncGenerator<T> {
  const reply = await connection.send(request);
  let broken: unknown;
  // The reader of lines does not pass on what goes wrong with its input.
  reply.on("error", (error) => (broken = error));
  for await (const line of createInterface({ input: reply, crlfDelay: Infinity })) {
    if (line !== "") yield JSON.parse(line) as T;
  }
  if (broken !== undefined || !reply.complete) {
    throw new CliError("FAILED", "The server broke off its answer.", {
      hint: "Its log says why.",
      cause: broken,
    });
  }
}
