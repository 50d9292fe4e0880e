import type * as z from "zod";
import type { Person, RoleOf } from "../auth/people.ts";
import { SkaldError } from "../errors.ts";
import {
  MemberInfo,
  MemberList,
  PersonChange,
  PersonInfo,
  PersonList,
  RoleRequest,
} from "../protocol/people-wire.ts";
import { iso } from "./point.ts";
import { noted } from "./noted.ts";
import { json, type Call, type Route } from "./route.ts";

const tag = "people";
const NO_STORE = { "cache-control": "no-store" };
const person = { 200: { description: "As it is now.", types: { "application/json": PersonInfo } } };

export const peopleRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/people",
    summary: "Everybody who has logged in, with their roles",
    tag,
    access: "admin.people",
    answers: { 200: { description: "Oldest first.", types: { "application/json": PersonList } } },
    handle: (call) =>
      json(200, { people: call.services.people.list().map((one) => shown(call, one)) }, NO_STORE),
  },
  {
    method: "PATCH",
    path: "/people/:person",
    summary: "Make somebody an administrator or none, disable, enable, rename",
    tag,
    access: "admin.people",
    body: { types: { "application/json": PersonChange } },
    answers: person,
    handle: async (call) => {
      const id = call.params["person"] as string;
      const wanted = call.body.value as z.infer<typeof PersonChange>;
      const after = call.services.people.change(id, wanted);
      await note(
        call,
        "person.change",
        `${id} ${JSON.stringify({ admin: wanted.admin, disabled: wanted.disabled })}`,
      );
      return json(200, shown(call, after), NO_STORE);
    },
  },
  {
    method: "DELETE",
    path: "/people/:person",
    summary: "Forget a person",
    description:
      "The roles go, and everything but the id and the author name. Whoever logs in with the same account is somebody new; to keep somebody out, disable.",
    tag,
    access: "admin.people",
    answers: { 204: { description: "Gone." } },
    handle: async (call) => {
      const id = call.params["person"] as string;
      call.services.people.remove(id);
      await note(call, "person.delete", id);
      return { status: 204 };
    },
  },
  {
    method: "GET",
    path: "/db/:db/people",
    summary: "Who has which role in a db",
    tag,
    access: "db.admin",
    answers: { 200: { description: "Owners first.", types: { "application/json": MemberList } } },
    handle: (call) => {
      const db = knownDb(call);
      return json(200, { people: call.services.people.roles(db).map(member) }, NO_STORE);
    },
  },
  {
    method: "PUT",
    path: "/db/:db/people/:person",
    summary: "Give somebody a role in a db, or another one",
    description: "It holds at once, also for what the person has open.",
    tag,
    access: "db.admin",
    body: { types: { "application/json": RoleRequest } },
    answers: { 200: { description: "As it is now.", types: { "application/json": MemberInfo } } },
    handle: async (call) => {
      const db = knownDb(call);
      const id = call.params["person"] as string;
      const { role } = call.body.value as z.infer<typeof RoleRequest>;
      const { people } = call.services;
      people.set(db, id, role, call.principal.id);
      await note(call, "role.set", `${id} ${role}`, db);
      const now = people.roles(db).find((one) => one.person.id === id);
      if (!now) throw new SkaldError("PERSON_NOT_FOUND", "No person has this id.");
      return json(200, member(now), NO_STORE);
    },
  },
  {
    method: "DELETE",
    path: "/db/:db/people/:person",
    summary: "Take somebody's role in a db away",
    description:
      "It holds at once, also for what the person has open. A role that is not there is gone already.",
    tag,
    access: "db.admin",
    answers: { 204: { description: "Gone." } },
    handle: async (call) => {
      const db = knownDb(call);
      const id = call.params["person"] as string;
      call.services.people.set(db, id, null, call.principal.id);
      await note(call, "role.remove", id, db);
      return { status: 204 };
    },
  },
];

/** Throws DB_NOT_FOUND. */
export function knownDb({ services, params }: Call): string {
  const db = params["db"] as string;
  if (!services.engine.has(db))
    throw new SkaldError("DB_NOT_FOUND", `There is no db ${db}.`, { details: { db } });
  return db;
}

function note(call: Call, action: string, detail: string, db?: string): Promise<boolean> {
  return noted(call, action, { detail, ...(db === undefined ? {} : { db }) });
}

function shown({ services }: Call, one: Person): z.infer<typeof PersonInfo> {
  const { id, issuer, sub, subject, name, email, admin, adminBy, disabled, created, lastSeen } = one;
  return {
    id,
    subject,
    name,
    email,
    disabled,
    issuer,
    sub,
    admin,
    admin_by: adminBy,
    created: iso(created),
    last_seen: lastSeen === null ? null : iso(lastSeen),
    roles: services.people.rolesOf(id).map(({ db, role }) => ({ db_id: db, role })),
  };
}

function member({ person: one, role, given, giver }: RoleOf): z.infer<typeof MemberInfo> {
  const { id, subject, name, email, disabled } = one;
  return { id, subject, name, email, disabled, role, given: iso(given), giver };
}
