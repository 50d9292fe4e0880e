import type { Command } from "commander";
import type * as z from "zod";
import type { KeyInfo, KeyList, KeyRotated } from "../protocol/wire.ts";
import { clientCommand, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { CliError } from "./failure.ts";
import { note, print, printJson, table } from "./output.ts";

const PATH = "/api/v1/keys";

export function addKey(program: Command): void {
  const key = program.command("key").description("the key that this server signs commits with");

  clientCommand(key.command("create").description("make the key: from here on every commit is signed"), [
    "skald key create",
  ]).action((flags: ClientFlags) =>
    withConnection(
      flags,
      async (connection) => {
        const made = await askJson<z.infer<typeof KeyInfo>>(connection, { method: "POST", path: PATH });
        await (flags.json ? printJson(made) : print(`${made.did}\n`));
      },
      true,
    ),
  );

  clientCommand(key.command("list").description("list the keys, retired ones included"), [
    "skald key list",
  ]).action((flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const { keys } = await keysOf(connection);
      if (flags.json) {
        for (const each of keys) await printJson(each);
        return;
      }
      await print(
        table(
          keys.map((each) => [
            each.did,
            each.retired === null ? each.state : `retired ${each.retired}`,
            `created ${each.created}`,
          ]),
        ),
      );
    }),
  );

  clientCommand(key.command("show").description("print the did:key that signs"), [
    "skald verify shop --against shop.checkpoint --signer $(skald key show)",
  ]).action((flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const { keys, signs } = await keysOf(connection);
      const current = keys.find(({ state }) => state === "current");
      if (!current)
        throw new CliError("KEY_MISSING", "This server has no key.", {
          hint: "`skald key create` makes one.",
        });
      if (!signs) note("the server was started with --sign never: it does not sign.");
      await (flags.json ? printJson(current) : print(`${current.did}\n`));
    }),
  );

  clientCommand(
    key
      .command("rotate")
      .description("have a new key take the place of the one there is; each db it has signed says so"),
    ["skald key rotate"],
  ).action((flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const done = await askJson<z.infer<typeof KeyRotated>>(connection, {
        method: "POST",
        path: `${PATH}/rotate`,
      });
      if (flags.json) return printJson(done);
      note(`${done.from} is retired in ${done.dbs.length} dbs.`);
      return print(`${done.to}\n`);
    }),
  );
}

function keysOf(connection: Connection): Promise<z.infer<typeof KeyList>> {
  return askJson(connection, { method: "GET", path: PATH });
}
