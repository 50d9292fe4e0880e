import type * as z from "zod";
import type { Invitation } from "../auth/invitations.ts";
import {
  InvitationAccept,
  InvitationAccepted,
  InvitationInfo,
  InvitationList,
  InvitationMade,
  InvitationRequest,
} from "../protocol/people-wire.ts";
import { knownDb } from "./people-routes.ts";
import { iso } from "./point.ts";
import { noted } from "./noted.ts";
import { json, type Call, type Route } from "./route.ts";
import { isSecure } from "./session-cookie.ts";

const tag = "people";
const NO_STORE = { "cache-control": "no-store" };

export const invitationRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/invitations",
    summary: "Make a link that gives whoever logs in with it a role",
    description:
      "The link is in this answer and nowhere else: only the hash of its secret is kept. It holds for as long as its maker, when that is a person, may invite.",
    tag,
    access: "db.admin",
    body: { types: { "application/json": InvitationRequest } },
    answers: { 201: { description: "Made.", types: { "application/json": InvitationMade } } },
    handle: async (call) => {
      const db = knownDb(call);
      const { role, expires_in, uses, note } = call.body.value as z.infer<typeof InvitationRequest>;
      const { services, principal } = call;
      const { secret, invitation } = services.people.invitations.create(db, principal.id, {
        role,
        expiresIn: expires_in,
        uses,
        note,
      });
      const { id } = invitation;
      await noted(call, "invitation.create", { detail: `${id} ${role}` });
      return json(201, { ...shown(invitation), url: `${originOf(call)}/_/#/invite/${secret}` }, NO_STORE);
    },
  },
  {
    method: "GET",
    path: "/db/:db/invitations",
    summary: "List the invitations of a db, those that are over included",
    tag,
    access: "db.admin",
    answers: { 200: { description: "Oldest first.", types: { "application/json": InvitationList } } },
    handle: (call) => {
      const db = knownDb(call);
      return json(200, { invitations: call.services.people.invitations.list(db).map(shown) }, NO_STORE);
    },
  },
  {
    method: "DELETE",
    path: "/db/:db/invitations/:id",
    summary: "Revoke an invitation, at once",
    description: "Whoever has accepted it keeps the role.",
    tag,
    access: "db.admin",
    answers: { 204: { description: "Revoked." } },
    handle: async (call) => {
      const db = knownDb(call);
      const id = call.params["id"] as string;
      call.services.people.invitations.revoke(db, id);
      await noted(call, "invitation.revoke", { detail: id });
      return { status: 204 };
    },
  },
  {
    method: "POST",
    path: "/invitations/accept",
    summary: "Accept an invitation",
    description:
      "As a person who is logged in. Each person accepts one once; it never makes a role a lower one.",
    tag,
    access: "any",
    body: { types: { "application/json": InvitationAccept } },
    answers: {
      200: { description: "What the person is now.", types: { "application/json": InvitationAccepted } },
    },
    handle: async (call) => {
      const { services, principal, body } = call;
      const { secret } = body.value as z.infer<typeof InvitationAccept>;
      const { db, role, changed, invitation } = services.people.invitations.accept(secret, principal.id);
      if (changed) await noted(call, "invitation.accept", { db, detail: `${invitation} ${role}` });
      return json(200, { db_id: db, role, changed }, NO_STORE);
    },
  },
];

/** Where browsers have the server, or else where the asker has it; "" when that is the operator and it listens nowhere. */
function originOf({ identity, services, headers }: Call): string {
  const { publicUrl, url } = services;
  if (publicUrl !== undefined) return publicUrl;
  const { host = "" } = headers;
  if (identity.by === "operator" || !/^[A-Za-z0-9._:[\]-]+$/.test(host)) return url() ?? "";
  return `${isSecure(headers, publicUrl) ? "https" : "http"}://${host}`;
}

function shown(one: Invitation): z.infer<typeof InvitationInfo> {
  const { id, role, state, maker, note, created, expires, uses, used } = one;
  return { id, role, state, maker, note, created: iso(created), expires: iso(expires), uses, used };
}
