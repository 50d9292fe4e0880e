import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import type * as z from "zod";
import type { DbInfo, DbList, DbSettings } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { fields, note, print, printJson, table } from "./output.ts";

type Info = z.infer<typeof DbInfo>;
type List = z.infer<typeof DbList>;
type Settings = z.infer<typeof DbSettings>;
type SettingsFlags = ClientFlags & {
  readonly bundleCommits?: string;
  readonly bundleBytes?: string;
  readonly bundleAge?: string;
};

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

  clientCommand(
    db
      .command("list")
      .description("list the dbs you may see")
      .option("--own", "also the server's own, such as _audit"),
    ["skald db list --json"],
  ).action((flags: ClientFlags & { own?: boolean }) =>
    withConnection(flags, async (connection) => {
      const rows: string[][] = [["db", "created"]];
      for await (const entry of listDbs(connection, flags.own === true)) {
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
      .command("settings <db>")
      .description("show or change how this server keeps a db")
      .option("--bundle-commits <number>", "put old commits into bundles once there are so many; 0: never")
      .option("--bundle-bytes <number>", "or so many bytes of them")
      .option("--bundle-age <duration>", "how old: 30d, 12h, 90m, or milliseconds"),
    ["skald db settings shop", "skald db settings shop --bundle-commits 4096 --bundle-age 12h"],
  ).action((name: string, flags: SettingsFlags) =>
    withConnection(flags, async (connection) => {
      const bundling = {
        commits: wholeNumber(flags.bundleCommits, "--bundle-commits"),
        bytes: wholeNumber(flags.bundleBytes, "--bundle-bytes"),
        age_ms: milliseconds(flags.bundleAge),
      };
      const changes = Object.values(bundling).some((value) => value !== undefined);
      const settings = await askJson<Settings>(connection, {
        method: changes ? "PUT" : "GET",
        path: `${dbPath(name)}/settings`,
        ...(changes
          ? {
              headers: { "content-type": "application/json" },
              body: Buffer.from(JSON.stringify({ bundling })),
            }
          : {}),
      });
      if (flags.json) return printJson(settings);
      const { commits, bytes, age_ms: age } = settings.bundling ?? {};
      return print(
        fields({ "bundle commits": `${commits}`, "bundle bytes": `${bytes}`, "bundle age": `${age} ms` }),
      );
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

/** `own`: also the server's own, as far as the caller may read them. */
export async function* listDbs(connection: Connection, own = false): AsyncGenerator<List["dbs"][number]> {
  let cursor: string | undefined;
  do {
    const page: List = await askJson<List>(connection, {
      method: "GET",
      path: `/api/v1/db${query({ limit: 1000, cursor, own: own ? "true" : undefined })}`,
    });
    yield* page.dbs;
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}

function wholeNumber(text: string | undefined, option: string): number | undefined {
  if (text === undefined || /^\d{1,15}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw usageError(`${option} takes a whole number, not "${text}".`);
}

const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, "": 1 };

function milliseconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, count, unit] = /^(\d{1,12})([dhm]?)$/.exec(text) ?? [];
  if (count === undefined)
    throw usageError(`--bundle-age takes 30d, 12h, 90m or milliseconds, not "${text}".`);
  return Number(count) * (UNITS[unit ?? ""] as number);
}

/** Asks for the db's id when a person is there to answer. */
async function confirm(name: string, where: string): Promise<void> {
  if (!process.stdin.isTTY) throw usageError(`Deleting ${name} is for ever: confirm it with --yes.`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const typed = await prompt.question(`Deletes ${name} and its history in ${where}. Type its id: `);
  prompt.close();
  if (typed.trim() !== name) throw usageError(`That is not ${name}; nothing was deleted.`);
}
