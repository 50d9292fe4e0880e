import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { prefixesFor } from "../auth/policy.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { checkDbId } from "../ids/names.ts";
import { feedSocketRoute } from "./feed-socket.ts";
import { identify } from "./identify.ts";
import { clientOf, refusalOf, requestIdOf, withoutTicket, type DispatchContext } from "./dispatch.ts";
import { CREDENTIAL_ENDED, type OpenSocket, type SocketParts, type SocketRoute } from "./socket-route.ts";
import { subscriptionSocketRoute } from "./subscription-socket.ts";
import { anonymousOn, syncRootRoute, syncSocketRoute } from "./sync-socket.ts";
import { txSocketRoute } from "./tx-socket.ts";
import { checkHead, refuseOn } from "./unread.ts";
import { watchSocketRoute } from "./watch-socket.ts";

/** Every WebSocket of the server. */
export const SOCKETS: readonly SocketRoute[] = [
  txSocketRoute,
  feedSocketRoute,
  subscriptionSocketRoute,
  watchSocketRoute,
  syncSocketRoute,
  syncRootRoute,
];

/** A peer that is gone without a word is noticed by the kernel after some minutes of these. */
const KEEP_ALIVE_MS = 30_000;

/** Takes upgrades to the sockets of the list and refuses all others to a WebSocket with a problem document. */
export function acceptSockets(server: Server, context: DispatchContext): void {
  const routes = SOCKETS.map((route) => ({ route, handshake: handshakeOf(route) }));
  const open = new Set<OpenSocket>();
  server.on("upgrade", (req: IncomingMessage, socket: Socket, head: Buffer) => {
    if (req.headers.upgrade?.toLowerCase() !== "websocket") {
      ignoreUpgrade(server, req, socket, head);
      return;
    }
    socket.on("error", () => socket.destroy());
    admit(req, routes, context).then(
      ({ handshake, leave, parts, takeOver }) => {
        let taken = false;
        handshake.handleUpgrade(req, socket, head, (ws) => {
          taken = true;
          socket.setKeepAlive(true, KEEP_ALIVE_MS);
          const made = takeOver(ws, context);
          countMessages(ws, made, parts.principal.id, context);
          open.add(made);
          const forget = context.services.vigil.add({
            alive: parts.alive,
            end: () => made.end(CREDENTIAL_ENDED, "UNAUTHENTICATED"),
          });
          ws.once("close", () => {
            forget();
            open.delete(made);
            leave();
          });
        });
        // A handshake that ws refused, or whose client has gone: nobody else lets go of the db.
        if (!taken) {
          parts.held.release();
          leave();
        }
      },
      (error: unknown) =>
        refuse(
          refusalOf(error, "", clientOf(req, context), requestIdOf(req, context), req, context),
          req,
          socket,
          context,
        ),
    );
  });
  // Closing the server waits for every socket, so each is told when it begins.
  const close = server.close.bind(server);
  server.close = (done) => {
    for (const socket of open) socket.end(1001, "the server stops");
    return close(done);
  };
}

/** A socket on which more comes than its token may send is ended, when what was taken is answered. */
function countMessages(ws: WebSocket, socket: OpenSocket, principal: string, context: DispatchContext): void {
  const { rates, services } = context;
  if (!rates) return;
  ws.on("message", () => {
    if (!rates.message(principal, services.world.monotonic())) socket.end(1013, "RATE_LIMITED");
  });
}

function handshakeOf({ maxFrame, protocol, chosen }: SocketRoute): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: maxFrame,
    perMessageDeflate: false,
    handleProtocols: (offered) => protocol ?? (chosen !== undefined && offered.has(chosen) ? chosen : false),
  });
}

interface Offered {
  readonly route: SocketRoute;
  readonly handshake: WebSocketServer;
}

interface Admitted extends Offered {
  readonly parts: SocketParts;
  readonly takeOver: (ws: WebSocket, context: DispatchContext) => OpenSocket;
  readonly leave: () => void;
}

