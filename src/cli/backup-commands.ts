import type { Command } from "commander";
import { readConfig } from "../config.ts";
import type { BackupFolder } from "../backup/folder.ts";
import type { Manifest } from "../backup/manifest.ts";
import type { Restored } from "../backup/restore.ts";
import type { Taken } from "../backup/take.ts";
import type { BackupVerdict } from "../backup/verify.ts";
import { clientCommand, type ClientFlags } from "./client-command.ts";
import { withConnection } from "./connection.ts";
import { EXIT, asCliError, failureText, printable, usageError } from "./failure.ts";
import { skaldVersion } from "../protocol/version.ts";
import { byteText, note, print, printJson, table } from "./output.ts";
import { startProgress } from "./progress.ts";

interface BackupFlags extends ClientFlags {
  readonly db?: readonly string[];
  readonly keep?: string;
  readonly prune?: true;
  readonly full?: true;
  readonly quiet?: true;
}

/** `backup` takes these as well, and then has them wherever they stand. */
interface Flags {
  readonly json?: true;
  readonly quiet?: true;
}

interface RestoreFlags {
  readonly into: string;
  readonly at?: string;
  readonly db?: readonly string[];
  readonly quiet?: true;
  readonly json?: true;
}

export function addBackup(program: Command): void {
  const command = clientCommand(
    program
      .command("backup [folder]")
      .description(
        "back up a server, running or not, into a folder: the first time everything, then what is new",
      )
      .option("--db <name...>", "only these dbs; what the folder has of others stays")
      .option("--keep <n>", "afterwards remove all but the newest n backups, and what only they need")
      .option("--prune", "afterwards remove what no backup needs")
      .option("--full", "everything anew, in the form that the server has it in now")
      .option("--quiet", "show no progress"),
    [
      "skald backup /mnt/backup/skald",
      "skald backup /mnt/backup/skald --keep 30",
      "skald backup ./copy --url https://skald.example   # token of an administrator in SKALD_TOKEN",
    ],
  ).action((target: string | undefined, flags: BackupFlags) => {
    if (target === undefined) throw usageError("Name the folder that the backup goes to.");
    return backUp(target, flags);
  });

  ofFolder(command, "list <folder>", "show the backups in a folder, oldest first", [
    "skald backup list /mnt/backup/skald",
  ]).action(async (target: string, _own: unknown, self: Command) => {
    const flags: Flags = self.optsWithGlobals();
    const { BackupFolder } = await import("../backup/folder.ts");
    await list(BackupFolder.open(target), flags.json === true);
  });

  ofFolder(command, "verify <folder>", "read everything in a folder of backups, and say what is wrong", [
    "skald backup verify /mnt/backup/skald",
  ]).action(async (target: string, _own: unknown, self: Command) => {
    const flags: Flags = self.optsWithGlobals();
    const { BackupFolder } = await import("../backup/folder.ts");
    const { verifyBackup } = await import("../backup/verify.ts");
    let bytes = 0;
    const progress = startProgress("commits", flags.quiet === true, () => byteText(bytes));
    try {
      const verdict = await verifyBackup(BackupFolder.open(target), (commits, read) => {
        bytes = read;
        progress.update(commits, undefined);
      });
      if (verdict.problems.length > 0) process.exitCode = EXIT.refused;
      progress.end();
      await (flags.json ? printJson(verdict) : print(verdictText(verdict)));
    } finally {
      progress.end();
    }
  });

  program
    .command("restore <folder>")
    .description("make a data directory from a backup; everything is checked before anything counts")
    .requiredOption("--into <dir>", "data directory to make: empty, or not there yet")
    .option("--at <number>", "an earlier backup, as `skald backup list` shows them (default: the newest)")
    .option("--db <name...>", "only these dbs")
    .option("--quiet", "show no progress")
    .option("--json", "print one JSON value a line")
    .addHelpText("after", "\nExamples:\n  $ skald restore /mnt/backup/skald --into ./skald_data\n")
    .action(restore);
}

function ofFolder(command: Command, name: string, says: string, examples: readonly string[]): Command {
  return command
    .command(name)
    .description(says)
    .option("--json", "print one JSON value a line")
    .option("--quiet", "show no progress")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}\n`).join("")}`);
}

async function backUp(target: string, flags: BackupFlags): Promise<void> {
  const keep = flags.keep === undefined ? undefined : count(flags.keep, "--keep");
  const { BackupFolder } = await import("../backup/folder.ts");
  const { httpSource } = await import("../backup/source.ts");
  const { takeBackup } = await import("../backup/take.ts");
  const version = skaldVersion();
  // Before the folder is made: a server that is not there leaves nothing.
  await withConnection(flags, async (connection) => {
    const folder = BackupFolder.take(target);
    let shown = { db: "", bytes: 0 };
    const progress = startProgress(
      "commits",
      flags.quiet === true,
      () => `${shown.db}, ${byteText(shown.bytes)}`,
    );
    try {
      const taken = await takeBackup(
        httpSource((request) => connection.send(request)),
        folder,
        {
          skald: version,
          ...(flags.db ? { only: flags.db } : {}),
          ...(flags.full ? { full: true } : {}),
          onNote: note,
          onProgress: ({ db, commits, bytes }) => {
            shown = { db, bytes };
            progress.update(commits, undefined);
          },
        },
      );
      progress.end();
      const pruned = keep === undefined && !flags.prune ? undefined : folder.prune(keep);
      await tell(taken, pruned, flags.json === true);
      if (taken.manifest.failed.length > 0) process.exitCode = EXIT.refused;
    } finally {
      progress.end();
      folder.release();
    }
  });
}

