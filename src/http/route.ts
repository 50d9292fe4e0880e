import type { IncomingHttpHeaders } from "node:http";
import type * as z from "zod";
import type { Audit } from "../audit/audit.ts";
import type { Action } from "../auth/actions.ts";
import type { Capabilities } from "../auth/capabilities.ts";
import type { CredentialProvider } from "../auth/credential-provider.ts";
import type { Identity } from "../auth/identity.ts";
import type { People } from "../auth/people.ts";
import type { Principal } from "../auth/policy.ts";
import type { Sessions } from "../auth/sessions.ts";
import type { Signin } from "../auth/signin.ts";
import type { Tickets } from "../auth/tickets.ts";
import type { Tokens } from "../auth/tokens.ts";
import type { Vigil } from "../auth/vigil.ts";
import type { Db } from "../db/db.ts";
import type { Engine } from "../db/engine.ts";
import type { OpenedQueries } from "../query/open.ts";
import type { Queries } from "../query/queries.ts";
import type { SyncHubs } from "../sync/hub.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import type { WatchesOf } from "../query/watches-of.ts";
import type { World } from "../world.ts";
import type { FeedTally } from "./feed-tally.ts";
import type { QueryTally } from "./query-tally.ts";
import type { ServerLimits } from "./load.ts";
import type { Outlet } from "./outlet.ts";
import type { VerifyOptions } from "../db/verify.ts";

/**
 * A route as data: what it matches, who may call it, what it takes and gives, and the function that
 * answers. Express, the hot path and the OpenAPI document are all made from the same list, so they
 * cannot disagree. Handlers know nothing of sockets or Express.
 */
export interface Route {
  /** `QUERY` (RFC 10008) is there when this Node's parser knows it. */
  readonly method: "GET" | "PUT" | "PATCH" | "POST" | "DELETE" | "QUERY";
  /** Express path below the mount point, such as `/db/:db`. */
  readonly path: string;
  /** With or without a slash at the end as `path` says; other routes take both. */
  readonly exact?: boolean;
  readonly summary: string;
  readonly description?: string;
  readonly tag: string;
  /** `public` needs no credential, `any` any valid one; an action is checked for the db of the path. */
  readonly access: "public" | "any" | Action;
  /** Actions that let a caller in as well when it has one of them on the whole db; the handler checks what it needs. */
  readonly or?: readonly Action[];
  /** What the action is done to, for tokens limited to a prefix; none means the whole db. */
  readonly resource?: (params: Params) => string;
  /** Takes a ticket in `?ticket=` in the place of a token, as streams do that browsers open. */
  readonly ticket?: boolean;
  /**
   * Leaves the log of a db as it is: so it may be asked of the server's own dbs too, by whoever may do it to every db
   * and has `admin.audit`. What only reads needs no such mark.
   */
  readonly keepsLog?: boolean;
  /**
   * What the audit log calls this when it was done: noted, durably, before the answer, with the path's names. A handler
   * that knows more to say notes by itself.
   */
  readonly noted?: string;
  /** The handler checks what a limited token may see; the route only asks that it may see something. */
  readonly partial?: boolean;
  /** Whether the answer may wait or go on for as long as its client stays: then it counts among the streams. */
  readonly stays?: (query: Readonly<Record<string, unknown>>, accept: string | undefined) => boolean;
  /** Long work: only some of it runs at a time. */
  readonly job?: boolean;
  readonly query?: z.ZodObject;
  readonly body?: BodySpec;
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  readonly handle: (call: Call) => Promise<Answer> | Answer;
}

export interface BodySpec {
  /** Media types taken, each with its schema when it is JSON that the route has a shape for. */
  readonly types: Readonly<Record<string, z.ZodType | "raw">>;
  readonly maxBytes?: number;
  /** The handler takes the body as it comes, of any size. */
  readonly streamed?: true;
}

export interface AnswerSpec {
  readonly description: string;
  readonly types?: Readonly<Record<string, z.ZodType | "raw">>;
}

