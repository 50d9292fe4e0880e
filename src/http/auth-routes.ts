import * as z from "zod";
import { bearerToken } from "../auth/bearer.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { AuthInfo, LoggedOut, Logout, Me, TokenLogin } from "../protocol/auth-wire.ts";
import { meOf } from "./me.ts";
import { entryOf, noted } from "./noted.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";
import { checkNotElsewhere, isSecure, publicBase, readCookie, setCookie } from "./session-cookie.ts";

const tag = "signing in";
/** Where the dashboard is, and where a browser goes that says nothing else. */
const HOME = "/_/";
const NO_STORE = { "cache-control": "no-store" };

/** Mounted at the root, not below /api/v1. */
export const authRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/auth/info",
    summary: "How one can sign in here",
    tag,
    access: "public",
    answers: { 200: { description: "What a login page shows.", types: { "application/json": AuthInfo } } },
    handle: ({ services: { signin, version } }) =>
      json(200, {
        oidc: signin.name === undefined ? null : { name: signin.name },
        dev: signin.dev ?? null,
        version,
      }),
  },
  {
    method: "GET",
    path: "/auth/me",
    summary: "Who the caller is, and what that one may",
    tag,
    access: "any",
    answers: { 200: { description: "Of the moment.", types: { "application/json": Me } } },
    handle: ({ services, identity }) => json(200, meOf(services, identity), NO_STORE),
  },
  {
    method: "GET",
    path: "/auth/oidc/login",
    summary: "Log in with the identity provider",
    description: "For a browser, which is sent there and comes back to `next`, a path of this server.",
    tag,
    access: "public",
    query: z.object({ next: z.string().max(LIMITS.signin.nextCharacters.value).optional() }),
    answers: {
      303: { description: "To the identity provider." },
      404: { description: "There is none." },
    },
    handle: login,
  },
  {
    method: "GET",
    path: "/auth/oidc/callback",
    summary: "Where the identity provider sends the browser back to",
    description: "Errors are problem documents, or the dashboard's login page for who asks for HTML.",
    tag,
    access: "public",
    // A provider may add to what it answers.
    query: z
      .object({
        code: z.string().optional(),
        state: z.string().optional(),
        iss: z.string().optional(),
        error: z.string().optional(),
      })
      .catchall(z.unknown()),
    answers: {
      303: { description: "Signed in; to where the login began." },
      400: { description: "Not the answer to a login of this browser." },
      403: { description: "What the provider said does not hold." },
    },
    handle: callback,
  },
  {
    method: "POST",
    path: "/auth/token",
    summary: "Open a session with a token",
    description: "For the dashboard. The session ends with the token.",
    tag,
    access: "public",
    body: { types: { "application/json": TokenLogin } },
    answers: { 204: { description: "The cookie is set." }, 401: { description: "The token is not valid." } },
    handle: tokenLogin,
  },
  {
    method: "POST",
    path: "/auth/logout",
    summary: "End the session",
    tag,
    access: "any",
    body: { types: { "application/json": Logout } },
    answers: { 200: { description: "Ended.", types: { "application/json": LoggedOut } } },
    handle: logout,
  },
];

async function login(call: Call): Promise<Answer> {
  const { services, headers } = call;
  const { signin, publicUrl } = services;
  const next = checkedNext((call.query["next"] as string | undefined) ?? HOME);
  try {
    const { location, login: cookie } = await signin.begin(publicBase(headers, publicUrl), next);
    const seconds = LIMITS.signin.loginMs.value / 1000;
    return {
      status: 303,
      headers: { location, ...NO_STORE },
      cookies: [setCookie("skald-login", cookie, isSecure(headers, publicUrl), seconds)],
    };
  } catch (error) {
    return toLoginPage(error, call);
  }
}

