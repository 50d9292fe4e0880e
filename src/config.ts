import { readFileSync } from "node:fs";
import path from "node:path";
import { SkaldError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

/** Everything that can be set from outside. Flags win over the environment, which wins over defaults. */
export interface Config {
  readonly dir: string;
  readonly host: string;
  readonly port: number;
  readonly logLevel: LogLevel;
  readonly workers: number | undefined;
  readonly connections: number;
  /** Whose pages may use the server; `*` for all. */
  readonly corsOrigin: readonly string[];
  /** Names of this server beside its own, to which capabilities may be made out. */
  readonly audience: readonly string[];
  readonly openDbs: number;
  readonly cacheMb: number;
  readonly reserveMb: number;
  readonly scrubDays: number;
  /** Processes that run SQL. */
  readonly queryProcesses: number;
  /** What one statement may take of memory. */
  readonly queryMemoryMb: number;
  /** Whether commits are signed: when the directory has a key, also by making one, or never. */
  readonly sign: "auto" | "always" | "never";
  /** The proxies whose word on where a request comes from counts; undefined: none. */
  readonly trustProxy:
    { readonly header: "x-forwarded-for" | "forwarded"; readonly hops: number } | undefined;
  /** Requests a minute, 0 for any number. */
  readonly rateTotal: number;
  readonly rateToken: number;
  readonly rateAddress: number;
  readonly rateRefused: number;
  readonly rateSignIn: number;
  /** The db that anybody syncs at `/`; undefined: none. */
  readonly syncRoot: string | undefined;
  /** With whom people log in; undefined: they cannot. */
  readonly oidcIssuer: string | undefined;
  readonly oidcClientId: string | undefined;
  /** Undefined: a public client. */
  readonly oidcClientSecret: string | undefined;
  readonly oidcAdminClaim: { readonly claim: string; readonly value: string } | undefined;
  /** Whom the issuer calls by these is an admin. */
  readonly oidcAdmins: readonly string[];
  /** The origin that browsers have of this server; undefined: what they say, on loopback only. */
  readonly publicUrl: string | undefined;
  readonly sessionIdleHours: number;
  readonly sessionDays: number;
}

export type LogLevel = "silent" | "fatal" | "error" | "warn" | "info" | "debug";

export interface Setting {
  readonly name: keyof Config;
  readonly flag: string;
  readonly env: string;
  readonly fallback: string;
  readonly help: string;
}

/** The one list of settings: flags, environment, defaults and help are made from it. */
export const SETTINGS: readonly Setting[] = [
  { name: "dir", flag: "--dir <path>", env: "SKALD_DIR", fallback: "./skald_data", help: "data directory" },
  {
    name: "host",
    flag: "--host <address>",
    env: "SKALD_HOST",
    fallback: "127.0.0.1",
    help: "address to listen on",
  },
  {
    name: "port",
    flag: "--port <number>",
    env: "SKALD_PORT",
    fallback: "7600",
    help: "port to listen on, 0 for any",
  },
  {
    name: "logLevel",
    flag: "--log-level <level>",
    env: "SKALD_LOG_LEVEL",
    fallback: "warn",
    help: "silent, fatal, error, warn, info or debug",
  },
  {
    name: "workers",
    flag: "--workers <number>",
    env: "SKALD_WORKERS",
    fallback: "auto",
    help: "threads for Automerge work",
  },
  {
    name: "connections",
    flag: "--connections <number>",
    env: "SKALD_CONNECTIONS",
    fallback: String(LIMITS.http.connections.value),
    help: "connections taken at once",
  },
  {
    name: "corsOrigin",
    flag: "--cors-origin <origins>",
    env: "SKALD_CORS_ORIGIN",
    fallback: "none",
    help: "origins whose pages may use the server, such as https://app.example.com, comma between them; * for all",
  },
  {
    name: "audience",
    flag: "--audience <dids>",
    env: "SKALD_AUDIENCE",
    fallback: "none",
    help: "dids beside the server's own that capabilities may be made out to, comma between them",
  },
  {
    name: "trustProxy",
    flag: "--trust-proxy <hops>",
    env: "SKALD_TRUST_PROXY",
    fallback: "0",
    help: "proxies in front whose X-Forwarded-For counts, or forwarded:<hops> for Forwarded; others could lie about where they come from",
  },
  {
    name: "rateTotal",
    flag: "--rate-total <number>",
    env: "SKALD_RATE_TOTAL",
    fallback: String(LIMITS.http.rateTotal.value),
    help: "requests a minute to this server, 0 for any number",
  },
  {
    name: "rateToken",
    flag: "--rate-token <number>",
    env: "SKALD_RATE_TOKEN",
    fallback: String(LIMITS.http.rateToken.value),
    help: "requests a minute of one token or person, 0 for any number",
  },
  {
    name: "rateAddress",
    flag: "--rate-address <number>",
    env: "SKALD_RATE_ADDRESS",
    fallback: String(LIMITS.http.rateAddress.value),
    help: "requests a minute from one address, 0 for any number",
  },
  {
    name: "rateRefused",
    flag: "--rate-refused <number>",
    env: "SKALD_RATE_REFUSED",
    fallback: String(LIMITS.http.rateRefused.value),
    help: "credentials a minute from one address that do not hold, 0 for any number",
  },
  {
    name: "rateSignIn",
    flag: "--rate-sign-in <number>",
    env: "SKALD_RATE_SIGN_IN",
    fallback: String(LIMITS.http.rateSignIn.value),
    help: "requests a minute from one address to sign in, 0 for any number",
  },
  {
    name: "openDbs",
    flag: "--open-dbs <number>",
    env: "SKALD_OPEN_DBS",
    fallback: "64",
    help: "dbs kept open at once",
  },
  {
    name: "cacheMb",
    flag: "--cache-mb <number>",
    env: "SKALD_CACHE_MB",
    fallback: "16",
    help: "memory for documents' JSON, in MiB",
  },
  {
    name: "reserveMb",
    flag: "--reserve-mb <number>",
    env: "SKALD_RESERVE_MB",
    fallback: "32",
    help: "disk to leave free, in MiB",
  },
  {
    name: "scrubDays",
    flag: "--scrub-days <number>",
    env: "SKALD_SCRUB_DAYS",
    fallback: "7",
    help: "days in which every byte of every db is read and checked once, 0 for never",
  },
  {
    name: "queryProcesses",
    flag: "--query-processes <number>",
    env: "SKALD_QUERY_PROCESSES",
    fallback: "2",
    help: "processes that run SQL; they start with the first statement",
  },
  {
    name: "queryMemoryMb",
    flag: "--query-memory-mb <number>",
    env: "SKALD_QUERY_MEMORY_MB",
    fallback: "256",
    help: "memory that an SQL statement may take, in MiB",
  },
  {
    name: "sign",
    flag: "--sign <when>",
    env: "SKALD_SIGN",
    fallback: "auto",
    help: "sign commits: auto (when there is a key, see `skald key`), always (makes one) or never",
  },
  {
    name: "syncRoot",
    flag: "--sync-root <db>",
    env: "SKALD_SYNC_ROOT",
    fallback: "none",
    help: "db that Automerge clients sync at /, WITHOUT any credential: whoever knows a document's URL reads and writes it",
  },
  {
    name: "oidcIssuer",
    flag: "--oidc-issuer <url>",
    env: "SKALD_OIDC_ISSUER",
    fallback: "none",
    help: "identity provider (OpenID Connect) with which people log in",
  },
  {
    name: "oidcClientId",
    flag: "--oidc-client-id <id>",
    env: "SKALD_OIDC_CLIENT_ID",
    fallback: "none",
    help: "what the provider calls this server; its secret is in SKALD_OIDC_CLIENT_SECRET, or in the file that SKALD_OIDC_CLIENT_SECRET_FILE names",
  },
  {
    name: "oidcAdminClaim",
    flag: "--oidc-admin-claim <claim=value>",
    env: "SKALD_OIDC_ADMIN_CLAIM",
    fallback: "none",
    help: "whom the provider gives this is an admin, such as groups=skald-admins",
  },
  {
    name: "oidcAdmins",
    flag: "--oidc-admins <subjects>",
    env: "SKALD_OIDC_ADMINS",
    fallback: "none",
    help: "subjects (`sub`) of people who are admins, comma between them",
  },
  {
    name: "publicUrl",
    flag: "--public-url <url>",
    env: "SKALD_PUBLIC_URL",
    fallback: "none",
    help: "origin that browsers have of this server, such as https://skald.example.com; needed for logging in anywhere but on loopback",
  },
  {
    name: "sessionIdleHours",
    flag: "--session-idle-hours <number>",
    env: "SKALD_SESSION_IDLE_HOURS",
    fallback: "12",
    help: "hours without a request after which a session ends",
  },
  {
    name: "sessionDays",
    flag: "--session-days <number>",
    env: "SKALD_SESSION_DAYS",
    fallback: "7",
    help: "days after which a session ends in any case",
  },
];

/** Not in the list: a secret is never a flag, which everybody on the machine can read. */
const CLIENT_SECRET = "SKALD_OIDC_CLIENT_SECRET";

const most = LIMITS.setting;
const LEVELS: readonly string[] = ["silent", "fatal", "error", "warn", "info", "debug"];

/** Reads the settings. Throws BAD_REQUEST naming the setting that is wrong. */
export function readConfig(
  flags: Readonly<Record<string, string | undefined>> = {},
  env: Readonly<Record<string, string | undefined>> = process.env,
): Config {
  const value = (name: keyof Config): string => {
    const setting = SETTINGS.find((candidate) => candidate.name === name) as Setting;
    return flags[name] ?? (env[setting.env] || setting.fallback);
  };
  const whole = (name: keyof Config, least: number, most: number): number => {
    const text = value(name);
    if (!/^\d{1,9}$/.test(text) || Number(text) < least || Number(text) > most) {
      throw wrong(name, `a whole number from ${least} to ${most}`, text);
    }
    return Number(text);
  };
  const optional = (name: keyof Config): string | undefined =>
    value(name) === "none" ? undefined : value(name);
  if (optional("oidcIssuer") !== undefined && optional("oidcClientId") === undefined) {
    throw wrong("oidcClientId", "what the provider calls this server, when there is an issuer", "none");
  }
  const logLevel = value("logLevel");
  if (!LEVELS.includes(logLevel)) throw wrong("logLevel", LEVELS.join(", "), logLevel);
  const sign = value("sign");
  if (sign !== "auto" && sign !== "always" && sign !== "never")
    throw wrong("sign", "auto, always or never", sign);
  const syncRoot = value("syncRoot");
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(syncRoot)) throw wrong("syncRoot", "a db id, or none", syncRoot);
  return {
    sign,
    syncRoot: syncRoot === "none" ? undefined : syncRoot,
    dir: path.resolve(value("dir")),
    host: value("host"),
    port: whole("port", 0, most.port.value),
    logLevel: logLevel as LogLevel,
    workers: value("workers") === "auto" ? undefined : whole("workers", 1, most.workers.value),
    connections: whole("connections", 1, most.connections.value),
    corsOrigin: originsOf(value("corsOrigin")),
    audience: didsOf(value("audience")),
    trustProxy: proxiesOf(value("trustProxy")),
    rateTotal: whole("rateTotal", 0, most.rateTotal.value),
    rateToken: whole("rateToken", 0, most.rateToken.value),
    rateAddress: whole("rateAddress", 0, most.rateAddress.value),
    rateRefused: whole("rateRefused", 0, most.rateRefused.value),
    rateSignIn: whole("rateSignIn", 0, most.rateSignIn.value),
    openDbs: whole("openDbs", 1, most.openDbs.value),
    cacheMb: whole("cacheMb", 1, most.cacheMb.value),
    reserveMb: whole("reserveMb", 0, most.reserveMb.value),
    scrubDays: whole("scrubDays", 0, most.scrubDays.value),
    queryProcesses: whole("queryProcesses", 1, most.queryProcesses.value),
    queryMemoryMb: whole("queryMemoryMb", 8, most.queryMemoryMb.value),
    oidcIssuer: optional("oidcIssuer"),
    oidcClientId: optional("oidcClientId"),
    oidcClientSecret: secretOf(env),
    oidcAdminClaim: claimOf(optional("oidcAdminClaim")),
    oidcAdmins: (optional("oidcAdmins") ?? "").split(",").flatMap((sub) => sub.trim() || []),
    publicUrl: publicUrlOf(optional("publicUrl")),
    sessionIdleHours: whole("sessionIdleHours", 1, most.sessionIdleHours.value),
    sessionDays: whole("sessionDays", 1, most.sessionDays.value),
  };
}

