import { createHmac, timingSafeEqual } from "node:crypto";
import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { realWorld, type World } from "../world.ts";
import { isAction, type Action } from "./actions.ts";
import type { Identity } from "./identity.ts";
import type { Principal, Scope } from "./policy.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Tickets: what a browser puts into the URL of a WebSocket or an event stream, where it cannot send a header.
 * Nothing is stored of one: it says itself what it is for, under a MAC whose key is in the service file.
 *
 * Invariants: a ticket allows nothing that the token or the session which made it does not allow now, and only on
 * one db; it ends with that token or session. One of a single use is taken once: it is signed for this run of the server as well,
 * since who has been let in with it is in memory.
 */
export interface TicketRequest {
  readonly db: string;
  readonly action: Action;
  /** Seconds; 60 or, for a reusable one, a day when absent. */
  readonly expiresIn?: number | undefined;
  readonly reusable?: boolean | undefined;
}

/** Who comes with a ticket, and whether what is behind it still holds. */
export interface Admitted {
  readonly principal: Principal;
  readonly alive: () => boolean;
}

const ONCE_SECONDS = 60;
const REUSABLE_SECONDS = 86_400;
const PREFIX = "skt_";
const MAC_LENGTH = 16;
/** What a ticket begins with: its use and whose it is. */
const FORMATS: readonly (readonly [reusable: boolean, of: Holder])[] = [
  [false, "token"],
  [true, "token"],
  [false, "session"],
  [true, "session"],
];
type Holder = "token" | "session";
const ID_START: Readonly<Record<Holder, string>> = { token: "tok_", session: "ses_" };
/** Some four times what a ticket has. */
const MAX_CHARACTERS = 1024;
const { onceSeconds, reusableSeconds } = LIMITS.ticket;
/** Uses that are remembered until their tickets run out; more than this in that time are refused. */
const USED_MAX = 100_000;

/** What an action's ticket carries of the token's scopes: a sync is nothing without reading and writing. */
const CARRIES: Readonly<Record<string, readonly Action[]>> = { sync: ["sync", "doc.read", "doc.write"] };

export class Tickets {
  readonly #tokens: Pick<Tokens, "secret" | "live">;
  readonly #world: World;
  /** Of this run: what is signed with it as well ends with the process. */
  readonly #run: Uint8Array;
  readonly #used = new Map<string, number>();
  readonly #ofSession: (id: string) => Identity | undefined;

  /** `ofSession`: whom a session stands for while it lasts. */
  constructor(
    tokens: Pick<Tokens, "secret" | "live">,
    world: World = realWorld,
    ofSession: (id: string) => Identity | undefined = () => undefined,
  ) {
    this.#tokens = tokens;
    this.#world = world;
    this.#ofSession = ofSession;
    this.#run = world.random(16);
  }

