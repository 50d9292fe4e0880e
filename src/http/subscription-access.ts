import { allows, prefixesFor, type Principal } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import type { Definition } from "../subscriptions/subscription-definition.ts";
import type { LiveSubscription } from "../subscriptions/subscription-live.ts";
import type { Services } from "./route.ts";

/** What a definition says of which documents its events are. */
type Reach = Pick<Definition, "collection" | "prefix" | "docs">;

/** Whether a principal may read every document that such a subscription can have events of. */
export function mayRead(principal: Principal, db: string, { collection, prefix, docs }: Reach): boolean {
  const own = prefixesFor(principal, "doc.read", db);
  if (own === "all") return true;
  if (own === "none") return false;
  const inside = (name: string): boolean => own.some((start) => name.startsWith(start));
  if (collection !== undefined && inside(`${collection}/${prefix ?? ""}`)) return true;
  return docs !== undefined && docs.every(inside);
}

/** Throws FORBIDDEN unless the principal may read what the subscription has. */
export function checkMayRead(principal: Principal, db: string, reach: Reach): void {
  if (mayRead(principal, db, reach)) return;
  throw new SkaldError("FORBIDDEN", "The token does not allow doc.read on all that this subscription has.", {
    details: { action: "doc.read", db },
    hint: "A token limited to a prefix needs a subscription whose filter lies within it.",
  });
}

/** The subscription of a name, for whoever consumes or manages it: its maker's subject, or an administrator of the db. */
export function ownSubscription(
  services: Services,
  principal: Principal,
  db: Db,
  name: string,
): LiveSubscription {
  const found = services.subscriptions.of(db).get(name);
  checkMayRead(principal, db.id, found.definition);
  if (found.definition.creator !== principal.subject && !allows(principal, "db.admin", db.id))
    throw new SkaldError("FORBIDDEN", `The subscription ${name} is another subject's.`, {
      details: { action: "db.admin", db: db.id },
    });
  return found;
}
