import type { IncomingMessage } from "node:http";
import { bearerToken } from "../auth/bearer.ts";
import { sessionIdentity } from "../auth/session-identity.ts";
import type { Action } from "../auth/actions.ts";
import { identityOf, notValid } from "../auth/credential-provider.ts";
import type { Identity } from "../auth/identity.ts";
import type { Principal } from "../auth/policy.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import type { Services } from "./route.ts";
import { checkSameOrigin, isSecure, readCookie } from "./session-cookie.ts";

/** A ticket that stands in the URL, and what it would have to be for. */
export interface Shown {
  readonly ticket: string;
  readonly db: string;
  readonly action: Action;
}

/** What tells who somebody is: what the server knows, and who those are that show nothing. */
export interface Door {
  readonly services: Services;
  readonly ambient: Principal | undefined;
}

/**
 * Who a request is from, whichever way it says so: the only place that knows the ways. A header goes first, since
 * whoever can send one needs no ticket; what is shown and does not hold is refused, never passed over. Undefined
 * when nothing is shown. `open`: who shows nothing is let in as well, so that a cookie, which a browser sends
 * unasked, turns nobody away. Throws UNAUTHENTICATED, CSRF_REFUSED, TICKET_INVALID, TOKEN_IN_URL and what providers
 * throw; what one of them has to wait for rejects with the same.
 */
export function identify(
  req: IncomingMessage,
  { services, ambient }: Door,
  shown: Shown | undefined,
  open = false,
): Identity | undefined | Promise<Identity> {
  const { headers } = req;
  if (headers.authorization !== undefined) {
    const bearer = bearerToken(headers.authorization);
    if (bearer === undefined) throw notValid();
    return identityOf(services.providers, {
      bearer,
      header: (name) => {
        const value = headers[name];
        return Array.isArray(value) ? value.join(", ") : value;
      },
    });
  }
  if (shown) return { ...services.tickets.take(shown.ticket, shown.db, shown.action), by: "ticket" };
  if (ambient) return { principal: ambient, by: "operator", alive: () => true };
  if (req.headers.cookie === undefined) return undefined;
  try {
    return ofCookie(req, services);
  } catch (error) {
    if (open && isSkaldError(error) && error.status < 500) return undefined;
    throw error;
  }
}

/**
 * Whose session a browser has. Throws CSRF_REFUSED before it looks: what a page of another origin learns must not
 * depend on who is signed in here.
 */
function ofCookie(req: IncomingMessage, services: Services): Identity | undefined {
  const { headers, method } = req;
  const { publicUrl, sessions } = services;
  const cookie = readCookie(headers, "skald", isSecure(headers, publicUrl));
  if (cookie === undefined) return undefined;
  checkSameOrigin(method, headers, publicUrl);
  const session = sessions.find(cookie);
  const identity = session && sessionIdentity(session, services);
  if (!identity) throw new SkaldError("UNAUTHENTICATED", "The session has ended.");
  return identity;
}
