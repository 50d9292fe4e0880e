import type { Command } from "commander";
import type * as z from "zod";
import type { AckAnswer, SubscriptionInfo, SubscriptionList } from "../protocol/subscription-wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { fields, note, print, printJson, table } from "./output.ts";

type Info = z.infer<typeof SubscriptionInfo>;

const listPath = (db: string): string => `${dbPath(db)}/subscriptions`;
const pathOf = (db: string, name: string): string => `${listPath(db)}/${encodeURIComponent(name)}`;

export function addSubscriptions(program: Command): void {
  const subscriptions = program
    .command("subscriptions")
    .description("see how far durable subscriptions are, move and delete them");

  clientCommand(subscriptions.command("list <db>").description("all that you may see, with their lag"), [
    "skald subscriptions list shop",
  ]).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const rows: string[][] = [];
      for await (const one of all(connection, db)) {
        if (flags.json) await printJson(one);
        else rows.push(rowOf(one));
      }
      if (!flags.json) await print(table(rows));
    }),
  );

  clientCommand(subscriptions.command("show <db> <name>").description("what one is, and how far"), [
    "skald subscriptions show shop mailer",
  ]).action((db: string, name: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const one = await askJson<Info>(connection, { method: "GET", path: pathOf(db, name) });
      if (flags.json) return printJson(one);
      const { consumers, lag, docs, max_attempts: attempts, ...rest } = one;
      const shown: Record<string, string | number> = {};
      for (const [field, value] of Object.entries(rest)) shown[field] = String(value);
      if (docs) shown["docs"] = docs.join(" ");
      await print(
        fields({
          ...shown,
          max_attempts: attempts ?? "none",
          lag: lagText(one),
          lag_age: lag.age_ms === null ? "none" : `${Math.round(lag.age_ms / 1000)} s`,
          consumers: consumers.length,
        }),
      );
      await print(
        table(
          consumers.map(({ consumer, unacknowledged, connected }) => [
            `  ${consumer}`,
            connected ? "connected" : "gone",
            `${unacknowledged} unacknowledged`,
          ]),
        ),
      );
    }),
  );

  clientCommand(
    subscriptions
      .command("ack <db> <name> <place>")
      .description("acknowledge everything up to a seq or a cursor, as if consumers had"),
    ["skald subscriptions ack shop mailer 1200"],
  ).action((db: string, name: string, place: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const upTo = /^\d{1,15}$/.test(place) ? { through: Number(place) } : { cursor: place };
      const answer = await askJson<z.infer<typeof AckAnswer>>(connection, {
        method: "POST",
        path: `${pathOf(db, name)}/ack`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(upTo),
      });
      if (flags.json) return printJson({ name, ...answer });
      return note(`${name} has acknowledged everything up to ${answer.seq}.`);
    }),
  );

  clientCommand(
    subscriptions
      .command("delete <db> <name>")
      .description("delete one; its consumers are told")
      .option("--yes", "really: where it had got to is forgotten"),
    ["skald subscriptions delete shop mailer --yes"],
  ).action((db: string, name: string, flags: ClientFlags & { readonly yes?: true }) => {
    if (!flags.yes) throw usageError(`Deleting ${name} forgets where it had got to: add --yes.`);
    return withConnection(flags, async (connection) => {
      const reply = await connection.send({ method: "DELETE", path: pathOf(db, name) });
      reply.resume();
      if (flags.json) await printJson({ name, deleted: true });
      else note(`${name} is deleted.`);
    });
  });
}

async function* all(connection: Connection, db: string): AsyncGenerator<Info> {
  let cursor: string | undefined;
  do {
    const page: z.infer<typeof SubscriptionList> = await askJson(connection, {
      method: "GET",
      path: `${listPath(db)}${query({ limit: 1000, cursor })}`,
    });
    yield* page.subscriptions;
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
}

function rowOf(one: Info): string[] {
  const connected = one.consumers.filter((consumer) => consumer.connected).length;
  return [
    one.name,
    one.mode,
    `at ${one.seq}`,
    lagText(one),
    `${connected} consumer${connected === 1 ? "" : "s"}`,
    `${one.parked} parked`,
    one.problem ?? (one.full ? "full" : ""),
  ];
}

function lagText({ lag }: Info): string {
  return lag.commits === 0 ? "up to date" : `${lag.commits} behind`;
}
