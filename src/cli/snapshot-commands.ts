import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Option, type Command } from "commander";
import type * as z from "zod";
import type { VerifiedArchive } from "../archive/archive-verify.ts";
import type { ArchiveImported, SnapshotInfo, SnapshotList, SnapshotVerifyLine } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { CliError, EXIT, asCliError, failureText, usageError } from "./failure.ts";
import { jsonLines } from "./json-lines.ts";
import { byteText, note, openSink, print, printJson, table } from "./output.ts";
import { startProgress, type Progress } from "./progress.ts";

type Info = z.infer<typeof SnapshotInfo>;
type List = z.infer<typeof SnapshotList>;
type Imported = z.infer<typeof ArchiveImported>;
type Line = z.infer<typeof SnapshotVerifyLine>;

type PointFlags = ClientFlags & {
  readonly at?: string;
  readonly kind: "history" | "state";
  readonly branch?: string;
};
type ExportFlags = PointFlags & { readonly output?: string; readonly quiet?: true };

const CAR = "application/vnd.ipld.car";

export function addSnapshots(program: Command): void {
  const snapshot = program
    .command("snapshot")
    .description("name points of a db, and carry dbs as portable archives (CAR files)");
  addNames(snapshot);

  withPoint(
    snapshot.command("export <db> [name]").description("write a named snapshot, or any point, as an archive"),
    [
      "skald snapshot export shop -o shop.car",
      "skald snapshot export shop before-sale -o - | ssh backup 'cat > shop.car'",
      "skald snapshot export shop --kind state --at 2026-01-01T00:00:00Z -o new-year.car",
    ],
  )
    .option("-o, --output <path>", "file (default: stdout)")
    .option("--quiet", "show no progress")
    .action((db: string, name: string | undefined, flags: ExportFlags, command: Command) => {
      const isGiven = (option: string): boolean => command.getOptionValueSource(option) === "cli";
      if (name !== undefined && ["at", "kind", "branch"].some(isGiven))
        throw usageError("A named snapshot has its point and kind: leave --at, --kind and --branch out.");
      return withConnection(flags, (connection) => exportArchive(connection, db, name, flags));
    });

  clientCommand(
    snapshot
      .command("import <db> <file>")
      .description("make a db from an archive; - is stdin")
      .option("--quiet", "show no progress"),
    ["skald snapshot import shop shop.car", "skald snapshot import shop-then new-year.car"],
  ).action((db: string, file: string, flags: ClientFlags & { quiet?: true }) =>
    withConnection(flags, (connection) => importArchive(connection, db, file, flags), true),
  );

  clientCommand(
    snapshot
      .command("verify <db-or-file> [name]")
      .description(
        "check every block of an archive's file, or of a named snapshot; ends with 1 when one is wrong",
      )
      .option("--quiet", "show no progress"),
    ["skald snapshot verify shop.car", "skald snapshot verify shop before-sale"],
  ).action(async (what: string, name: string | undefined, flags: ClientFlags & { quiet?: true }) => {
    const sound =
      name === undefined
        ? await verifyFile(what, flags)
        : await withConnection(flags, (connection) => verifyNamed(connection, what, name, flags));
    if (!sound) process.exitCode = EXIT.refused;
  });
}

function withPoint(command: Command, examples: readonly string[]): Command {
  return clientCommand(
    command
      .option("--at <point>", "a seq, a commit or a time (default: now)")
      .addOption(
        new Option("--kind <kind>", "every commit, or the documents as they were and nothing else")
          .choices(["history", "state"])
          .default("history"),
      )
      .option("--branch <name>", "of a state: whose documents (default: main)"),
    examples,
  );
}

function addNames(snapshot: Command): void {
  withPoint(
    snapshot
      .command("create <db> [name]")
      .description("give a point of a db a name; nothing is copied")
      .option("--message <text>", "why"),
    ["skald snapshot create shop before-sale", "skald snapshot create shop --kind state --at 1200"],
  ).action((db: string, name: string | undefined, flags: PointFlags & { message?: string }) =>
    withConnection(flags, async (connection) => {
      const { at, kind, branch, message } = flags;
      const made = await askJson<Info>(connection, {
        method: "POST",
        path: `${dbPath(db)}/snapshots`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name, at, kind, branch, message }),
      });
      await (flags.json ? printJson(made) : print(`${made.name}\n`));
    }),
  );

  clientCommand(snapshot.command("list <db>").description("list the named snapshots of a db"), [
    "skald snapshot list shop",
  ]).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const rows: string[][] = [["name", "kind", "seq", "created", "message"]];
      let cursor: string | undefined;
      do {
        const path = `${dbPath(db)}/snapshots${query({ limit: 1000, cursor })}`;
        const page: List = await askJson<List>(connection, { method: "GET", path });
        for (const info of page.snapshots) {
          if (flags.json) await printJson(info);
          else rows.push([info.name, info.kind, String(info.seq), info.created, info.message ?? ""]);
        }
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined);
      if (!flags.json) await print(table(rows));
    }),
  );

  clientCommand(
    snapshot.command("delete <db> <name>").description("forget a name; of the db nothing is taken away"),
    ["skald snapshot delete shop before-sale"],
  ).action((db: string, name: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      (await connection.send({ method: "DELETE", path: namedPath(db, name) })).resume();
      if (flags.json) await printJson({ db, name, deleted: true });
      else note(`${name} is deleted.`);
    }),
  );
}

const namedPath = (db: string, name: string): string => `${dbPath(db)}/snapshots/${encodeURIComponent(name)}`;

