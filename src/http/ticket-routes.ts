import type * as z from "zod";
import { prefixesFor } from "../auth/policy.ts";
import { SkaldError } from "../errors.ts";
import { checkDbId } from "../ids/names.ts";
import { TicketMade, TicketRequest } from "../protocol/wire.ts";
import { iso } from "./point.ts";
import { json, type Route } from "./route.ts";

export const ticketRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/tickets",
    summary: "Make a ticket for the URL of a socket or a stream",
    description:
      "For clients that cannot send a header there. It allows what the token or the session allows, on one db, and ends with it.",
    tag: "tokens",
    access: "any",
    body: { types: { "application/json": TicketRequest } },
    answers: { 201: { description: "Made.", types: { "application/json": TicketMade } } },
    handle: ({ services, principal, identity, body }) => {
      const { db_id: db, action, expires_in, reusable } = body.value as z.infer<typeof TicketRequest>;
      checkDbId(db);
      if (prefixesFor(principal, action, db) === "none") {
        throw new SkaldError("FORBIDDEN", `The token does not allow ${action} on the db ${db}.`, {
          details: { action, db },
        });
      }
      if (!services.engine.has(db)) throw new SkaldError("DB_NOT_FOUND", `There is no db ${db}.`);
      const { ticket, expires } = services.tickets.make(
        principal,
        {
          db,
          action,
          expiresIn: expires_in,
          reusable,
        },
        identity.session,
      );
      return json(201, { ticket, expires_at: iso(expires) }, { "cache-control": "no-store" });
    },
  },
];
