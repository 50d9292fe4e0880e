import { createHmac, timingSafeEqual } from "node:crypto";
import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { realWorld, type World } from "../world.ts";
import { isAction, type Action } from "./actions.ts";
import type { Principal, Scope } from "./policy.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Tickets: what a browser puts into the URL of a WebSocket or an event stream, where it cannot send a header.
 * Nothing is stored of one: it says itself what it is for, under a MAC whose key is in the service file.
 *
 * Invariants: a ticket allows nothing that the token which made it does not allow now, and only on one db; it
 * ends with that token. One of a single use is taken once: it is signed for this run of the server as well,
 * since who has been let in with it is in memory.
 */
export interface TicketRequest {
  readonly db: string;
  readonly action: Action;
  /** Seconds; 60 or, for a reusable one, a day when absent. */
  readonly expiresIn?: number | undefined;
  readonly reusable?: boolean | undefined;
}

/** Who comes with a ticket, and whether the token behind it still holds. */
export interface Admitted {
  readonly principal: Principal;
  readonly alive: () => boolean;
}

const ONCE_SECONDS = 60;
const REUSABLE_SECONDS = 86_400;
const PREFIX = "skt_";
const MAC_LENGTH = 16;
const FORMAT = 1;
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

  constructor(tokens: Pick<Tokens, "secret" | "live">, world: World = realWorld) {
    this.#tokens = tokens;
    this.#world = world;
    this.#run = world.random(16);
  }

  /** A ticket of this principal, whose rights the caller has checked. Throws BAD_REQUEST, FORBIDDEN. */
  make(principal: Principal, request: TicketRequest): { ticket: string; expires: number } {
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
    const id = /^tok_([0-9a-f]{20})$/.exec(principal.id)?.[1];
    if (id === undefined) {
      throw new SkaldError("FORBIDDEN", "A ticket is made with a token, whose end is its end.");
    }
    const expires = this.#world.now() + seconds * 1000;
    const w = new CborWriter(256);
    w.array(6);
    w.uint(FORMAT + (reusable ? 1 : 0));
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
    const whose = this.#tokens.live(ticket.token);
    if (!whose) throw invalid("The token that made it has run out or was revoked.");
    if (!ticket.reusable) this.#use(ticket.nonce, ticket.expires, now);
    const scopes = whose.scopes.flatMap((scope) => narrowed(scope, db, CARRIES[action] ?? [action]));
    const { token } = ticket;
    return {
      principal: Object.freeze({ id: whose.id, subject: whose.subject, scopes }),
      alive: () => this.#tokens.live(token) !== undefined,
    };
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
      const reusable = r.uint() !== FORMAT;
      if (!timingSafeEqual(bytes.subarray(-MAC_LENGTH), this.#mac(body, reusable))) return undefined;
      const expires = r.uint();
      const token = `tok_${toHex(r.bytes())}`;
      const nonce = toHex(r.bytes());
      const db = r.text();
      const action = r.text();
      return isAction(action) ? { reusable, expires, token, nonce, db, action } : undefined;
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
  readonly token: string;
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
