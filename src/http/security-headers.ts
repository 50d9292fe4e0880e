import type { IncomingMessage } from "node:http";
import { isSecure, type TrustedProxies } from "./address.ts";

/**
 * Headers that keep browsers from making more of an answer than it is. They are set here and nowhere else, for
 * whichever way an answer goes out: `send` for routes, `refuseOn` for what is refused on the bare connection.
 *
 * Not helmet: the hottest routes do not pass Express, its fifteen calls of `setHeader` would cost a point read a
 * tenth, and most of what it sets is for pages, of which there are two kinds.
 */
export const ALWAYS: readonly string[] = [
  // An answer is what its type says: documents of others are in it.
  "x-content-type-options",
  "nosniff",
  // A page of another site can load nothing from here; one that is let in by CORS reads it by a request of CORS.
  "cross-origin-resource-policy",
  "same-origin",
  // Opened in a window, an answer shares that with no page of another site.
  "cross-origin-opener-policy",
  "same-origin",
  // Paths name dbs and documents, which concern nobody elsewhere.
  "referrer-policy",
  "no-referrer",
  // For browsers that do not know `frame-ancestors`.
  "x-frame-options",
  "DENY",
];

/** Of everything that is not a page: nothing in it runs, and nobody frames it. */
export const POLICY = "default-src 'none'; frame-ancestors 'none'";

/** Once a browser has come by TLS, it does so for two years; only said to those who have. */
const HSTS: readonly string[] = ["strict-transport-security", "max-age=63072000"];
const NONE: readonly string[] = [];

export function transportSecurity(
  req: IncomingMessage,
  trusted: TrustedProxies | undefined,
): readonly string[] {
  return isSecure(req, trusted) ? HSTS : NONE;
}

/**
 * What a page of ours may, on top of `ALWAYS`: scripts and styles of files that are served from here, requests to
 * here, and nothing else; there is no inline script or style. `connect-src 'self'` takes WebSockets to the same host in
 * browsers of today. What is put into the page as markup has to come from Svelte's compiled templates: everything else
 * throws.
 */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types svelte-trusted-html",
  ].join("; "),
  "permissions-policy":
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
};
