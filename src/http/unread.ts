import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { DispatchContext } from "./dispatch.ts";
import { problemOf } from "./problem.ts";
import { ALWAYS, POLICY } from "./security-headers.ts";

/** What is refused before there is a request to answer: broken framing, too slow, too long, too many. */

/** Answers on a bare connection with a problem document, and ends it. */
export function refuseOn(socket: Duplex, error: unknown, id: string): void {
  const { status, headers, body } = problemOf(error, id);
  const always = Object.fromEntries(
    ALWAYS.flatMap((name, i) => (i % 2 === 0 ? [[name, ALWAYS[i + 1] as string]] : [])),
  );
  const lines = Object.entries({
    "x-request-id": id,
    ...always,
    "content-security-policy": POLICY,
    ...headers,
    "content-length": String(Buffer.byteLength(body as string)),
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.once("finish", () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body as string}`);
}

/** Answers what Node's parser does not take, where Node alone would send a bare status line. */
export function answerUnread(server: Server, { log, nextName }: DispatchContext): void {
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    // An answer on its way must not be cut in two by another one.
    const { _httpMessage: current } = socket as { _httpMessage?: ServerResponse };
    if (!socket.writable || error.code === "ECONNRESET" || current?.headersSent) {
      socket.destroy();
      return;
    }
    const refusal = refusalOf(error);
    const id = nextName();
    refuseOn(socket, refusal, id);
    log.request({
      id,
      method: "",
      route: "none",
      status: refusal.status,
      ms: 0,
      principal: "",
      code: refusal.code,
    });
  });
}

function refusalOf(error: NodeJS.ErrnoException): SkaldError {
  switch (error.code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new SkaldError("REQUEST_TIMEOUT", "The request took too long to arrive.");
    case "HPE_HEADER_OVERFLOW":
      return headTooLarge(LIMITS.http.headBytes.value, "bytes");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new SkaldError("TOO_LARGE", "The extensions of a chunk are too long.");
    default:
      return new SkaldError("BAD_REQUEST", "The request is not HTTP/1.1 as it should be.");
  }
}

/** Throws URL_TOO_LONG, HEAD_TOO_LARGE. */
export function checkHead(req: IncomingMessage): void {
  const { urlBytes, headers } = LIMITS.http;
  if ((req.url?.length ?? 0) > urlBytes.value) {
    throw new SkaldError("URL_TOO_LONG", `The URL is longer than ${urlBytes.value} bytes.`, {
      details: { max_bytes: urlBytes.value },
    });
  }
  if (req.rawHeaders.length / 2 > headers.value) throw headTooLarge(headers.value, "fields");
}

function headTooLarge(most: number, what: "bytes" | "fields"): SkaldError {
  return new SkaldError("HEAD_TOO_LARGE", `The head of the request has more than ${most} ${what}.`, {
    details: { [`max_${what}`]: most },
  });
}

/** Connections beyond `most` hear so and are closed before anything of them is read. */
export function limitConnections(server: Server, most: number, { nextName }: DispatchContext): void {
  let open = 0;
  server.prependListener("connection", (socket: Socket) => {
    // A connection that an upgrade gave back comes by again.
    if (counted.has(socket)) return;
    counted.add(socket);
    open += 1;
    socket.once("close", () => (open -= 1));
    if (open <= most) return;
    socket.on("error", () => socket.destroy());
    refuseOn(socket, new SkaldError("UNAVAILABLE", "Too many connections are open."), nextName());
  });
}

const counted = new WeakSet<Socket>();
