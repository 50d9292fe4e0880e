import type { IncomingMessage, ServerResponse } from "node:http";
import type { Action } from "../auth/actions.ts";
import type { Identity } from "../auth/identity.ts";
import { allows, prefixesFor, type Principal } from "../auth/policy.ts";
import { tokenInUrl } from "../auth/tickets.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import type { Load } from "./load.ts";
import { AUDIT_DB, checkDbId } from "../ids/names.ts";
import type { World } from "../world.ts";
import { addressOf, LOCAL, type TrustedProxies } from "./address.ts";
import { begun, isGone, send } from "./answer.ts";
import { readBody, readQuery } from "./body.ts";
import type { Cors } from "./cors.ts";
import { identify } from "./identify.ts";
import { Lease, credentialEnded, letGo } from "./lease.ts";
import { noted } from "./noted.ts";
import { problemOf } from "./problem.ts";
import { isSigningIn, type Rates } from "./rates.ts";
import type { Answer, Body, Call, Params, Route, Services } from "./route.ts";
import { transportSecurity } from "./security-headers.ts";

export interface RequestLog {
  request(line: {
    id: string;
    method: string;
    route: string;
    status: number;
    ms: number;
    principal: string;
    code?: string;
  }): void;
  failure(error: unknown, requestId: string): void;
}

export interface DispatchContext {
  readonly services: Services;
  readonly log: RequestLog;
  readonly load: Load;
  /** Undefined on the local socket: the operator asks as often as he likes. */
  readonly rates: Rates | undefined;
  /** What goes on for as long as its client stays; each is ended when the server stops. */
  readonly staying: Set<() => void>;
  /** Who a request without a credential is: the operator on the local socket, nobody elsewhere. */
  readonly ambient: Principal | undefined;
  readonly nextName: () => string;
  /** Whose word on where a request comes from counts; undefined: nobody's. */
  readonly trusted: TrustedProxies | undefined;
  /** Undefined: pages of other origins are told nothing. */
  readonly cors: Cors | undefined;
}

/** Answers one request by one route: the only way from a socket to a handler. Never rejects. */
export async function dispatch(
  route: Route,
  params: Params,
  search: string,
  req: IncomingMessage,
  res: ServerResponse,
  context: DispatchContext,
): Promise<void> {
  const { world } = context.services;
  const started = world.monotonic();
  const requestId = requestIdOf(req, context);
  // Now: a connection that is gone has none.
  const address = clientOf(req, context);
  let principal: Principal | undefined;
  let code: string | undefined;
  let answer: Answer;
  let leave: (() => void) | undefined;
  const held = { bytes: 0 };
  const lease = new Lease(route, requestId, req, res, world);
  let entered = false;
  try {
    context.rates?.enter(address, route.path, started);
    const asked = route.ticket ? withoutTicket(search) : { search, ticket: undefined };
    const shown = identityFor(route, params, asked.ticket, req, context);
    const identity = shown instanceof Promise ? await shown : shown;
    authorize(route, params, identity);
    principal = identity.principal;
    lease.begin(identity, context.services.vigil);
    context.rates?.know(principal.id, started);
    if (!context.services.accepting()) throw new SkaldError("UNAVAILABLE", "The server is shutting down.");
    context.load.enterRequest();
    entered = true;
    if (route.job) leave = context.load.enterJob(principal.id);
    const query = readQuery(route, asked.search);
    if (route.stays?.(query, req.headers.accept) === true) {
      leave = context.load.enterStream(principal.id);
      entered = false;
      context.load.leaveRequest(held);
    }
    const body = await readBody(route, req, context.load, held);
    const call = callOf(identity, params, query, body, req, requestId, address, lease, context);
    answer = await route.handle(call);
    if (route.noted !== undefined) await noteRoute(route.noted, call, answer);
    if (isStream(answer.body) && req.method !== "HEAD")
      answer = { ...answer, body: await begun(answer.body) };
    else holdUntilOut(answer.body, res, context.load);
  } catch (thrown) {
    // What was broken off because of that fails in ways of its own.
    const error =
      lease.lost && !isSkaldError(thrown)
        ? credentialEnded()
        : refusalOf(thrown, route.path, address, requestId, req, context);
    answer = problemOf(error, requestId);
    code = isSkaldError(error) ? error.code : "INTERNAL";
    if (answer.status >= 500) context.log.failure(error, requestId);
  }
  // Of one that stays for hours, what counts is how soon it began.
  const ms = answer.live ? world.monotonic() - started : undefined;
  if (context.cors) answer = context.cors.onto(answer, req);
  try {
    if (lease.answered) {
      await letGo(answer, res);
      code = "UNAUTHENTICATED";
    } else {
      const rates = context.rates?.headers(principal?.id ?? "", address, route.path, started);
      const more = [...(rates ?? []), ...transportSecurity(req, context.trusted)];
      await send(answer, requestId, req, res, !context.services.accepting(), world, more);
    }
  } catch (error) {
    // A stream that broke off midway: its client sees that it has no end, and why is in the log alone.
    if (!isGone(error)) context.log.failure(error, requestId);
    res.destroy();
  }
  lease.over();
  leave?.();
  if (entered) context.load.leaveRequest(held);
  else context.load.release(held);
  context.log.request({
    id: requestId,
    method: route.method,
    route: route.path,
    status: lease.answered ? 401 : answer.status,
    ms: ms ?? world.monotonic() - started,
    principal: principal?.subject ?? "",
    ...(code === undefined ? {} : { code }),
  });
}