async function callback(call: Call): Promise<Answer> {
  const { services, headers } = call;
  const secure = isSecure(headers, services.publicUrl);
  try {
    const query = Object.fromEntries(
      Object.entries(call.query).map(([name, value]) => [
        name,
        typeof value === "string" ? value : undefined,
      ]),
    );
    const who = await services.signin.finish(query, readCookie(headers, "skald-login", secure));
    const person = services.people.seen(who);
    const { id, cookie } = await openSession(call, { person: person.id });
    services.signin.remember(id, who.idToken);
    return {
      status: 303,
      headers: { location: who.next, ...NO_STORE },
      cookies: [cookie, setCookie("skald-login", "", secure, 0)],
    };
  } catch (error) {
    return toLoginPage(error, call);
  }
}

async function tokenLogin(call: Call): Promise<Answer> {
  const { services, headers } = call;
  checkNotElsewhere(headers, services.publicUrl);
  const { token: text } = call.body.value as z.infer<typeof TokenLogin>;
  // As in a header, so that what is no token there is none here. What is pasted comes with spaces.
  const token = bearerToken(`Bearer ${text.trim()}`);
  const principal = token === undefined ? undefined : services.tokens.verify(token);
  if (!principal) {
    throw new SkaldError("UNAUTHENTICATED", "The token is not valid: unknown, expired or revoked.");
  }
  const { cookie } = await openSession(call, { token: principal.id });
  return { status: 204, headers: NO_STORE, cookies: [cookie] };
}

async function logout(call: Call): Promise<Answer> {
  const { services, identity, headers } = call;
  const { sessions, signin, publicUrl } = services;
  const { everywhere } = call.body.value as z.infer<typeof Logout>;
  const { principal, session } = identity;
  const idToken = session === undefined ? undefined : signin.forget(session);
  if (everywhere === true) {
    sessions.closeAll(principal.id.startsWith("per_") ? { person: principal.id } : { token: principal.id });
  }
  if (session !== undefined) sessions.close(session);
  await noted(call, "session.close", { detail: everywhere === true ? "everywhere" : (session ?? "none") });
  const redirect = principal.id.startsWith("per_")
    ? await signin.endSession(homeOf(call), idToken)
    : undefined;
  return {
    ...json(200, { redirect: redirect ?? null }, NO_STORE),
    cookies: [setCookie("skald", "", isSecure(headers, publicUrl), 0)],
  };
}

/** Where a browser finds the dashboard; undefined: nobody knows, and then it finds back by itself. */
function homeOf({ headers, services }: Call): string | undefined {
  try {
    return publicBase(headers, services.publicUrl) + HOME;
  } catch (error) {
    if (isSkaldError(error)) return undefined;
    throw error;
  }
}

/** A new session in the place of the one that the browser may have: an id from before a login never lives on. */
async function openSession(
  call: Call,
  whose: { person: string } | { token: string },
): Promise<{ id: string; cookie: string }> {
  const { services, headers } = call;
  const { sessions, publicUrl } = services;
  const secure = isSecure(headers, publicUrl);
  const old = sessions.find(readCookie(headers, "skald", secure) ?? "");
  const { id, cookie } = sessions.open(whose, { address: call.address, agent: headers["user-agent"] ?? "" });
  if (old) sessions.close(old.id);
  const principal =
    "person" in whose
      ? (services.people.principal(whose.person) ?? whose.person)
      : (services.tokens.live(whose.token) ?? whose.token);
  await call.services.audit.note({ ...entryOf(call, "session.open", { detail: id }), principal });
  return { id, cookie: setCookie("skald", cookie, secure, Math.floor(sessions.lifeMs / 1000)) };
}

/** Only ever a path of this server. Throws BAD_REQUEST. */
function checkedNext(next: string): string {
  const here = "http://here.invalid";
  const sound = /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(next) && URL.canParse(next, here);
  if (sound && new URL(next, here).origin === here) return next;
  throw new SkaldError("BAD_REQUEST", "`next` is a path of this server, such as /_/.");
}

/** Somebody who sees a page is told there; a program gets the problem itself. */
function toLoginPage(error: unknown, call: Call): Answer {
  if (!isSkaldError(error) || call.headers.accept?.includes("text/html") !== true) throw error;
  if (error.status >= 500) call.failed(error);
  const query = new URLSearchParams({ error: error.code, request: call.requestId });
  return { status: 303, headers: { location: `${HOME}#/login?${query.toString()}`, ...NO_STORE } };
}
