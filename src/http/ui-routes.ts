import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { sha256Hex } from "../ids/hash.ts";
import { notModified } from "./etag.ts";
import type { Answer, Call, Route } from "./route.ts";
import { PAGE_HEADERS } from "./security-headers.ts";

/**
 * The dashboard: files that `src/ui/build.mjs` made, each also compressed beforehand, given out as they are. They
 * are the same for everybody and hold nothing of anybody's, so they need no credential.
 */
const FOLDER = path.resolve(import.meta.dirname, "../../dist/ui");
const HOME = "/_/";
const tag = "dashboard";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

export const uiRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/",
    summary: "To the dashboard, for browsers",
    tag,
    access: "public",
    answers: { 302: { description: "To `/_/`, when HTML is asked for." } },
    handle: (call) => {
      if (!/\btext\/html\b/.test(call.header("accept") ?? ""))
        throw new SkaldError("NOT_FOUND", "There is no such route.");
      return toHome(302);
    },
  },
  redirect("/_"),
  redirect("/_utils"),
  {
    method: "GET",
    path: HOME,
    exact: true,
    summary: "The dashboard",
    tag,
    access: "public",
    answers: {
      200: { description: "Its page.", types: { "text/html": "raw" } },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) => give(call, "index.html"),
  },
  {
    method: "GET",
    path: "/_/:file",
    summary: "A file of the dashboard",
    tag,
    access: "public",
    answers: {
      200: {
        description: "The file, for ever: its name says what is inside.",
        types: { "text/javascript": "raw", "text/css": "raw", "image/svg+xml": "raw" },
      },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) => give(call, call.params["file"] as string),
  },
];

function redirect(from: string): Route {
  return {
    method: "GET",
    path: from,
    exact: true,
    summary: "To the dashboard",
    tag,
    access: "public",
    answers: { 308: { description: "To `/_/`." } },
    handle: () => toHome(308),
  };
}

function toHome(status: number): Answer {
  return { status, headers: { location: HOME, vary: "accept" } };
}

type Form = "br" | "gz" | "";

interface Kept {
  readonly bytes: Buffer;
  readonly etag: string;
}

/** What was given out stays in memory: all of it is some hundred kilobytes. */
const kept = new Map<string, Kept>();
let names: ReadonlySet<string> | undefined;

function give(call: Call, name: string): Answer {
  names ??= new Set(existsSync(FOLDER) ? readdirSync(FOLDER) : []);
  const type = TYPES[path.extname(name)];
  // Only names that are listed are ever joined to the folder.
  if (!type || !names.has(name)) {
    throw name === "index.html"
      ? new SkaldError("NOT_FOUND", "The dashboard is not built.", { hint: "Run `npm run build`." })
      : new SkaldError("NOT_FOUND", "There is no such file of the dashboard.");
  }
  const form = formFor(call.header("accept-encoding") ?? "");
  const { bytes, etag } = read(form === "" ? name : `${name}.${form}`);
  const headers = {
    "content-type": type,
    ...PAGE_HEADERS,
    vary: "accept-encoding",
    etag,
    ...(name === "index.html" ? {} : { "cache-control": "public, max-age=31536000, immutable" }),
  };
  if (notModified(call.header("if-none-match"), etag)) return { status: 304, headers };
  return {
    status: 200,
    headers: form === "" ? headers : { ...headers, "content-encoding": form === "gz" ? "gzip" : "br" },
    body: bytes,
  };
}

function read(file: string): Kept {
  let found = kept.get(file);
  if (!found) {
    const bytes = readFileSync(path.join(FOLDER, file));
    found = { bytes, etag: `"${sha256Hex(bytes).slice(0, 24)}"` };
    kept.set(file, found);
  }
  return found;
}

/** The smallest form that the client takes; one that it gives the quality 0 it does not. */
function formFor(accepted: string): Form {
  const takes = (name: string): boolean =>
    new RegExp(`(?:^|,)\\s*${name}\\s*(?:;(?!\\s*q=0(?:\\.0*)?\\s*(?:,|$))[^,]*)?(?:,|$)`, "i").test(
      accepted,
    );
  if (takes("br")) return "br";
  return takes("gzip") ? "gz" : "";
}