export type Params = Readonly<Record<string, string>>;

/** What all handlers work with. */
export interface Services {
  readonly engine: Engine;
  readonly tokens: Tokens;
  readonly capabilities: Capabilities;
  /** Who is asked, in this order, whose a bearer is. */
  readonly providers: readonly CredentialProvider[];
  readonly tickets: Tickets;
  readonly people: People;
  /** Where the server listens; undefined before it does. */
  readonly url: () => string | undefined;
  readonly sessions: Sessions;
  readonly signin: Signin;
  /** The origin that browsers have of this server, as it was set; undefined: what they say, on loopback. */
  readonly publicUrl: string | undefined;
  /** Ends what is open when what vouched for it has ended. */
  readonly vigil: Vigil;
  /** Who did what: see `noted.ts` for what a request did. */
  readonly audit: Audit;
  readonly sync: SyncHubs;
  /** The db that is synced at `/`, also without a credential; undefined: none. */
  readonly syncRoot: string | undefined;
  readonly subscriptions: Subscriptions;
  readonly queries: Queries;
  /** Runs several statements as one commit. */
  readonly batch: OpenedQueries["batch"];
  readonly queryTally: QueryTally;
  readonly watches: WatchesOf;
  readonly version: string;
  readonly automerge: string;
  readonly world: World;
  /** When, on the monotonic clock. */
  readonly started: number;
  /** The OpenAPI document as JSON text. */
  readonly openApi: () => string;
  readonly metrics: () => Promise<{ type: string; text: string }>;
  /** Checks a db: lines of progress, then the verdict. */
  readonly verify: (dbId: string, signal: AbortSignal, options: VerifyOptions) => AsyncIterable<string>;
  readonly scrub: () => {
    readonly progress: number;
    readonly findings: number;
    readonly lastPass: number | undefined;
  };
  readonly feeds: FeedTally;
  /** Whether new work is taken: false while the server drains. */
  readonly accepting: () => boolean;
}

/** One request, checked. */
export interface Call {
  readonly services: Services;
  readonly principal: Principal;
  readonly identity: Identity;
  readonly params: Params;
  /** As the route's schema gives it. */
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: Body;
  readonly headers: Readonly<IncomingHttpHeaders>;
  readonly header: (name: string) => string | undefined;
  readonly requestId: string;
  /** IP address of the client, `local` on the local socket; see `address.ts`. */
  readonly address: string;
  /** Aborted when the client goes away, or what it came with holds no more. */
  readonly signal: AbortSignal;
  /** Nobody will read the body. */
  readonly isHead: boolean;
  readonly limits: ServerLimits;
  /** Tells of a failure after the answer has begun. */
  readonly failed: (error: unknown) => void;
  /**
   * Has `work` end the answer when what its client came with holds no more, for one that says so in words of its
   * own. Without it a stream breaks off and whatever waits is answered UNAUTHENTICATED.
   */
  readonly onLost: (work: () => void) => void;
  /** Runs `work` when the server stops, for what would not end by itself; gives what takes it back. */
  readonly onStop: (work: () => void) => () => void;
  /** Runs `work` with the db of the path open. */
  readonly db: <T>(work: (db: Db) => T | Promise<T>) => Promise<T>;
}

export interface Body {
  /** Media type without parameters, lower case; "" when there was no body. */
  readonly type: string;
  readonly bytes: Buffer;
  /** What the schema gave, for types that have one. */
  readonly value: unknown;
  /** Of a route that takes its body as it comes; throws BAD_REQUEST when it breaks off. */
  readonly stream?: AsyncIterable<Uint8Array>;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Values of `Set-Cookie`, one header each. */
  readonly cookies?: readonly string[];
  readonly body?: string | Uint8Array | AsyncIterable<string | Uint8Array>;
  /** In the place of a body: writes by itself until it ends. Resolves then. */
  readonly live?: (outlet: Outlet) => Promise<void>;
}

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(value) };
}
