import type { Command } from "commander";
import type * as z from "zod";
import type {
  InvitationList,
  InvitationMade,
  MemberInfo,
  MemberList,
  PersonInfo,
  PersonList,
} from "../protocol/people-wire.ts";
import { clientCommand, dbPath, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection, type Send } from "./connection.ts";
import { CliError, usageError } from "./failure.ts";
import { note, print, printJson, table } from "./output.ts";
import { expiryOf } from "./token-commands.ts";

const PATH = "/api/v1/people";
const ROLES: readonly string[] = ["owner", "editor", "viewer", "none"];

type Info = z.infer<typeof PersonInfo>;
type Member = z.infer<typeof MemberInfo>;

interface InviteFlags extends ClientFlags {
  readonly role: string;
  readonly expires?: string;
  readonly uses?: string;
  readonly note?: string;
}

export function addPeople(program: Command): void {
  const people = program
    .command("people")
    .description("who may log in as what: administrators, roles in dbs, invitations");

  clientCommand(
    people.command("list [db]").description("everybody who has logged in, or who has a role in a db"),
    ["skald people list", "skald people list shop"],
  ).action((db: string | undefined, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const found =
        db === undefined
          ? await everybody(connection)
          : (await askJson<z.infer<typeof MemberList>>(connection, get(`${dbPath(db)}/people`))).people;
      if (flags.json) for (const one of found) await printJson(one);
      else await print(table(found.map(rowOf)));
    }),
  );

  const changes: readonly (readonly [name: string, what: string, body: object, said: string])[] = [
    ["admin", "make somebody an administrator of the server", { admin: true }, "is an administrator"],
    ["plain", "make somebody no administrator any more", { admin: false }, "is no administrator"],
    ["disable", "end what somebody has open, and let it in no more", { disabled: true }, "is disabled"],
    ["enable", "let somebody in again", { disabled: false }, "is enabled"],
  ];
  for (const [name, what, body, said] of changes)
    clientCommand(
      people
        .command(`${name} <person>`)
        .description(`${what}; by id, author name or verified e-mail address`),
      [`skald people ${name} ada#3f9a1c0d`],
    ).action((who: string, flags: ClientFlags) =>
      withConnection(flags, async (connection) => {
        const id = await idOf(connection, who);
        const after = await askJson<Info>(connection, sending("PATCH", `${PATH}/${id}`, body));
        if (flags.json) return printJson(after);
        note(`${after.subject} (${id}) ${said}.`);
      }),
    );

  clientCommand(
    people
      .command("delete <person>")
      .description(
        "forget all but id and author name; the same account is somebody new when it logs in again",
      ),
    ["skald people delete ada#3f9a1c0d"],
  ).action((who: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const id = await idOf(connection, who);
      await ask(connection, { method: "DELETE", path: `${PATH}/${id}` });
      if (flags.json) return printJson({ id, deleted: true });
      note(`${id} is forgotten.`);
    }),
  );

  clientCommand(
    people
      .command("role <db> <person> <role>")
      .description("give somebody a role: owner, editor, viewer or none"),
    ["skald people role shop ada#3f9a1c0d editor", "skald people role shop ada@example.org none"],
  ).action((db: string, who: string, role: string, flags: ClientFlags) => {
    if (!ROLES.includes(role)) throw usageError(`A role is ${ROLES.join(", ")}, not "${role}".`);
    return withConnection(flags, async (connection) => {
      const id = await idOf(connection, who);
      const path = `${dbPath(db)}/people/${id}`;
      if (role === "none") {
        await ask(connection, { method: "DELETE", path });
        if (flags.json) return printJson({ id, role: null });
        note(`${id} has no role in ${db}.`);
        return;
      }
      const after = await askJson<Member>(connection, sending("PUT", path, { role }));
      if (flags.json) return printJson(after);
      note(`${after.subject} (${id}) is ${after.role} of ${db}.`);
    });
  });

  addInvitations(people);
}

