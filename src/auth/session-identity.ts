import type { Identity } from "./identity.ts";
import type { People } from "./people.ts";
import type { Session, Sessions } from "./sessions.ts";
import type { Tokens } from "./tokens.ts";

/** Where it is asked whether those a session stands for still may what they might. */
export interface Vouchers {
  readonly sessions: Pick<Sessions, "live">;
  readonly people: Pick<People, "principal" | "holds">;
  readonly tokens: Pick<Tokens, "live">;
}

/**
 * Who a session stands for now; undefined when that is nobody any more: the person was disabled, or the token
 * that opened it was revoked or ran out. What stays open ends with the session, and with a right that is taken.
 */
export function sessionIdentity(session: Session, vouchers: Vouchers): Identity | undefined {
  const { sessions, people, tokens } = vouchers;
  const { id, whose } = session;
  const principal = "person" in whose ? people.principal(whose.person) : tokens.live(whose.token);
  if (!principal) return undefined;
  return {
    principal,
    by: "session",
    session: id,
    alive: () =>
      sessions.live(id) !== undefined &&
      ("person" in whose ? people.holds(principal) : tokens.live(whose.token) !== undefined),
  };
}
