import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import type * as z from "zod";
import type { DbInfo, DbList } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { fields, note, print, printJson, table } from "./output.ts";

type Info = z.infer<typeof DbInfo>;
type List = z.infer<typeof DbList>;

export function addDb(program: Command): void {
  const db = program.command("db").description("make, list, show and delete dbs");

  clientCommand(db.command("create <db>").description("make a db; nothing happens when it is there"), [
    "skald db create shop",
  ]).action((name: string, flags: ClientFlags) =>
    withConnection(
      flags,
      async (connection) => {
        const info = await createDb(connection, name);
        await (flags.json ? printJson(info) : print(`${info.db}\n`));
      },
      true,
    ),
  );

  clientCommand(db.command("list").description("list the dbs you may see"), ["skald db list --json"]).action(
    (flags: ClientFlags) =>
      withConnection(flags, async (connection) => {
        const rows: string[][] = [["db", "created"]];
        for await (const entry of listDbs(connection)) {
          if (flags.json) await printJson(entry);
          else rows.push([entry.db, entry.created]);
        }
        if (!flags.json) await print(table(rows));
      }),
  );

  clientCommand(
    db
      .command("info <db>")
      .description("show what a db holds")
      .option("--at <point>", "what it held at a seq, a commit or a time"),
    ["skald db info shop"],
  ).action((name: string, flags: ClientFlags & { at?: string }) =>
    withConnection(flags, async (connection) => {
      const path = `${dbPath(name)}${query({ at: flags.at })}`;
      const info = await askJson<Info>(connection, { method: "GET", path });
      if (flags.json) return printJson(info);
      const { branches, commit, cursor: _cursor, ...rest } = info;
      return print(fields({ ...rest, commit: commit ?? "none", branches: branches.join(", ") }));
    }),
  );

  clientCommand(
    db
      .command("delete <db>")
      .description("delete a db and all of its history, for ever")
      .option("--yes", "do not ask"),
    ["skald db delete shop --yes"],
  ).action((name: string, flags: ClientFlags & { yes?: true }) =>
    withConnection(flags, async (connection) => {
      if (!flags.yes) await confirm(name, connection.where);
      await connection
        .send({ method: "DELETE", path: `${dbPath(name)}${query({ confirm: name })}` })
        .then((reply) => reply.resume());
      if (flags.json) await printJson({ db: name, deleted: true });
      else note(`${name} is deleted.`);
    }),
  );
}

export function createDb(connection: Connection, name: string): Promise<Info> {
  return askJson<Info>(connection, { method: "PUT", path: dbPath(name) });
}

export async function* listDbs(connection: Connection): AsyncGenerator<List["dbs"][number]> {
  let cursor: string | undefined;
  do {
    const page: List = await askJson<List>(connection, {
      method: "GET",
      path: `/api/v1/db${query({ limit: 1000, cursor })}`,
    });
    yield* page.dbs;
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}

/** Asks for the db's id when a person is there to answer. */
async function confirm(name: string, where: string): Promise<void> {
  if (!process.stdin.isTTY) throw usageError(`Deleting ${name} is for ever: confirm it with --yes.`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const typed = await prompt.question(`Deletes ${name} and its history in ${where}. Type its id: `);
  prompt.close();
  if (typed.trim() !== name) throw usageError(`That is not ${name}; nothing was deleted.`);
}