async function noteRoute(action: string, call: Call, { status }: Answer): Promise<void> {
  if (status >= 400 || call.query["dry_run"] === "true") return;
  const { db: _, ...names } = call.params;
  const detail = Object.values(names).join("/");
  await noted(call, action, detail === "" ? {} : { detail });
}

/**
 * What is answered in the place of what was thrown: a credential that does not hold is noted, and when its address has
 * shown too many of them it hears that alone.
 */
export function refusalOf(
  error: unknown,
  path: string,
  address: string,
  request_id: string,
  req: IncomingMessage,
  { rates, services }: Pick<DispatchContext, "rates" | "services">,
): unknown {
  if (!isSkaldError(error) || error.status !== 401) return error;
  const shown = req.headers.authorization !== undefined || error.code === "TICKET_INVALID";
  if (!shown && !isSigningIn(path)) return error;
  services.audit.count({
    principal: "nobody",
    action: "auth.refuse",
    detail: error.code,
    address,
    request_id,
  });
  try {
    rates?.refuse(address, services.world.monotonic());
  } catch (limited) {
    return limited;
  }
  return error;
}

/** Counts a large answer for as long as its client has not taken it. Throws UNAVAILABLE. */
function holdUntilOut(body: Answer["body"], res: ServerResponse, load: Load): void {
  const bytes = typeof body === "string" || body instanceof Uint8Array ? body.length : 0;
  if (bytes < COUNTED_FROM) return;
  const held = { bytes: 0 };
  load.hold(held, bytes);
  res.once("close", () => load.release(held));
}

/** What the kernel takes off our hands at once is not worth counting. */
const COUNTED_FROM = 64 * 1024;

/** Answers a request that no route takes. `path` is that of the routes which would take another method. */
export async function refuse(
  error: unknown,
  path: string,
  req: IncomingMessage,
  res: ServerResponse,
  context: DispatchContext,
): Promise<void> {
  const id = requestIdOf(req, context);
  let told = error;
  try {
    // Paths that no route has count as what they are.
    const [asked = ""] = (req.url ?? "").split("?", 1);
    context.rates?.enter(clientOf(req, context), asked, context.services.world.monotonic());
  } catch (limited) {
    told = limited;
  }
  const answer = problemOf(told, id);
  if (answer.status >= 500) context.log.failure(told, id);
  await reply(
    context.cors?.onto(answer, req) ?? answer,
    path,
    id,
    req,
    res,
    context,
    isSkaldError(told) ? told.code : "INTERNAL",
  );
}

/** `OPTIONS` of a path that has routes. */
export function tellMethods(
  allow: string,
  path: string,
  req: IncomingMessage,
  res: ServerResponse,
  context: DispatchContext,
): Promise<void> {
  const answer: Answer = { status: 204, headers: { allow } };
  return reply(
    context.cors?.preflight(answer, allow, req) ?? answer,
    path,
    requestIdOf(req, context),
    req,
    res,
    context,
  );
}

async function reply(
  answer: Answer,
  path: string,
  id: string,
  req: IncomingMessage,
  res: ServerResponse,
  context: DispatchContext,
  code?: string,
): Promise<void> {
  const more = transportSecurity(req, context.trusted);
  await send(answer, id, req, res, !context.services.accepting(), context.services.world, more);
  context.log.request({
    id,
    method: req.method ?? "",
    route: path,
    status: answer.status,
    ms: 0,
    principal: "",
    ...(code === undefined ? {} : { code }),
  });
}

function isStream(body: Answer["body"]): body is AsyncIterable<string | Uint8Array> {
  return body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array);
}

