import type { Command } from "commander";
import { clientCommand, type ClientFlags } from "./client-command.ts";
import { withConnection } from "./connection.ts";
import { createDb } from "./db-commands.ts";
import { EXIT, failureText, printable } from "./failure.ts";
import { runImport, type Tally } from "./import-run.ts";
import type { SourceOptions } from "./import-source.ts";
import { note, print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";

/** Failures shown one by one; the rest only counted. */
const SHOWN_FAILURES = 20;

type ImportFlags = ClientFlags & SourceOptions & { readonly create?: true; readonly quiet?: true };

export function addImport(program: Command): void {
  clientCommand(
    program
      .command("import <db> <path>")
      .description(
        "import a JSON array, JSON lines (a file, or - for stdin), an Automerge file, or a folder of them (automerge-repo's, or an export's)",
      )
      .option("--collection <name>", "collection of the documents (default: the file's name)")
      .option(
        "--key <field>",
        "field or JSON pointer of the key (default: id, _id, key, or a hash of the record)",
      )
      .option("--doc <doc>", "document that an Automerge file is merged into")
      .option("--create", "make the db when it is not there")
      .option("--quiet", "show no progress"),
    [
      "skald import shop items.json --create",
      "skald import shop items.ndjson --collection items --key /sku/code",
      "skald export shop | skald import copy - --create",
      "skald import notes draft.automerge --doc pages/draft",
      "skald import notes ./automerge-repo-data",
    ],
  ).action(async (db: string, file: string, flags: ImportFlags) => {
    // Loaded only now: the hash it needs takes longer to load than all other commands together.
    const { openSource } = await import("./import-source.ts");
    const source = await openSource(file, flags);
    const create = flags.create === true;
    await withConnection(
      flags,
      async (connection) => {
        if (create) await createDb(connection, db);
        let interrupted = false;
        const onInterrupt = (): void => {
          if (interrupted) process.exit(EXIT.interrupted);
          interrupted = true;
          note("Finishing what is under way; once more to stop now.");
          source.stop();
        };
        process.on("SIGINT", onInterrupt);
        const progress = startProgress("documents", flags.quiet === true);
        const failures: { record: string; doc: string | undefined; code: string; detail: string }[] = [];
        let unshown = 0;
        const { tally, ended } = await runImport(connection, db, source, {
          onProgress: ({ documents }) => progress.update(documents, source.done()),
          onFailure: (label, doc, failure) => {
            if (failures.length === SHOWN_FAILURES) {
              unshown += 1;
              return;
            }
            failures.push({ record: label, doc, code: failure.code, detail: failure.message });
            progress.end();
            const where = doc === undefined ? label : `${label} (${doc})`;
            note(`${printable(where)}: ${failureText(failure, false)}`);
          },
        });
        progress.end();
        process.off("SIGINT", onInterrupt);
        if (unshown > 0) note(`… and ${unshown} more failed.`);
        if (flags.json) await printJson({ ...tally, failures, ...(interrupted ? { interrupted } : {}) });
        else await print(`${summaryOf(tally)}\n`);
        if (interrupted) {
          note("Interrupted: the documents counted are durable; the same command again goes on.");
          process.exitCode = EXIT.interrupted;
        } else if (ended) throw ended;
        else if (tally.failed > 0) process.exitCode = EXIT.refused;
      },
      create,
    );
  });
}

export function summaryOf(tally: Tally): string {
  const { documents, changed, unchanged, failed } = tally;
  return `${documents} documents: ${tally.new} new, ${changed} changed, ${unchanged} unchanged, ${failed} failed`;
}
