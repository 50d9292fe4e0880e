import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import type * as z from "zod";
import type { StatementInfo, StatementList } from "../protocol/query-wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { note, print, printJson, table } from "./output.ts";
import { checkForm, rowsCommand, searchOf, showRows, type FormFlags } from "./query-command.ts";

type Info = z.infer<typeof StatementInfo>;

const listPath = (db: string): string => `${dbPath(db)}/query/statements`;
const pathOf = (db: string, name: string): string => `${listPath(db)}/${encodeURIComponent(name)}`;

interface RunFlags extends FormFlags {
  readonly param: readonly string[];
  readonly at?: string;
  readonly branch?: string;
}

export function addStatements(program: Command): void {
  const statement = program
    .command("statement")
    .description("SQL statements with a name, which a token can be limited to");

  clientCommand(statement.command("list <db>").description("all that there are"), [
    "skald statement list shop",
  ]).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const rows: string[][] = [];
      for await (const one of all(connection, db)) {
        if (flags.json) await printJson(one);
        else rows.push([one.name, one.parameters.map((name) => `:${name}`).join(" "), one.description ?? ""]);
      }
      if (!flags.json) await print(table(rows).replaceAll(/ +$/gm, ""));
    }),
  );

  clientCommand(statement.command("show <db> <name>").description("its SQL"), [
    "skald statement show shop cheap",
  ]).action((db: string, name: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const one = await askJson<Info>(connection, { method: "GET", path: pathOf(db, name) });
      if (flags.json) return printJson(one);
      if (one.description !== null) note(one.description);
      return print(`${one.sql}\n`);
    }),
  );

  clientCommand(
    statement
      .command("save <db> <name> [sql]")
      .description("give a statement that reads a name, or another SQL to that name (stdin, or -)")
      .option("--file <path>", "read it from a file")
      .option("--description <text>", "what it is for"),
    [`skald statement save shop cheap 'SELECT name FROM items WHERE price < :most'`],
  ).action(
    async (
      db: string,
      name: string,
      given: string | undefined,
      flags: ClientFlags & { readonly file?: string; readonly description?: string },
    ) => {
      if (given !== undefined && flags.file !== undefined)
        throw usageError("Give the SQL or --file, not both.");
      const sql =
        flags.file !== undefined
          ? await readFile(flags.file, "utf8")
          : given === undefined || given === "-"
            ? await readAll(process.stdin)
            : given;
      return withConnection(flags, async (connection) => {
        const saved = await askJson<Info>(connection, {
          method: "PUT",
          path: pathOf(db, name),
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ sql: sql.trim(), description: flags.description }),
        });
        if (flags.json) return printJson(saved);
        return note(`${name} is saved; \`skald statement run ${db} ${name}\` runs it.`);
      });
    },
  );

  clientCommand(statement.command("remove <db> <name>").description("take its name away"), [
    "skald statement remove shop cheap",
  ]).action((db: string, name: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const reply = await connection.send({ method: "DELETE", path: pathOf(db, name) });
      reply.resume();
      if (flags.json) await printJson({ name, removed: true });
      else note(`${name} is removed.`);
    }),
  );

  rowsCommand(statement.command("run <db> <name>").description("run it"), [
    "skald statement run shop cheap --param most=10",
    "skald statement run shop cheap --param most=10 --csv -o cheap.csv",
  ]).action((db: string, name: string, flags: RunFlags) => {
    checkForm(flags);
    const form = flags.csv ? "csv" : flags.ndjson ? "ndjson" : "json";
    return withConnection(flags, async (connection) =>
      showRows(
        await connection.send({
          method: "GET",
          path: `${dbPath(db)}/query/${encodeURIComponent(name)}.${form}${searchOf(flags)}`,
        }),
        flags,
      ),
    );
  });
}

async function* all(connection: Connection, db: string): AsyncGenerator<Info> {
  let cursor: string | undefined;
  do {
    const page: z.infer<typeof StatementList> = await askJson(connection, {
      method: "GET",
      path: `${listPath(db)}${query({ limit: 1000, cursor })}`,
    });
    yield* page.statements;
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}
