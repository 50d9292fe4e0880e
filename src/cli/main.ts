import { clientEnvironment } from "../config.ts";
import { Command, CommanderError } from "commander";
import { addBackup } from "./backup-commands.ts";
import { addChanges } from "./changes-command.ts";
import { addBench } from "./bench-command.ts";
import { addChecks } from "./db-checks.ts";
import { addCheckpoint } from "./checkpoint-command.ts";
import { addKey } from "./key-commands.ts";
import { addBranch } from "./branch-commands.ts";
import { addDb } from "./db-commands.ts";
import { addDiff } from "./diff-command.ts";
import { addDoc } from "./doc-commands.ts";
import { addErase } from "./erase-commands.ts";
import { addExport } from "./export-command.ts";
import { EXIT, asCliError, failureText } from "./failure.ts";
import { addImport } from "./import-command.ts";
import { ReaderGone, note } from "./output.ts";
import { addPeople } from "./people-commands.ts";
import { addQuery } from "./query-command.ts";
import { addReplication } from "./replication-commands.ts";
import { addServe } from "./serve.ts";
import { addSnapshots } from "./snapshot-commands.ts";
import { addStatements } from "./statement-commands.ts";
import { addSubscriptions } from "./subscription-commands.ts";
import { addToken } from "./token-commands.ts";
import { addVerify } from "./verify-command.ts";
import { skaldVersion } from "../protocol/version.ts";

const program = new Command("skald")
  .description("Documents whose every write is a change in a log that anyone can verify.")
  .version(skaldVersion(), "-V, --version")
  .showHelpAfterError("`--help` shows how.")
  .exitOverride();
program.addHelpText(
  "after",
  `
Examples:
  $ skald serve                                  serve ./skald_data on port 7600
  $ skald db create shop                         make a db
  $ skald import shop items.json                 bring documents in
  $ skald doc get shop items/42                  read one
  $ skald export shop -o shop.ndjson             write all of them to a file
  $ skald query shop 'SELECT * FROM documents'   ask in SQL
  $ skald changes shop --since now --follow      print commits as they come
  $ skald clone https://skald.example shop       copy a db of another server
  $ skald snapshot export shop -o shop.car       its whole history as one file
  $ skald backup /mnt/backup/skald                back up the whole server
  $ skald verify shop                            check its log and all that is derived of it
  $ skald token create --label app --scope 'shop:*'

Commands other than serve talk to the server at --url, or to whatever runs on the data
directory, or open that directory themselves when nothing does.`,
);
for (const add of [
  addServe,
  addDb,
  addDoc,
  addDiff,
  addBranch,
  addImport,
  addExport,
  addQuery,
  addStatements,
  addChanges,
  addVerify,
  addCheckpoint,
  addChecks,
  addErase,
  addSubscriptions,
  addReplication,
  addKey,
  addSnapshots,
  addBackup,
  addToken,
  addPeople,
  addBench,
])
  add(program);

// Timers of ours keep no process alive, and one may be all that a command waits for: it would end half way, with 13.
const awake = setInterval(() => {}, 2 ** 30);
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = codeOf(error);
} finally {
  clearInterval(awake);
}

function codeOf(error: unknown): number {
  if (error instanceof ReaderGone) return EXIT.ok;
  // Commander has said what it had to say.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const failure = asCliError(error);
  note(failureText(failure));
  if (clientEnvironment().logLevel === "debug") note((error as Error).stack ?? "");
  return failure.exit;
}
