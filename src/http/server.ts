import { createServer, type IncomingMessage, type Server } from "node:http";
import express from "express";
import type { Principal } from "../auth/policy.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Load, type ServerLimits } from "./load.ts";
import type { Cors } from "./cors.ts";
import { Connections } from "./connections.ts";
import { authRoutes } from "./auth-routes.ts";
import { activityRoutes } from "./activity-routes.ts";
import type { TrustedProxies } from "./address.ts";
import { auditRoutes } from "./audit-routes.ts";
import { branchRoutes } from "./branch-routes.ts";
import { backupRoutes } from "./backup-routes.ts";
import { capabilityRoutes } from "./capability-routes.ts";
import { dbRoutes } from "./db-routes.ts";
import { settingsRoutes } from "./settings-routes.ts";
import { restoreRoutes } from "./restore-routes.ts";
import {
  dispatch,
  refuse,
  requestNames,
  tellMethods,
  type DispatchContext,
  type RequestLog,
} from "./dispatch.ts";
import { diffRoutes } from "./diff-routes.ts";
import { DOC_PATH, docRoutes } from "./doc-routes.ts";
import { graphRoutes } from "./graph-routes.ts";
import { headRoutes } from "./head-routes.ts";
import { keyRoutes } from "./key-routes.ts";
import { eraseRoutes } from "./erase-routes.ts";
import { importRoutes } from "./import-routes.ts";
import { invitationRoutes } from "./invitation-routes.ts";
import { feedRoutes } from "./feed-routes.ts";
import { logRoutes } from "./log-routes.ts";
import { openApiOf } from "./openapi.ts";
import { EXEC_PATH, queryRoutes } from "./query-routes.ts";
import { mergeRoutes } from "./merge-routes.ts";
import { opsRoutes } from "./ops-routes.ts";
import { peopleRoutes } from "./people-routes.ts";
import { replicationRoutes } from "./replication-routes.ts";
import { Rates } from "./rates.ts";
import type { Route, Services } from "./route.ts";
import { syncStatusRoutes } from "./sync-status-routes.ts";
import { snapshotRoutes } from "./snapshot-routes.ts";
import { ticketRoutes } from "./ticket-routes.ts";
import { subscriptionRoutes } from "./subscription-routes.ts";
import { tokenRoutes } from "./token-routes.ts";
import { txRoute } from "./tx-routes.ts";
import { acceptSockets } from "./upgrade.ts";
import { answerUnread, checkHead, limitConnections } from "./unread.ts";
import { uiRoutes } from "./ui-routes.ts";
import { watchRoutes } from "./watch-routes.ts";
import { verifyRoutes } from "./verify-routes.ts";

const API = "/api/v1";

/** Every route of the server, by the path it is mounted at. */
export const MOUNTS: readonly { readonly base: string; readonly routes: readonly Route[] }[] = [
  { base: "", routes: [...opsRoutes, ...uiRoutes] },
  { base: "", routes: authRoutes },
  {
    base: API,
    routes: [
      ...dbRoutes,
      ...activityRoutes,
      ...restoreRoutes,
      ...settingsRoutes,
      ...docRoutes,
      ...diffRoutes,
      ...mergeRoutes,
      ...eraseRoutes,
      ...importRoutes,
      txRoute,
      ...branchRoutes,
      ...logRoutes,
      ...headRoutes,
      ...watchRoutes,
      ...queryRoutes,
      ...feedRoutes,
      ...subscriptionRoutes,
      ...graphRoutes,
      ...verifyRoutes,
      ...replicationRoutes,
      ...syncStatusRoutes,
      ...snapshotRoutes,
      ...backupRoutes,
      ...tokenRoutes,
      ...peopleRoutes,
      ...invitationRoutes,
      ...capabilityRoutes,
      ...auditRoutes,
      ...keyRoutes,
      ...ticketRoutes,
    ],
  },
];

export function openApiDocument(version: string): string {
  return openApiOf(MOUNTS, version);
}

/**
 * The HTTP server. The hottest routes are matched by hand before Express sees them, because Express costs
 * 0.3 ms of CPU a request where the rest of a write costs 0.1; they go through the same `dispatch`, so
 * checks, errors and answers are the same. `ambient` is who a request without a credential is, `limits`
 * are others than those of `LIMITS`, `cors` is what pages of other origins may, `trusted` who may say where a
 * request comes from.
 */