  /**
   * A ticket of this principal, whose rights the caller has checked; of the session by which it came, if it came by
   * one. Throws BAD_REQUEST, FORBIDDEN.
   */
  make(principal: Principal, request: TicketRequest, session?: string): { ticket: string; expires: number } {
    const { db, action, reusable = false } = request;
    const most = (reusable ? reusableSeconds : onceSeconds).value;
    const seconds = request.expiresIn ?? (reusable ? REUSABLE_SECONDS : ONCE_SECONDS);
    if (seconds > most) {
      throw new SkaldError(
        "BAD_REQUEST",
        `A ${reusable ? "reusable ticket" : "ticket of one use"} lasts at most ${most} seconds.`,
        { details: { max: most } },
      );
    }
    const of = session === undefined ? "token" : "session";
    const name = session ?? principal.id;
    const id = name.startsWith(ID_START[of]) ? name.slice(4) : "";
    if (!/^[0-9a-f]{20}$/.test(id)) {
      throw new SkaldError(
        "FORBIDDEN",
        "A ticket is made with a token or in a session, whose end is its end.",
      );
    }
    const expires = this.#world.now() + seconds * 1000;
    const w = new CborWriter(256);
    w.array(6);
    w.uint(1 + FORMATS.findIndex((one) => one[0] === reusable && one[1] === of));
    w.uint(expires);
    w.bytes(fromHex(id));
    w.bytes(this.#world.random(12));
    w.text(db);
    w.text(action);
    const body = w.take();
    w.raw(this.#mac(body, reusable));
    return { ticket: PREFIX + Buffer.from(w.take()).toString("base64url"), expires };
  }

  /** Takes a ticket for `action` on `db`. Throws TICKET_INVALID, TOKEN_IN_URL. */
  take(text: string, db: string, action: Action): Admitted {
    if (text.startsWith("skald_")) throw tokenInUrl();
    const ticket = this.#read(text);
    if (!ticket) throw invalid("It is none of this server's, or of an earlier start of it.");
    if (ticket.db !== db || ticket.action !== action) {
      throw invalid(`It is for ${ticket.action} on the db ${ticket.db}.`);
    }
    const now = this.#world.now();
    if (now >= ticket.expires) throw invalid("It has run out.");
    const { principal: whose, alive } = this.#holder(ticket);
    if (!ticket.reusable) this.#use(ticket.nonce, ticket.expires, now);
    const scopes = whose.scopes.flatMap((scope) => narrowed(scope, db, CARRIES[action] ?? [action]));
    return { principal: Object.freeze({ id: whose.id, subject: whose.subject, scopes }), alive };
  }

  #holder({ of, id }: Ticket): Admitted {
    if (of === "session") {
      const identity = this.#ofSession(id);
      if (!identity) throw invalid("The session in which it was made has ended.");
      return identity;
    }
    const principal = this.#tokens.live(id);
    if (!principal) throw invalid("The token that made it has run out or was revoked.");
    return { principal, alive: () => this.#tokens.live(id) !== undefined };
  }

  #use(nonce: string, expires: number, now: number): void {
    if (this.#used.has(nonce)) throw invalid("It was used already.");
    if (this.#used.size >= USED_MAX) {
      for (const [known, until] of this.#used) if (now >= until) this.#used.delete(known);
      if (this.#used.size >= USED_MAX) throw new SkaldError("UNAVAILABLE", "Too many tickets are in use.");
    }
    this.#used.set(nonce, expires);
  }

  #read(text: string): Ticket | undefined {
    if (text.length > MAX_CHARACTERS || !text.startsWith(PREFIX)) return undefined;
    const bytes = Buffer.from(text.slice(PREFIX.length), "base64url");
    const body = bytes.subarray(0, -MAC_LENGTH);
    try {
      const r = new CborReader(body);
      if (r.array() !== 6) return undefined;
      const format = FORMATS[r.uint() - 1];
      if (!format) return undefined;
      const [reusable, of] = format;
      if (!timingSafeEqual(bytes.subarray(-MAC_LENGTH), this.#mac(body, reusable))) return undefined;
      const expires = r.uint();
      const id = ID_START[of] + toHex(r.bytes());
      const nonce = toHex(r.bytes());
      const db = r.text();
      const action = r.text();
      return isAction(action) ? { reusable, of, expires, id, nonce, db, action } : undefined;
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  #mac(body: Uint8Array, reusable: boolean): Uint8Array {
    const mac = createHmac("sha256", this.#tokens.secret("ticket")).update(body);
    return (reusable ? mac : mac.update(this.#run)).digest().subarray(0, MAC_LENGTH);
  }
}

interface Ticket {
  readonly reusable: boolean;
  readonly expires: number;
  readonly of: Holder;
  readonly id: string;
  readonly nonce: string;
  readonly db: string;
  readonly action: Action;
}

function narrowed(scope: Scope, db: string, actions: readonly Action[]): Scope[] {
  if (scope.db !== "*" && scope.db !== db) return [];
  const { prefix } = scope;
  return actions
    .filter((action) => scope.action === "*" || scope.action === action)
    .map((action) => ({ db, action, ...(prefix === undefined ? {} : { prefix }) }));
}

function invalid(why: string): SkaldError {
  return new SkaldError("TICKET_INVALID", `The ticket is not valid. ${why}`);
}

/** For what looks like a token where URLs are logged by whoever passes them on. */
export function tokenInUrl(): SkaldError {
  return new SkaldError("TOKEN_IN_URL", "A token does not belong into a URL: URLs are logged.");
}