async function tell(
  { manifest, dbs, bytes }: Taken,
  pruned: ReturnType<BackupFolder["prune"]> | undefined,
  json: boolean,
): Promise<void> {
  const { number, failed } = manifest;
  if (json) {
    const news = dbs.map(({ db, entry, commits }) => ({ db, seq: entry.seq, commit: entry.commit, commits }));
    await printJson({ backup: number, bytes, dbs: news, failed, ...(pruned ? { pruned } : {}) });
    return;
  }
  for (const { db, entry, commits } of dbs)
    await print(`${db}: ${commits} new commits, up to ${entry.seq} (${entry.commit ?? "none"})\n`);
  for (const { what, code, detail } of failed)
    await print(`${printable(what)}: ${code}: ${printable(detail)}\n`);
  const kept = failed.filter(({ what }) => manifest.dbs.some(({ db }) => db === what));
  if (kept.length > 0) await print("What an earlier backup has of these stands in this one as it was.\n");
  await print(`backup ${number}: ${manifest.dbs.length} dbs, ${byteText(bytes)} written\n`);
  if (pruned)
    await print(`removed ${pruned.manifests} backups and ${byteText(pruned.bytes)} that only they needed\n`);
}

async function list(folder: BackupFolder, json: boolean): Promise<void> {
  const rows: string[][] = [];
  for (const number of folder.numbers()) {
    let manifest: Manifest;
    try {
      manifest = folder.manifest(number);
    } catch (error) {
      process.exitCode = EXIT.refused;
      const failure = asCliError(error);
      if (json) await printJson({ backup: number, code: failure.code, detail: failure.message });
      else rows.push([String(number), failureText(failure, false)]);
      continue;
    }
    const { made, dbs, failed } = manifest;
    const commits = dbs.reduce((sum, { seq }) => sum + seq, 0);
    const bytes = dbs.reduce((sum, { packs }) => sum + packs.reduce((all, pack) => all + pack.bytes, 0), 0);
    if (json)
      await printJson({
        backup: number,
        made,
        bytes,
        dbs: dbs.map(({ db, uid, seq, commit, taken }) => ({ db, uid, seq, commit, taken })),
        failed,
      });
    else
      rows.push([
        String(number),
        made,
        `${dbs.length} dbs`,
        `${commits} commits`,
        byteText(bytes),
        ...(failed.length > 0 ? [`without ${failed.map(({ what }) => what).join(", ")}`] : []),
      ]);
  }
  if (!json) await print(table(rows));
}

function verdictText({ manifests, commits, bytes, problems }: BackupVerdict): string {
  const lines = problems.map(({ file, seq, what, manifests: of }) =>
    printable(`${file}${seq === undefined ? "" : `, commit ${seq}`}: ${what} Needed by ${of.join(", ")}.`),
  );
  const said = problems.length === 0 ? "sound" : "damaged";
  return `${[...lines, `${said}, ${manifests} backups, ${commits} commits, ${byteText(bytes)} read`].join("\n")}\n`;
}

async function restore(target: string, flags: RestoreFlags): Promise<void> {
  const at = flags.at === undefined ? undefined : count(flags.at, "--at");
  const { BackupFolder } = await import("../backup/folder.ts");
  const { restoreBackup } = await import("../backup/restore.ts");
  let shown = "";
  const progress = startProgress("commits", flags.quiet === true, () => shown);
  let done: Restored;
  try {
    done = await restoreBackup(BackupFolder.open(target), flags.into, {
      reserve: readConfig({ dir: flags.into }).reserveMb * 1024 * 1024,
      ...(at === undefined ? {} : { number: at }),
      ...(flags.db ? { only: flags.db } : {}),
      onProgress: ({ db, commits, of }) => {
        shown = db;
        progress.update(commits, commits / of);
      },
    });
  } finally {
    progress.end();
  }
  const { manifest, dbs } = done;
  if (flags.json) {
    await printJson({ backup: manifest.number, made: manifest.made, into: flags.into, dbs });
    return;
  }
  for (const { db, seq, commit, epoch } of dbs)
    await print(`${db}: ${seq} commits, head ${commit ?? "none"}, life ${epoch}\n`);
  await print(`restored backup ${manifest.number} of ${manifest.made} into ${flags.into}\n`);
}

function count(text: string, flag: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw usageError(`${flag} takes a number from 1 on.`);
}