export function createHttpServer(
  services: Services,
  log: RequestLog,
  ambient?: Principal,
  limits?: Partial<ServerLimits>,
  { cors, trusted }: { readonly cors?: Cors | undefined; readonly trusted?: TrustedProxies | undefined } = {},
): Server {
  const load = new Load(limits);
  const staying = new Set<() => void>();
  const context = {
    services,
    log,
    ambient,
    load,
    rates: ambient ? undefined : new Rates(load.limits),
    cors,
    staying,
    trusted,
    nextName: requestNames(services.world),
  };
  const app = expressApp(context);
  const server = createServer(
    {
      // Node takes less than this, not as much.
      maxHeaderSize: LIMITS.http.headBytes.value + 1,
      keepAliveTimeout: load.limits.idleMs,
      requestTimeout: load.limits.requestMs,
      headersTimeout: load.limits.headMs,
      // Whoever is late is found out at most a sixth of the time after.
      connectionsCheckingInterval: Math.ceil(Math.min(load.limits.headMs, load.limits.requestMs) / 6),
    },
    (req, res) =>
      connections.take(req, res, () => {
        try {
          checkHead(req);
        } catch (error) {
          void refuse(error, NO_ROUTE, req, res, context);
          return;
        }
        const hot = hotMatch(req);
        if (hot) void dispatch(hot.route, hot.params, hot.search, req, res, context);
        else app(req, res);
      }),
  );
  const connections = new Connections(server, load.limits.stalledMs);
  // Node leaves out what is above this without a word, the credential perhaps; `checkHead` counts.
  server.maxHeadersCount = 0;
  answerUnread(server, context);
  // Answers that follow each other on one connection must not wait for each other's acknowledgement.
  server.on("connection", (socket) => socket.setNoDelay(true));
  limitConnections(server, load.limits.connections, context);
  acceptSockets(server, context);
  // Closing the server waits for every answer, so those that would not end by themselves are told when it begins.
  const close = server.close.bind(server);
  server.close = (done) => {
    for (const end of staying) end();
    return close(done);
  };
  return server;
}

interface HotRoute {
  readonly route: Route;
  readonly pattern: RegExp;
  readonly names: readonly string[];
}

/** One document, the transaction and a statement: what programs call a thousand times a second. */
const HOT: readonly HotRoute[] = [
  txRoute,
  ...docRoutes.filter(({ path }) => path === DOC_PATH),
  ...queryRoutes.filter(({ path }) => path === EXEC_PATH),
].map((route) => ({
  route,
  // Only plain characters: a path with escapes takes the other way and means the same.
  pattern: new RegExp(`^${API}${route.path.replaceAll(/:\w+/g, "([A-Za-z0-9._~-]+)")}(?:\\?(.*))?$`),
  names: [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1] as string),
}));

function hotMatch(
  req: IncomingMessage,
): { route: Route; params: Record<string, string>; search: string } | undefined {
  const url = req.url ?? "";
  for (const { route, pattern, names } of HOT) {
    if (route.method !== req.method) continue;
    const match = pattern.exec(url);
    if (!match) continue;
    const params: Record<string, string> = {};
    names.forEach((name, i) => {
      params[name] = match[i + 1] as string;
    });
    return { route, params, search: match[names.length + 1] ?? "" };
  }
  return undefined;
}

function expressApp(context: DispatchContext) {
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.set("case sensitive routing", true);
  const methods = new Map<string, Set<string>>();
  for (const { base, routes } of MOUNTS) {
    for (const route of routes) {
      const path = base + route.path;
      const known = methods.get(path) ?? new Set();
      methods.set(path, known.add(route.method));
      if (route.method === "GET") known.add("HEAD");
      const handler = (
        req: express.Request,
        res: express.Response,
        next: express.NextFunction,
      ): void | Promise<void> => {
        if (route.exact && req.path !== path) return next();
        return dispatch(route, req.params as Record<string, string>, searchOf(req.url), req, res, context);
      };
      if (route.method === "GET") app.get(path, handler);
      // Express has a function for every method that Node knows; its types do not know QUERY.
      else app[route.method.toLowerCase() as "put" | "patch" | "post" | "delete"](path, handler);
    }
  }
  for (const [path, known] of methods) {
    const allow = [...known, "OPTIONS"].join(", ");
    app.all(path, (req, res) =>
      req.method === "OPTIONS"
        ? tellMethods(allow, path, req, res, context)
        : refuse(
            new SkaldError("METHOD_NOT_ALLOWED", `${req.method} is not for ${path}.`, { details: { allow } }),
            path,
            req,
            res,
            context,
          ),
    );
  }
  app.use((req, res) =>
    refuse(new SkaldError("NOT_FOUND", "There is no such route."), NO_ROUTE, req, res, context),
  );
  app.use((error: unknown, req: express.Request, res: express.Response, _next: express.NextFunction) => {
    const malformed = (error as { status?: unknown } | null)?.status === 400;
    return refuse(
      malformed ? new SkaldError("BAD_REQUEST", "The URL is malformed.") : error,
      NO_ROUTE,
      req,
      res,
      context,
    );
  });
  return app;
}

/** Where the log and the metrics count what asked for no route. */
const NO_ROUTE = "none";

function searchOf(url: string): string {
  const at = url.indexOf("?");
  return at < 0 ? "" : url.slice(at + 1);
}
