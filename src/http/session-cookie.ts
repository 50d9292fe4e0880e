import type { IncomingHttpHeaders } from "node:http";
import { isLoopback } from "../auth/loopback.ts";
import { SkaldError } from "../errors.ts";

/**
 * The cookies of this server, and what a browser has to show beside them. A browser sends a cookie whoever wrote
 * the page that asks, so a cookie by itself vouches for nothing that changes something or stays open.
 */
export type CookieName = "skald" | "skald-login";

type Headers = Readonly<IncomingHttpHeaders>;

/** Whether browsers reach this server over TLS: as it was set, or as the proxy in front of it says. */
export function isSecure(headers: Headers, publicUrl: string | undefined): boolean {
  if (publicUrl !== undefined) return publicUrl.startsWith("https:");
  // Not to be trusted, nor does it have to be: who makes it up gets a cookie that does not come back.
  const said = headers["x-forwarded-proto"];
  return typeof said === "string" && /^\s*https\s*(?:,|$)/i.test(said);
}

/**
 * The value of a cookie. Over TLS only that with the prefix counts, which no other host and no plain page of this one
 * can set: otherwise somebody could put a session of his own under that of another.
 */
export function readCookie(headers: Headers, name: CookieName, secure: boolean): string | undefined {
  const { cookie } = headers;
  if (cookie === undefined) return undefined;
  const wanted = `${fullName(name, secure)}=`;
  for (const part of cookie.split(";")) {
    const text = part.trim();
    if (text.startsWith(wanted)) return text.slice(wanted.length);
  }
  return undefined;
}

/** A `Set-Cookie` without an end of its own, or with one in seconds; 0 takes it away. */
export function setCookie(
  name: CookieName,
  value: string,
  secure: boolean,
  seconds: number | undefined,
): string {
  const age = seconds === undefined ? "" : `; Max-Age=${seconds}`;
  return `${fullName(name, secure)}=${value}; Path=/${age}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}

const fullName = (name: CookieName, secure: boolean): string => (secure ? `__Host-${name}` : name);

/** Reading of a document, which a link from elsewhere may lead to. */
const SAFE: ReadonlySet<string | undefined> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Throws CSRF_REFUSED for a request with a cookie that a page of another origin may have caused: what changes
 * something and every socket needs proof of the contrary; what reads is refused when it is known to come from
 * elsewhere and is no link that somebody follows.
 */
export function checkSameOrigin(
  method: string | undefined,
  headers: Headers,
  publicUrl: string | undefined,
): void {
  const site = headers["sec-fetch-site"];
  if (SAFE.has(method) && headers.upgrade === undefined) {
    const elsewhere = site === "cross-site" || site === "same-site";
    if (elsewhere && headers["sec-fetch-mode"] !== "navigate") throw refused();
    return;
  }
  if (site === undefined ? !isOwnOrigin(headers, publicUrl) : site !== "same-origin") throw refused();
}

/** Throws CSRF_REFUSED when a browser says that a page of another origin asks; programs say nothing. */
export function checkNotElsewhere(headers: Headers, publicUrl: string | undefined): void {
  const site = headers["sec-fetch-site"];
  if (
    site !== undefined
      ? site !== "same-origin"
      : headers.origin !== undefined && !isOwnOrigin(headers, publicUrl)
  )
    throw refused();
}

function isOwnOrigin(headers: Headers, publicUrl: string | undefined): boolean {
  const { origin, host } = headers;
  if (origin === undefined || !URL.canParse(origin)) return false;
  const url = new URL(origin);
  if (publicUrl !== undefined && url.origin === publicUrl) return true;
  if (host === undefined || url.host !== host.toLowerCase()) return false;
  // Where there is TLS, a page without is somebody else's: whoever sits on the wire writes it.
  return (
    url.protocol === "https:" ||
    (url.protocol === "http:" && (!isSecure(headers, publicUrl) || isLoopback(url.hostname)))
  );
}

function refused(): SkaldError {
  return new SkaldError("CSRF_REFUSED", "The request did not come from a page of this server.");
}

/**
 * The origin under which a browser has this server. Without a setting that is what the request says, and on loopback
 * only: elsewhere whoever asks could have the provider send the answer to a host of his own. Throws PUBLIC_URL_MISSING.
 */
export function publicBase(headers: Headers, publicUrl: string | undefined): string {
  if (publicUrl !== undefined) return publicUrl;
  const base = `http://${headers.host ?? ""}`;
  if (URL.canParse(base)) {
    const url = new URL(base);
    if (isLoopback(url.hostname) && url.origin === base.toLowerCase()) return url.origin;
  }
  throw new SkaldError(
    "PUBLIC_URL_MISSING",
    "This server does not know the address that browsers have of it.",
  );
}
