import * as z from "zod";
import type { Identity } from "../auth/identity.ts";
import type { OwnerRecord, RevocationRecord } from "../auth/capabilities.ts";
import { SkaldError } from "../errors.ts";
import { UCAN_VERSION } from "../ids/ucan.ts";
import {
  CapabilityOwner,
  CapabilityOwnerRequest,
  CapabilityServer,
  Revocation,
  RevocationList,
  RevocationRequest,
} from "../protocol/token-wire.ts";
import { iso, nameCursor, nameOfCursor, nextLink, pageQuery } from "./point.ts";
import { noted } from "./noted.ts";
import { json, type Call, type Route } from "./route.ts";

const tag = "capabilities";
const path = "/db/:db/capabilities";

export const capabilityRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/capabilities",
    summary: "To whom a capability is made out that is to hold here",
    tag,
    access: "public",
    answers: {
      200: { description: "Names of this server.", types: { "application/json": CapabilityServer } },
    },
    handle: ({ services: { capabilities } }) =>
      json(200, { version: UCAN_VERSION, did: capabilities.did, audiences: capabilities.audiences }),
  },
  {
    method: "GET",
    path,
    summary: "The key that a db belongs to",
    tag,
    access: "db.admin",
    answers: { 200: { description: "Or none.", types: { "application/json": CapabilityOwner } } },
    handle: (call) => {
      checkThere(call);
      return ownerOf(call);
    },
  },
  {
    method: "PUT",
    path: `${path}/owner`,
    summary: "Give a db to a key",
    description:
      "Capabilities whose chain begins with this key hold for the db from now on, and those of another do not: what is open by them ends.",
    tag,
    access: "db.admin",
    body: { types: { "application/json": CapabilityOwnerRequest } },
    answers: { 200: { description: "It is.", types: { "application/json": CapabilityOwner } } },
    handle: async (call) => {
      const { did } = call.body.value as z.infer<typeof CapabilityOwnerRequest>;
      checkThere(call);
      checkMayGive(call.identity);
      await set(call, did);
      return ownerOf(call);
    },
  },
  {
    method: "DELETE",
    path: `${path}/owner`,
    summary: "Give a db to no key: no capability holds for it any more",
    tag,
    access: "db.admin",
    answers: { 204: { description: "Done." } },
    handle: async (call) => {
      checkThere(call);
      checkMayGive(call.identity);
      await set(call, undefined);
      return { status: 204 };
    },
  },
  {
    method: "GET",
    path: `${path}/revocations`,
    summary: "Capabilities that were revoked",
    tag,
    access: "db.admin",
    query: z.strictObject(pageQuery),
    answers: { 200: { description: "By address.", types: { "application/json": RevocationList } } },
    handle: (call) => {
      checkThere(call);
      const { limit, cursor } = call.query as { limit: number; cursor?: string };
      const db = call.params["db"] as string;
      const after = cursor === undefined ? "" : nameOfCursor("revocations", cursor);
      const rows = call.services.capabilities.revocations(db, after, limit + 1);
      const shown = rows.slice(0, limit);
      const next = rows.length > limit ? nameCursor("revocations", shown.at(-1)?.cid ?? "") : null;
      return json(
        200,
        { revocations: shown.map(withTime), cursor: next },
        nextLink(`/api/v1/db/${db}/capabilities/revocations`, call.query, next),
      );
    },
  },
  {
    method: "POST",
    path: `${path}/revocations`,
    summary: "Revoke a capability, at once and for ever",
    description:
      "It proves nothing of this db any more, shown by itself or as the proof of another; what is open by it ends. Whoever holds what it stands on can make another, so revoke the link that was made out to whom you mean.",
    tag,
    access: "db.admin",
    body: { types: { "application/json": RevocationRequest } },
    answers: { 201: { description: "Revoked.", types: { "application/json": Revocation } } },
    handle: async (call) => {
      checkThere(call);
      const { services, principal, params } = call;
      const { cid } = call.body.value as z.infer<typeof RevocationRequest>;
      const db = params["db"] as string;
      const revoked = services.capabilities.revoke(db, cid, principal.id);
      await noted(call, "capability.revoke", { detail: cid });
      return json(201, withTime(revoked));
    },
  },
];

function checkThere({ services, params }: Call): void {
  const db = params["db"] as string;
  if (!services.engine.has(db)) throw new SkaldError("DB_NOT_FOUND", `There is no db ${db}.`);
}

/** With the key of a db one can give everything of it for ever: more than was lent for a time. */
function checkMayGive({ by }: Identity): void {
  if (by !== "capability" && by !== "provider") return;
  throw new SkaldError(
    "FORBIDDEN",
    "Who a db belongs to is said with a token, or by a person, and not by other means.",
  );
}

async function set(call: Call, did: string | undefined): Promise<void> {
  const { services, principal, params } = call;
  services.capabilities.setOwner(params["db"] as string, did, principal.id);
  await noted(call, "capability.owner", { detail: did ?? "none" });
}

function ownerOf({ services: { capabilities }, params }: Call) {
  const owner = capabilities.owner(params["db"] as string);
  return json(200, {
    owner: owner ? withTime(owner) : null,
    did: capabilities.did,
    audiences: capabilities.audiences,
  });
}

function withTime<T extends OwnerRecord | RevocationRecord>(record: T): Omit<T, "time"> & { time: string } {
  return { ...record, time: iso(record.time) };
}
