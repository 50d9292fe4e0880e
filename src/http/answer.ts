import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { World } from "../world.ts";
import { LIMITS } from "../limits.ts";
import { Outlet } from "./outlet.ts";
import type { Answer } from "./route.ts";
import { ALWAYS, POLICY } from "./security-headers.ts";

const LINGER_MS = 1000;

/** Writes an answer. `last`: the connection is not kept; `more`: further headers, names and values in turn. Rejects when it could not be sent whole. */
export async function send(
  answer: Answer,
  requestId: string,
  req: IncomingMessage,
  res: ServerResponse,
  last: boolean,
  world: World,
  more: readonly string[] = [],
): Promise<void> {
  const { status, headers, body } = answer;
  const unread = hasLongRest(req);
  // One flat list in one call: seven calls of setHeader cost 3 µs more.
  const head = ["x-request-id", requestId, ...ALWAYS, ...more];
  if (headers) for (const name in headers) head.push(name, headers[name] as string);
  if (answer.cookies) for (const cookie of answer.cookies) head.push("set-cookie", cookie);
  if (!headers?.["content-security-policy"]) head.push("content-security-policy", POLICY);
  // Whose answer it is depends on who asks: nobody in between may keep it.
  if (!headers?.["cache-control"]) head.push("cache-control", "private, no-cache");
  if (last || unread) head.push("connection", "close");
  if (answer.live) {
    // Its end is that of the connection: what is written then is the same bytes for everybody.
    res.useChunkedEncodingByDefault = false;
    if (!last && !unread) head.push("connection", "close");
    res.writeHead(status, head);
    res.flushHeaders();
    await answer.live(new Outlet(res));
    return;
  }
  if (body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array)) {
    res.writeHead(status, head);
    if (req.method === "HEAD") res.end();
    else await pipeline(Readable.from(body), res);
    return;
  }
  if (body !== undefined) {
    head.push("content-length", String(typeof body === "string" ? Buffer.byteLength(body) : body.byteLength));
  }
  res.writeHead(status, head);
  if (req.method === "HEAD") res.end();
  else if (unread) linger(body ?? "", req, res, world);
  else res.end(body);
}

function hasLongRest(req: IncomingMessage): boolean {
  if (req.complete) return false;
  const length = req.headers["content-length"];
  return length === undefined
    ? req.headers["transfer-encoding"] !== undefined
    : Number(length) > LIMITS.http.skippedBytes.value;
}

/**
 * A connection closed while its client still sends is reset, and the reset may overtake the answer. So
 * the answer goes out whole, and for a moment what comes in is dropped.
 */
function linger(body: string | Uint8Array, req: IncomingMessage, res: ServerResponse, world: World): void {
  res.write(body);
  req.resume();
  const end = (): void => {
    enough();
    res.end();
  };
  const enough = world.timer(LINGER_MS, end);
  req.once("close", end);
}

/** The same stream with its first part at hand: what fails before that can still be refused. */
export async function begun(
  body: AsyncIterable<string | Uint8Array>,
): Promise<AsyncIterable<string | Uint8Array>> {
  const parts = body[Symbol.asyncIterator]();
  let first: IteratorResult<string | Uint8Array> | undefined = await parts.next();
  // Not a generator: one that nobody starts would not pass its end on to `parts`.
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        const step = first;
        first = undefined;
        return step ? Promise.resolve(step) : parts.next();
      },
      return: async () => {
        await parts.return?.();
        return { done: true, value: undefined };
      },
    }),
  };
}

/** Whether an error of `send` says no more than that the client went away. */
export function isGone(error: unknown): boolean {
  return GONE.has(String((error as { code?: unknown } | null)?.code));
}

const GONE: ReadonlySet<string> = new Set([
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_UNABLE_TO_PIPE",
  "ECONNRESET",
  "EPIPE",
]);