async function admit(
  req: IncomingMessage,
  routes: readonly Offered[],
  context: DispatchContext,
): Promise<Admitted> {
  const { services, load } = context;
  checkHead(req);
  const url = req.url ?? "";
  const [path = "", search = ""] = url.split(/\?(.*)/s);
  const now = services.world.monotonic();
  context.rates?.enter(clientOf(req, context), path, now);
  let match: RegExpExecArray | null = null;
  const { syncRoot } = services;
  const offered = routes.find(
    ({ route }) =>
      (match = route.pattern.exec(path)) !== null && (route.root !== true || syncRoot !== undefined),
  );
  if (!offered || !match) throw new SkaldError("NOT_FOUND", "There is no WebSocket at this path.");
  const { access, protocol, root } = offered.route;
  const db = root ? (syncRoot as string) : checkDbId(decoded(match[1] as string));
  const asked = withoutTicket(search);
  const shown = asked.ticket === undefined ? undefined : { ticket: asked.ticket, db, action: access };
  const identity =
    (await identify(req, context, shown, root === true)) ?? (root ? anonymousOn(db) : undefined);
  if (!identity) {
    throw new SkaldError("UNAUTHENTICATED", "This socket needs a token, or a ticket in its URL.");
  }
  const { principal, alive } = identity;
  context.rates?.know(principal.id, now);
  if (prefixesFor(principal, access, db) === "none") {
    throw new SkaldError("FORBIDDEN", `The token does not allow ${access} on the db ${db}.`, {
      details: { action: access, db },
    });
  }
  if (!services.accepting()) throw new SkaldError("UNAVAILABLE", "The server is shutting down.");
  const names = (req.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  if (protocol !== undefined && !names.includes(protocol)) {
    throw new SkaldError("BAD_REQUEST", `This socket speaks ${protocol}, which the client does not offer.`);
  }
  const leave = load.enterSocket(principal.id);
  try {
    const wanted = new AbortController();
    const hold = () => services.engine.hold(db, () => wanted.abort());
    const held = hold() ?? (await services.engine.use(db, hold));
    if (!held) throw new SkaldError("UNAVAILABLE", "The db is closing.");
    const query = new URLSearchParams(asked.search);
    const name = match[2] === undefined ? {} : { name: decoded(match[2]) };
    const parts = { principal, alive, db, held, wanted: wanted.signal, query, ...name };
    const { open, prepare } = offered.route;
    try {
      const takeOver = prepare
        ? await prepare(parts, context)
        : (ws: WebSocket, context: DispatchContext) => (open as Opens)(ws, parts, context);
      return { ...offered, leave, parts, takeOver };
    } catch (error) {
      held.release();
      throw error;
    }
  } catch (error) {
    leave();
    throw error;
  }
}

type Opens = NonNullable<SocketRoute["open"]>;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SkaldError("BAD_REQUEST", "The URL is malformed.");
  }
}

function refuse(error: unknown, req: IncomingMessage, socket: Duplex, context: DispatchContext): void {
  const id = requestIdOf(req, context);
  if (!isSkaldError(error) || error.status >= 500) context.log.failure(error, id);
  refuseOn(socket, error, id);
}

/**
 * Node hands over every request that offers an upgrade, also the one to HTTP/2 that curl and Java's
 * client put on an ordinary request. Such an offer may be ignored (RFC 9110 section 7.8): the request goes
 * back to where it came from, without it.
 */
function ignoreUpgrade(server: Server, req: IncomingMessage, socket: Socket, head: Buffer): void {
  const lines = [`${req.method} ${req.url} HTTP/${req.httpVersion}`];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] as string;
    if (!OFFER.has(name.toLowerCase())) lines.push(`${name}: ${req.rawHeaders[i + 1]}`);
  }
  if (/\bclose\b/i.test(req.headers.connection ?? "")) lines.push("connection: close");
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
  server.emit("connection", socket);
}

const OFFER: ReadonlySet<string> = new Set(["upgrade", "http2-settings", "connection"]);
