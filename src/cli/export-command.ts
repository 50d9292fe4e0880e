import { mkdir } from "node:fs/promises";
import path from "node:path";
import { Option, type Command } from "commander";
import { exportedFile } from "./exported-folder.ts";
import { clientCommand, docPath, query, type ClientFlags } from "./client-command.ts";
import { CONNECTIONS, readBytes, withConnection, type Connection } from "./connection.ts";
import { listDocs } from "./doc-list.ts";
import { usageError } from "./failure.ts";
import { note, openSink } from "./output.ts";
import { startProgress } from "./progress.ts";

type ExportFlags = ClientFlags & {
  readonly collection?: string;
  readonly at?: string;
  readonly branch?: string;
  readonly output?: string;
  readonly format: "ndjson" | "automerge";
  readonly quiet?: true;
};

export function addExport(program: Command): void {
  clientCommand(
    program
      .command("export <db>")
      .description("write all documents as they were at one point")
      .option("--collection <name>", "only those of one collection")
      .option("--at <point>", "a seq, a commit or a time (default: now)")
      .option("--branch <name>", "of another branch than main")
      .addOption(
        new Option(
          "--format <format>",
          'lines of {"doc","value"}, or a folder of Automerge files with history',
        )
          .choices(["ndjson", "automerge"])
          .default("ndjson"),
      )
      .option("-o, --output <path>", "file (default: stdout), or the folder for Automerge files")
      .option("--quiet", "show no progress"),
    ["skald export shop -o shop.ndjson", "skald export notes --format automerge -o notes/"],
  ).action((db: string, flags: ExportFlags) =>
    withConnection(flags, async (connection) => {
      const toStdout = flags.format === "ndjson" && (flags.output ?? "-") === "-";
      const progress = startProgress("documents", flags.quiet === true || (toStdout && process.stdout.isTTY));
      let count = 0;
      const one = (): void => progress.update((count += 1), undefined);
      try {
        if (flags.format === "automerge") await exportFiles(connection, db, flags, one);
        else await exportLines(connection, db, flags, one);
      } finally {
        progress.end();
      }
      if (!toStdout) note(`${count} documents`);
    }),
  );
}

async function exportLines(
  connection: Connection,
  db: string,
  flags: ExportFlags,
  onEach: () => void,
): Promise<void> {
  const sink = await openSink(flags.output);
  try {
    for await (const { doc, bytes } of documents(connection, db, flags, "application/json")) {
      // The value's own text: reading and writing it again would lose what JSON numbers can say.
      await sink.write(`{"doc":${JSON.stringify(doc)},"value":${bytes.toString("utf8")}}\n`);
      onEach();
    }
    await sink.finish();
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

async function exportFiles(
  connection: Connection,
  db: string,
  flags: ExportFlags,
  onEach: () => void,
): Promise<void> {
  const folder = flags.output;
  if (folder === undefined || folder === "-")
    throw usageError("--format automerge needs a folder: -o <path>.");
  await mkdir(folder, { recursive: true });
  for await (const { doc, bytes } of documents(connection, db, flags, "application/automerge")) {
    const file = path.join(folder, exportedFile(doc));
    await mkdir(path.dirname(file), { recursive: true });
    const sink = await openSink(file);
    await sink.write(bytes);
    await sink.finish();
    onEach();
  }
}

/** All documents of one point in name order; the next ones are fetched while one is written. */
async function* documents(
  connection: Connection,
  db: string,
  flags: ExportFlags,
  accept: string,
): AsyncGenerator<{ doc: string; bytes: Buffer }> {
  const ahead: { doc: string; bytes: Promise<Buffer> }[] = [];
  const fetch = async (doc: string, at: number): Promise<Buffer> =>
    readBytes(
      await connection.send({
        method: "GET",
        path: `${docPath(db, doc)}${query({ at, branch: flags.branch })}`,
        headers: { accept },
      }),
    );
  const next = async (): Promise<{ doc: string; bytes: Buffer } | undefined> => {
    const first = ahead.shift();
    return first && { doc: first.doc, bytes: await first.bytes };
  };
  for await (const page of listDocs(connection, db, flags)) {
    for (const { doc } of page.docs) {
      const bytes = fetch(doc, page.seq);
      // It is awaited in its turn; until then its failure must not count as unhandled.
      bytes.catch(() => {});
      ahead.push({ doc, bytes });
      if (ahead.length < CONNECTIONS) continue;
      const ready = await next();
      if (ready) yield ready;
    }
  }
  for (let ready = await next(); ready; ready = await next()) yield ready;
}