function secretOf(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const file = env[`${CLIENT_SECRET}_FILE`] || undefined;
  if (file === undefined) return env[CLIENT_SECRET] || undefined;
  try {
    return readFileSync(file, "utf8").trimEnd() || undefined;
  } catch (cause) {
    throw new SkaldError("BAD_REQUEST", `The file of ${CLIENT_SECRET}_FILE cannot be read.`, {
      hint: "It holds the secret of the client and nothing else.",
      cause,
    });
  }
}

function claimOf(text: string | undefined): Config["oidcAdminClaim"] {
  if (text === undefined) return undefined;
  const [, claim, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (claim !== undefined && value !== undefined) return { claim, value };
  throw wrong("oidcAdminClaim", "a claim and its value, such as groups=skald-admins", text);
}

function publicUrlOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && (url.protocol === "https:" || url.protocol === "http:") && url.href === `${url.origin}/`)
    return url.origin;
  throw wrong("publicUrl", "an origin such as https://skald.example.com, without a path", text);
}

/** As browsers write `Origin`: a scheme and a host, nothing behind it; `null` is that of files. */
const ORIGIN = /^(?:\*|null|[a-z][a-z0-9+.-]*:\/\/[a-z0-9._~[\]:-]+)$/;

function originsOf(text: string): string[] {
  if (text === "none") return [];
  const origins = text.split(",").map((part) => part.trim());
  const bad = origins.find((origin) => !ORIGIN.test(origin));
  if (bad !== undefined) throw wrong("corsOrigin", "origins such as https://app.example.com, or *", bad);
  if (origins.length > most.corsOrigin.value) {
    throw wrong("corsOrigin", `at most ${most.corsOrigin.value} origins`, `${origins.length} of them`);
  }
  return origins;
}