/** Of a command that moves bytes: how many, and the share when it is known how many there are. */
function byteProgress(quiet: boolean): (bytes: number, of: number | undefined) => void {
  const progress: Progress = startProgress("KB", quiet);
  return (bytes, of) => {
    if (of !== undefined && bytes >= of) progress.end();
    else progress.update(Math.round(bytes / 1000), of === undefined ? undefined : bytes / of);
  };
}

async function exportArchive(
  connection: Connection,
  db: string,
  name: string | undefined,
  flags: ExportFlags,
): Promise<void> {
  const { at, kind, branch, output } = flags;
  const toStdout = (output ?? "-") === "-";
  if (toStdout && process.stdout.isTTY) throw usageError("An archive is not for a terminal: give -o <file>.");
  const path =
    name === undefined ? `${dbPath(db)}/archive${query({ kind, at, branch })}` : namedPath(db, name);
  const reply = await connection.send({ method: "GET", path, headers: { accept: CAR } });
  const length = reply.headers["content-length"];
  const of = length === undefined ? undefined : Number(length);
  const root = String(reply.headers["skald-root"] ?? "");
  const told = byteProgress(flags.quiet === true);
  const sink = await openSink(output);
  let bytes = 0;
  try {
    for await (const part of reply as AsyncIterable<Buffer>) {
      await sink.write(part);
      bytes += part.length;
      told(bytes, of);
    }
    await sink.finish();
  } catch (error) {
    await sink.discard();
    throw asBroken(error);
  } finally {
    told(bytes, bytes);
  }
  if (toStdout) return;
  await (flags.json
    ? printJson({ db, file: output, root, bytes })
    : print(`${output}: ${byteText(bytes)}, root ${root}\n`));
}

function asBroken(error: unknown): unknown {
  if ((error as { code?: unknown }).code !== "ECONNRESET") return error;
  return new CliError("FAILED", "The server broke off its answer.", {
    hint: "Its log says why.",
    cause: error,
  });
}

async function importArchive(
  connection: Connection,
  db: string,
  file: string,
  flags: ClientFlags & { quiet?: true },
): Promise<void> {
  const of = file === "-" ? undefined : (await stat(file).catch(missing)).size;
  const told = byteProgress(flags.quiet === true);
  let opened = 0;
  const parts = async function* (): AsyncGenerator<Uint8Array> {
    opened += 1;
    if (file === "-" && opened > 1)
      throw new CliError("UNREACHABLE", "The server went away, and stdin cannot be read twice.");
    let bytes = 0;
    for await (const part of file === "-" ? process.stdin : createReadStream(file)) {
      yield part as Buffer;
      bytes += (part as Buffer).length;
      told(bytes, of);
    }
  };
  let done: Imported;
  try {
    done = await askJson<Imported>(connection, {
      method: "POST",
      path: `${dbPath(db)}/import`,
      headers: { "content-type": CAR },
      stream: parts,
    });
  } finally {
    told(0, 0);
  }
  if (flags.json) return printJson(done);
  const what = done.kind === "state" ? `${done.documents} documents` : `${done.seq} commits`;
  return print(
    `${db}: ${what} (${byteText(done.bytes)}), at commit ${done.seq} (${done.commit ?? "none"})\n`,
  );
}

function missing(error: unknown): never {
  throw asCliError(error);
}

/** The file itself, without any server. */
async function verifyFile(file: string, flags: ClientFlags & { quiet?: true }): Promise<boolean> {
  const of = file === "-" ? undefined : (await stat(file).catch(missing)).size;
  const told = byteProgress(flags.quiet === true);
  // Loaded only now because it takes longer than most commands.
  const { verifyArchive } = await import("../archive/archive-verify.ts");
  let found: VerifiedArchive;
  try {
    found = await verifyArchive(file === "-" ? process.stdin : createReadStream(file), (bytes) =>
      told(bytes, of),
    );
  } catch (error) {
    told(0, 0);
    const failure = asCliError(error);
    if (failure.code !== "ARCHIVE_INVALID") throw failure;
    const { code, message: detail } = failure;
    if (flags.json) await printJson({ file, verdict: "damaged", problem: { code, detail } });
    else await print(`${file}: damaged: ${failureText(failure, false)}\n`);
    return false;
  }
  told(0, 0);
  const { cidToString } = await import("../ids/cid.ts");
  const { kind, seq, blocks, bytes, documents } = found;
  const root = cidToString(found.root);
  if (flags.json) await printJson({ file, verdict: "sound", kind, root, seq, blocks, bytes, documents });
  else {
    const what = kind === "state" ? `${documents} documents of commit ${seq}` : `${seq} commits`;
    await print(`${file}: sound, ${what}, ${blocks} blocks, root ${root}\n`);
  }
  return true;
}

async function verifyNamed(
  connection: Connection,
  db: string,
  name: string,
  flags: ClientFlags & { quiet?: true },
): Promise<boolean> {
  const told = byteProgress(flags.quiet === true);
  let last: Line | undefined;
  for await (const line of jsonLines<Line>(connection, {
    method: "POST",
    path: `${namedPath(db, name)}/verify`,
  })) {
    last = line;
    told(line.bytes, line.verdict === undefined ? undefined : line.bytes);
  }
  if (last?.verdict === undefined)
    throw new CliError("FAILED", "The check ended without a verdict.", {
      hint: "The server's log says why.",
    });
  if (flags.json) await printJson({ db, name, ...last });
  else if (last.verdict === "sound")
    await print(`${name}: sound, ${last.blocks} blocks (${byteText(last.bytes)}), root ${last.root}\n`);
  else await print(`${name}: damaged: ${last.problem?.detail}\n`);
  return last.verdict === "sound";
}