function addInvitations(people: Command): void {
  clientCommand(
    people
      .command("invite <db>")
      .description("make a link that gives whoever logs in with it a role; it is printed this once")
      .requiredOption("--role <role>", "owner, editor or viewer")
      .option("--expires <when>", "30d, 12h, 90m or an RFC 3339 time (default: 7d)")
      .option("--uses <number>", "how many people it is for (default: 1)")
      .option("--note <text>", "for whom it is"),
    [
      "skald people invite shop --role editor",
      "skald people invite shop --role viewer --uses 20 --expires 1d",
    ],
  ).action((db: string, flags: InviteFlags) => {
    const { role, uses, note: text, expires } = flags;
    if (role === "none" || !ROLES.includes(role))
      throw usageError(`--role takes owner, editor or viewer, not "${role}".`);
    if (uses !== undefined && !/^[1-9]\d{0,5}$/.test(uses))
      throw usageError(`--uses takes a number, not "${uses}".`);
    const now = Date.now();
    const body = {
      role,
      ...(uses === undefined ? {} : { uses: Number(uses) }),
      ...(text === undefined ? {} : { note: text }),
      ...(expires === undefined
        ? {}
        : { expires_in: Math.max(1, Math.round((Date.parse(expiryOf(expires, now)) - now) / 1000)) }),
    };
    return withConnection(flags, async (connection) => {
      const path = `${dbPath(db)}/invitations`;
      const made = await askJson<z.infer<typeof InvitationMade>>(connection, sending("POST", path, body));
      if (flags.json) return printJson(made);
      note(
        `${made.id} makes ${made.uses === 1 ? "one person" : `${made.uses} people`} ${made.role} of ${db}, until ${made.expires}.`,
      );
      if (made.url.startsWith("/")) note("Put the address of your server in front of it:");
      return print(`${made.url}\n`);
    });
  });

  clientCommand(
    people.command("invitations <db>").description("list invitations, those that are over included"),
    ["skald people invitations shop"],
  ).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const path = `${dbPath(db)}/invitations`;
      const { invitations } = await askJson<z.infer<typeof InvitationList>>(connection, get(path));
      if (flags.json) {
        for (const one of invitations) await printJson(one);
        return;
      }
      await print(
        table(
          invitations.map((one) => [
            one.id,
            one.state,
            one.role,
            `${one.used} of ${one.uses}`,
            `expires ${one.expires}`,
            `by ${one.maker}`,
            one.note ?? "",
          ]),
        ),
      );
    }),
  );

  clientCommand(people.command("revoke <db> <invitation>").description("revoke an invitation, at once"), [
    "skald people revoke shop inv_0123456789abcdef0123",
  ]).action((db: string, id: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      await ask(connection, {
        method: "DELETE",
        path: `${dbPath(db)}/invitations/${encodeURIComponent(id)}`,
      });
      if (flags.json) return printJson({ id, revoked: true });
      note(`${id} is revoked; whoever has accepted it keeps the role.`);
    }),
  );
}

const get = (path: string): Send => ({ method: "GET", path });

function sending(method: Send["method"], path: string, body: object): Send {
  return { method, path, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

async function ask(connection: Connection, send: Send): Promise<void> {
  (await connection.send(send)).resume();
}

async function everybody(connection: Connection): Promise<Info[]> {
  return (await askJson<z.infer<typeof PersonList>>(connection, get(PATH))).people;
}

/** Throws PERSON_NOT_FOUND when it is no id and not exactly one person is called so. */
async function idOf(connection: Connection, who: string): Promise<string> {
  if (/^per_[0-9a-f]{20}$/.test(who)) return who;
  const found = (await everybody(connection)).filter(
    ({ subject, email }) => subject === who || email === who,
  );
  const [one] = found;
  if (one && found.length === 1) return one.id;
  throw new CliError(
    "PERSON_NOT_FOUND",
    `${found.length === 0 ? "Nobody" : "More than one person"} is called ${who}.`,
    {
      hint: "`skald people list` shows the ids of those who have logged in.",
    },
  );
}

function rowOf(one: Info | Member): string[] {
  const { id, subject, name, email } = one;
  const admin = "admin" in one && one.admin ? [`administrator by ${one.admin_by}`] : [];
  const what =
    "role" in one ? [one.role] : [...admin, ...one.roles.map(({ db_id, role }) => `${role} of ${db_id}`)];
  return [
    id,
    subject,
    one.disabled ? "disabled" : "enabled",
    what.join(", ") || "no role",
    name,
    email ?? "",
  ];
}