/** As in the DID syntax of the W3C, without path, query and fragment. */
const DID = /^did:[a-z0-9]{1,32}:[\w.:%-]{1,256}$/;

function didsOf(text: string): string[] {
  if (text === "none") return [];
  const dids = text.split(",").map((part) => part.trim());
  const bad = dids.find((did) => !DID.test(did));
  if (bad !== undefined) throw wrong("audience", "dids such as did:web:data.example.com", bad);
  if (dids.length > most.audience.value) {
    throw wrong("audience", `at most ${most.audience.value} dids`, `${dids.length} of them`);
  }
  return dids;
}

function proxiesOf(text: string): Config["trustProxy"] {
  const [, forwarded, digits] = /^(forwarded:)?(\d{1,3})$/.exec(text) ?? [];
  const hops = Number(digits);
  if (digits === undefined || hops > most.trustProxy.value)
    throw wrong("trustProxy", `0 to ${most.trustProxy.value} proxies, or forwarded:1 and the like`, text);
  return hops === 0 ? undefined : { header: forwarded ? "forwarded" : "x-forwarded-for", hops };
}

function wrong(name: keyof Config, wanted: string, got: string): SkaldError {
  const setting = SETTINGS.find((candidate) => candidate.name === name) as Setting;
  return new SkaldError("BAD_REQUEST", `${setting.flag} (${setting.env}) takes ${wanted}, not "${got}".`, {
    hint: "`skald serve --help` lists the settings.",
  });
}

/** What commands that talk to a server take from the environment; empty counts as not set. */
export function clientEnvironment(env: Readonly<Record<string, string | undefined>> = process.env): {
  readonly url: string | undefined;
  readonly token: string | undefined;
  readonly logLevel: string | undefined;
} {
  return {
    url: env["SKALD_URL"] || undefined,
    token: env["SKALD_TOKEN"] || undefined,
    logLevel: env["SKALD_LOG_LEVEL"] || undefined,
  };
}