/** Throws TOKEN_IN_URL. */
export function withoutTicket(search: string): { search: string; ticket: string | undefined } {
  if (!/(?:^|&)(?:ticket|token|access_token)=/.test(search)) return { search, ticket: undefined };
  const params = new URLSearchParams(search);
  if (params.has("token") || params.has("access_token")) throw tokenInUrl();
  const ticket = params.get("ticket") ?? undefined;
  params.delete("ticket");
  return { search: params.toString(), ticket };
}

function identityFor(
  route: Route,
  params: Params,
  ticket: string | undefined,
  req: IncomingMessage,
  context: DispatchContext,
): Identity | Promise<Identity> {
  if (route.access === "public") return NOBODY;
  const found = identify(
    req,
    context,
    ticket === undefined
      ? undefined
      : { ticket, db: checkDbId(params["db"] ?? ""), action: route.access as Action },
  );
  return found instanceof Promise ? found.then(somebody) : somebody(found);
}

function somebody(identity: Identity | undefined): Identity {
  if (!identity) throw new SkaldError("UNAUTHENTICATED", "This route needs a token.");
  return identity;
}

/** Throws FORBIDDEN, NAME_INVALID. */
function authorize(route: Route, params: Params, { principal }: Identity): void {
  if (route.access === "public" || route.access === "any") return;
  const db = params["db"];
  if (db !== undefined) checkDbId(db);
  const allowed =
    route.partial && db !== undefined
      ? prefixesFor(principal, route.access, db) !== "none"
      : allows(principal, route.access, db, route.resource?.(params));
  if (db === AUDIT_DB && route.keepsLog === true && mayTend(principal, route.access)) return;
  if (!allowed && !route.or?.some((action) => allows(principal, action, db))) {
    throw notAllowed(principal, route.access, db, route.resource !== undefined);
  }
}

/** Whether somebody may do to the server's own dbs what leaves their logs as they are. */
function mayTend(principal: Principal, action: Action): boolean {
  return allows(principal, action, undefined) && allows(principal, "admin.audit", undefined);
}

/** Where a request comes from. */
export function clientOf(req: IncomingMessage, { ambient, trusted }: DispatchContext): string {
  return ambient ? LOCAL : addressOf(req, trusted);
}

/** Says so when it is only a prefix that stands in the way of what concerns the whole db. */
export function notAllowed(
  principal: Principal,
  action: Action,
  db: string | undefined,
  named = false,
): SkaldError {
  const where = db === undefined ? "" : ` on the db ${db}`;
  const limited = !named && db !== undefined && Array.isArray(prefixesFor(principal, action, db));
  return new SkaldError(
    "FORBIDDEN",
    limited
      ? `The token allows ${action}${where} under a prefix only, and this concerns the whole db.`
      : `The token does not allow ${action}${where}.`,
    { details: { action, ...(db === undefined ? {} : { db }) } },
  );
}

const NOBODY: Identity = {
  principal: { id: "", subject: "", scopes: [] },
  by: "nobody",
  alive: () => true,
};

function callOf(
  identity: Identity,
  params: Params,
  query: Readonly<Record<string, unknown>>,
  body: Body,
  req: IncomingMessage,
  requestId: string,
  address: string,
  lease: Lease,
  { services, staying, load, log }: DispatchContext,
): Call {
  return {
    services,
    identity,
    principal: identity.principal,
    params,
    query,
    body,
    requestId,
    headers: req.headers,
    address,
    header: (name) => {
      const value = req.headers[name];
      return Array.isArray(value) ? value.join(", ") : value;
    },
    get signal() {
      return lease.signal;
    },
    onLost: (work) => lease.politely(work),
    isHead: req.method === "HEAD",
    limits: load.limits,
    failed: (error) => log.failure(error, requestId),
    onStop: (work) => {
      staying.add(work);
      return () => staying.delete(work);
    },
    db: (work) => services.engine.use(params["db"] ?? "", work),
  };
}

const REQUEST_ID = new RegExp(`^[A-Za-z0-9._:-]{1,${LIMITS.http.requestIdCharacters.value}}$`);

/** Names for requests that bring none: unlike those of any other start. */
export function requestNames(world: World): () => string {
  const start = toHex(world.random(3));
  let requests = 0;
  return () => `${start}-${(requests += 1).toString(36)}`;
}

export function requestIdOf(req: IncomingMessage, context: DispatchContext): string {
  const given = req.headers["x-request-id"];
  if (typeof given === "string" && REQUEST_ID.test(given)) return given;
  return context.nextName();
}
