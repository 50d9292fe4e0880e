import { chmodSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import path from "node:path";
import { sessionIdentity } from "./auth/session-identity.ts";
import { Sessions } from "./auth/sessions.ts";
import { Signin, type DevPerson } from "./auth/signin.ts";
import { People } from "./auth/people.ts";
import { Audit } from "./audit/audit.ts";
import type { Principal } from "./auth/policy.ts";
import { Capabilities } from "./auth/capabilities.ts";
import { Tickets } from "./auth/tickets.ts";
import { tokenProvider, type CredentialProvider } from "./auth/credential-provider.ts";
import { Tokens, ensureAdmin } from "./auth/tokens.ts";
import { Vigil } from "./auth/vigil.ts";
import type { Config } from "./config.ts";
import { Engine } from "./db/engine.ts";
import { AUTOMERGE_VERSION } from "./documents/version.ts";
import { RetentionSweep } from "./db/retention.ts";
import { Scrub } from "./db/scrub.ts";
import { verifyLines } from "./db/verify.ts";
import { createEvents } from "./events.ts";
import { FEED_KINDS, FeedTally } from "./http/feed-tally.ts";
import { QUERY_OUTCOMES, QueryTally } from "./http/query-tally.ts";
import { openQueries } from "./query/open.ts";
import type { ServerLimits } from "./http/load.ts";
import { corsFor } from "./http/cors.ts";
import type { RequestLog } from "./http/dispatch.ts";
import { createHttpServer, openApiDocument } from "./http/server.ts";
import type { Services } from "./http/route.ts";
import { skaldVersion } from "./protocol/version.ts";
import { Subscriptions, type SubscriptionTotals } from "./subscriptions/subscriptions.ts";
import { SERVICE_FILE } from "./store/sqlite-registry.ts";
import { SyncHubs } from "./sync/hub.ts";
import { realWorld } from "./world.ts";

/** Composition root: from a Config to a running service. The only file that knows everything. */
export interface Service {
  /** Where it listens; undefined when it only takes local commands. */
  readonly url: string | undefined;
  /** Path of the local socket. */
  readonly socket: string;
  /** The admin token, on the very first start only. */
  readonly firstToken: string | undefined;
  readonly engine: Engine;
  /** Stops taking requests, lets those under way finish, and closes everything. */
  stop(reason: string): Promise<void>;
}

export interface ServiceOptions {
  /** Listen on TCP; without it only on the local socket. */
  readonly listen: boolean;
  /** Other limits of the servers than those of `LIMITS`. */
  readonly limits?: Partial<ServerLimits>;
  /** People whom the identity provider of a development server has, for its login page. */
  readonly dev?: readonly DevPerson[];
  /** Other kinds of credentials than the server's own, asked after them in this order; see specs/30-capabilities.md. */
  readonly providers?: readonly CredentialProvider[];
  /** Called when storage failed and the process must end without closing anything. */
  readonly onFatal?: (error: unknown) => void;
}

/** The operator of this machine, on the local socket: the file system vouches for it. */
export const OPERATOR: Principal = { id: "local", subject: "operator", scopes: [{ db: "*", action: "*" }] };

/** Leaves what remains of the ten seconds in which a stop is done for closing the dbs. */
/** The operator may send an archive for as long as it takes. */
const LOCAL_REQUEST_MS = 86_400_000;
const DRAIN_MS = 8000;

export async function startService(config: Config, options: ServiceOptions): Promise<Service> {
  const events = createEvents({ level: config.logLevel });
  const onError = (error: unknown): void => {
    events.failure(error);
    if ((error as { code?: unknown } | null)?.code === "STORAGE_FAILED") options.onFatal?.(error);
  };
  const engine = new Engine({
    dir: config.dir,
    openDbs: config.openDbs,
    cacheBytes: config.cacheMb * 1024 * 1024,
    reserve: config.reserveMb * 1024 * 1024,
    sign: config.sign,
    documents: config.workers === undefined ? {} : { workers: config.workers },
    onError,
  });
  const vigil = new Vigil(realWorld);
  const ended = (): void => vigil.notice();
  const { tokens, capabilities, people, sessions, signin, firstToken } = await openTokens(
    config,
    options,
    ended,
  ).catch(async (error: unknown) => {
    await engine.close();
    throw error;
  });
  engine.onRemoved(() => people.dbGone());
  engine.onRemoved(() => capabilities.changed());
  people.onChange(ended);
  const audit = new Audit({ engine, file: path.join(config.dir, SERVICE_FILE), world: realWorld, onError });
  const version = skaldVersion();
  const subscriptions = new Subscriptions({ engine, onError });
  const scrub = new Scrub({ engine, days: options.listen ? config.scrubDays : 0, onFinding: onError });
  const retention = options.listen ? new RetentionSweep({ engine, onError }) : undefined;
  const feeds = new FeedTally();
  const sync = new SyncHubs({
    failed: onError,
    refused: (error, details) => events.refused({ code: error.code, message: error.message, ...details }),
  });
  const sql = openQueries({
    engine,
    onError,
    processes: config.queryProcesses,
    memoryBytes: config.queryMemoryMb * 1024 * 1024,
  });
  const queryTally = new QueryTally();
  let url: string | undefined;
  let openApi: string | undefined;
  let accepting = true;
  const services: Services = {
    engine,
    tokens,
    tickets: new Tickets(tokens, realWorld, (id) => {
      const session = sessions.live(id);
      return session && sessionIdentity(session, { sessions, people, tokens });
    }),
    people,
    url: () => url,
    sessions,
    signin,
    publicUrl: config.publicUrl,
    vigil,
    capabilities,
    providers: [tokenProvider(tokens), capabilities, ...(options.providers ?? [])],
    audit,
    sync,
    syncRoot: config.syncRoot,
    subscriptions,
    queries: sql.queries,
    watches: sql.watches,
    batch: sql.batch,
    queryTally,
    version,
    automerge: AUTOMERGE_VERSION,
    world: realWorld,
    started: realWorld.monotonic(),
    openApi: () => (openApi ??= openApiDocument(version)),
    metrics: () => events.metrics(),
    scrub: () => scrub.status(),
    verify: (dbId, signal, verifyOptions) =>
      verifyLines(engine, dbId, signal, { ...verifyOptions, tables: (db) => sql.tables.check(db) }),
    feeds,
    accepting: () => accepting,
  };
  const log: RequestLog = {
    request: (line) => events.request(line),
    failure: (error, id) => {
      events.failure(error, id);
      if ((error as { code?: unknown } | null)?.code === "STORAGE_FAILED") options.onFatal?.(error);
    },
  };
  events.gauge("skald_dbs_open", "Dbs open now.", () => engine.stats().open);
  events.gauge("skald_dbs_known", "Dbs in the directory.", () => engine.stats().known);
  events.gauge("skald_document_workers", "Automerge threads alive.", () => engine.documents.stats().workers);
  events.gauge(
    "skald_document_worker_restarts",
    "Automerge threads replaced.",
    () => engine.documents.stats().restarts,
  );
  events.gauge(
    "skald_document_jobs_queued",
    "Automerge jobs waiting or running.",
    () => engine.documents.stats().queued,
  );
  events.gauges("skald_feeds_open", "Change feeds open now.", "kind", FEED_KINDS, (kind) => feeds.open[kind]);
  events.gauge("skald_feed_events_total", "Events sent by change feeds.", () => feeds.sent);
  const outcomes = ["outcome", QUERY_OUTCOMES] as const;
  events.gauges(
    "skald_sql_statements_total",
    "Statements of SQL.",
    ...outcomes,
    (one) => queryTally.statements[one],
  );
  events.gauges(
    "skald_sql_seconds_total",
    "From a statement of SQL to its answer, the first page of a long one.",
    ...outcomes,
    (one) => queryTally.seconds[one],
  );
  const processes = (read: (stats: ReturnType<typeof sql.processes.stats>) => number) => () =>
    read(sql.processes.stats());
  events.gauge(
    "skald_sql_processes",
    "Processes for SQL alive.",
    processes((stats) => stats.processes),
  );
  events.gauge(
    "skald_sql_running",
    "Statements of SQL that run.",
    processes((stats) => stats.running),
  );
  events.gauge(
    "skald_sql_waiting",
    "Statements of SQL that wait.",
    processes((stats) => stats.waiting),
  );
  events.gauge(
    "skald_sql_kills_total",
    "Processes for SQL that were ended before their time.",
    processes((stats) => stats.restarts),
  );
  events.gauge("skald_watches", "Watches of SQL open now.", () => sql.watches.totals().watches);
  events.gauge(
    "skald_watch_evaluations_total",
    "Times that a watched statement was evaluated.",
    () => sql.watches.totals().evaluations,
  );
  events.gauge("skald_sync_peers", "Sync peers connected.", () => sync.stats().peers);
  events.gauge(
    "skald_sync_documents",
    "Documents that sync peers have open or ask for.",
    () => sync.stats().documents,
  );
  events.gauge(
    "skald_scrub_progress",
    "Of the scrub's pass under way, 0 to 1.",
    () => scrub.status().progress,
  );
  events.gauge("skald_scrub_commits_total", "Commits that the scrub has read.", () => scrub.status().commits);
  events.gauge(
    "skald_scrub_findings",
    "Damage that the scrub has found in its last pass.",
    () => scrub.status().findings,
  );
  events.gauge(
    "skald_scrub_last_pass_seconds",
    "When the scrub last was through, in seconds since 1970; 0 before.",
    () => (scrub.status().lastPass ?? 0) / 1000,
  );

  const durable = (read: (totals: SubscriptionTotals) => number) => () => read(subscriptions.totals());
  events.gauge(
    "skald_subscriptions",
    "Durable subscriptions of dbs that were open since the start.",
    durable((totals) => totals.subscriptions),
  );
  events.gauge(
    "skald_subscription_consumers",
    "Consumers of durable subscriptions, connected now.",
    durable((totals) => totals.consumers),
  );
  events.gauge(
    "skald_subscription_worst_lag",
    "Commits that the durable subscription furthest behind has not acknowledged.",
    durable((totals) => totals.worst),
  );
  events.gauge(
    "skald_subscription_parked",
    "Events of durable subscriptions that came to nothing too often.",
    durable((totals) => totals.parked),
  );

  const { connections, rateTotal, rateToken, rateAddress, rateRefused, rateSignIn } = config;
  const rates = { rateTotal, rateToken, rateAddress, rateRefused, rateSignIn };
  const limits = { connections, ...rates, ...options.limits };
  const servers: Server[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.all(servers.map(closeServer));
    vigil.close();
    // A db whose last checkpoint failed is no reason to leave the files of the service open.
    try {
      await scrub.stop();
      await retention?.stop();
      // Nothing of theirs is to begin anew while the dbs close, and the dbs end what the tables' thread is at.
      await sql.processes.close();
      sql.queries.close();
      await audit.close();
      await engine.close();
    } finally {
      await sql.tables.close();
      sessions.end();
      people.close();
      capabilities.close();
      tokens.close();
      events.close();
    }
  };
  const socket = socketPath(config.dir);
  try {
    if (options.listen && config.syncRoot !== undefined) await engine.create(config.syncRoot);
    rmSync(socket, { force: true });
    const local = createHttpServer(services, log, OPERATOR, { ...limits, requestMs: LOCAL_REQUEST_MS });
    servers.push(local);
    // Nobody else may connect, not even between the file's making and the chmod.
    const mask = process.umask(0o177);
    await listen(local, { path: socket }).finally(() => process.umask(mask));
    chmodSync(socket, 0o600);
    if (options.listen) {
      const server = createHttpServer(services, log, undefined, limits, {
        cors: corsFor(config.corsOrigin),
        trusted: config.trustProxy,
      });
      servers.push(server);
      await listen(server, { host: config.host, port: config.port });
      const { address, family, port } = server.address() as AddressInfo;
      url = `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
    }
    engine.lock.say({ pid: process.pid, socket, ...(url === undefined ? {} : { url }) });
  } catch (error) {
    await closeAll();
    throw error;
  }
  scrub.start();
  audit.start();
  events.started({ url, version });
  return {
    url,
    socket,
    firstToken,
    engine,
    stop: async (reason) => {
      accepting = false;
      events.stopping(reason);
      // Closing takes the socket's file away; later it could be the one of whoever has the directory then.
      await closeAll();
    },
  };
}

async function openTokens(
  config: Config,
  options: ServiceOptions,
  ended: () => void,
): Promise<{
  tokens: Tokens;
  capabilities: Capabilities;
  people: People;
  sessions: Sessions;
  signin: Signin;
  firstToken: string | undefined;
}> {
  const file = path.join(config.dir, SERVICE_FILE);
  const tokens = new Tokens(file, { ended });
  let capabilities: Capabilities | undefined;
  let people: People | undefined;
  let sessions: Sessions | undefined;
  const { oidcIssuer: issuer, oidcClientId: clientId, oidcClientSecret: clientSecret } = config;
  try {
    const secret = (): Uint8Array => tokens.secret("did");
    capabilities = new Capabilities(file, { secret, audiences: config.audience, ended });
    people = new People(file, {
      fixedAdmins: issuer === undefined ? undefined : { issuer, subs: config.oidcAdmins },
      adminClaim: config.oidcAdminClaim !== undefined,
    });
    sessions = new Sessions(file, {
      idleMs: config.sessionIdleHours * 3_600_000,
      lifeMs: config.sessionDays * 86_400_000,
    });
    const settings =
      issuer === undefined || clientId === undefined
        ? undefined
        : { issuer, clientId, clientSecret, adminClaim: config.oidcAdminClaim };
    const signin = new Signin({
      login: settings && new (await import("./auth/oidc-login.ts")).OidcLogin(settings, realWorld),
      dev: options.dev,
      key: () => tokens.secret("login"),
    });
    const firstToken = options.listen ? ensureAdmin(tokens) : undefined;
    return { tokens, capabilities, people, sessions, signin, firstToken };
  } catch (error) {
    sessions?.end();
    people?.close();
    capabilities?.close();
    tokens.close();
    throw error;
  }
}

/** In the data directory when the path fits into a socket's address (108 bytes on Linux, 104 on macOS). */
export function socketPath(dir: string): string {
  const inside = path.join(dir, "skald.sock");
  if (Buffer.byteLength(inside) < 100) return inside;
  return path.join(tmpdir(), `skald-${createHash("sha256").update(dir).digest("hex").slice(0, 16)}.sock`);
}

function listen(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Idle connections close at once, busy ones when their answer is out, all of them after DRAIN_MS. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const enough = realWorld.timer(DRAIN_MS, () => server.closeAllConnections());
    server.close(() => {
      enough();
      resolve();
    });
    server.closeIdleConnections();
  });
}
