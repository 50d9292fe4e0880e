import { existsSync } from "node:fs";
import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { Agent as TlsAgent, request as httpsRequest } from "node:https";
import { connect } from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import { readConfig, type Config, clientEnvironment } from "../config.ts";
import { ERROR_CODES, isSkaldError } from "../errors.ts";
import type { Service } from "../service.ts";
import { CliError, asCliError, problemError, usageError } from "./failure.ts";
import { note } from "./output.ts";

/**
 * The way from a command to a Skald. Every command but `serve` speaks HTTP: to a server named by its
 * URL, to the one that runs on the data directory, or to one started in this process for as long as
 * the command takes. So a command does the same wherever it runs.
 */
export interface Connection {
  /** Who answers, for people. */
  readonly where: string;
  /** Throws CliError for every answer that is not 2xx, and when there is none. */
  send(request: Send): Promise<IncomingMessage>;
  close(): Promise<void>;
}

export interface Send {
  readonly method: "GET" | "PUT" | "PATCH" | "POST" | "DELETE";
  /** It may be sent twice, whatever its method: the server knows it again. */
  readonly repeatable?: true;
  /** With its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** In the place of a body: opened for each try, and given up once there is an answer. */
  readonly stream?: () => AsyncIterable<Uint8Array>;
}

export interface ConnectionFlags {
  readonly url?: string;
  readonly token?: string;
  readonly dir?: string;
}

interface Target {
  readonly where: string;
  readonly address: RequestOptions;
  readonly secure: boolean;
  readonly token: string | undefined;
  readonly service: Service | undefined;
}

/** Connections kept open to one server unless a command asks for another number. */
export const CONNECTIONS = 16;
const PATIENCE_MS = 10_000;

/** `create`: whether a data directory may be made. Throws NOTHING_HERE, UNREACHABLE, DIR_IN_USE. */
export async function openConnection(
  flags: ConnectionFlags,
  create = false,
  sockets = CONNECTIONS,
): Promise<Connection> {
  const url = flags.url ?? (flags.dir === undefined ? clientEnvironment().url : undefined);
  if (flags.url !== undefined && flags.dir !== undefined) {
    throw usageError("--url names a server and --dir a directory: give one of them.");
  }
  if (url !== undefined) {
    const target = serverTarget(url, flags.token ?? clientEnvironment().token);
    return connectionTo(() => Promise.resolve(target), target, sockets);
  }
  const { dir } = readConfig(flags.dir === undefined ? {} : { dir: flags.dir });
  const open = (): Promise<Target> => directoryTarget(dir, create);
  return connectionTo(open, await open(), sockets);
}

/** Opens a connection, runs the work and closes it, whatever happens. */
export async function withConnection<T>(
  flags: ConnectionFlags,
  work: (connection: Connection) => Promise<T>,
  create = false,
  sockets = CONNECTIONS,
): Promise<T> {
  const connection = await openConnection(flags, create, sockets);
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

function serverTarget(text: string, token: string | undefined): Target {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw usageError(`"${text}" is not the http or https URL of a server.`);
  }
  return {
    where: url.origin,
    address: {
      // Written with brackets in a URL, without them in an address.
      hostname: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: url.port,
      path: url.pathname.replace(/\/$/, ""),
    },
    secure: url.protocol === "https:",
    token,
    service: undefined,
  };
}

async function directoryTarget(dir: string, create: boolean): Promise<Target> {
  if (!create && !existsSync(path.join(dir, "service.sqlite"))) {
    throw new CliError("NOTHING_HERE", `There is no Skald data at ${dir}.`, {
      hint: "Name the directory with --dir or a server with --url; `skald db create` begins a directory.",
    });
  }
  const usual = path.join(dir, "skald.sock");
  if (existsSync(usual) && (await answers(usual))) return socketTarget(dir, usual, undefined);
  // Loaded only now because it takes three times as long as everything else here.
  const { socketPath, startService } = await import("../service.ts");
  const socket = socketPath(dir);
  for (const deadline = Date.now() + PATIENCE_MS; ;) {
    if (await answers(socket)) return socketTarget(dir, socket, undefined);
    try {
      const service = await startService(ownConfig(dir), { listen: false, onFatal });
      return socketTarget(dir, socket, service);
    } catch (error) {
      // The owner is another command that ends soon, or a server that does not listen yet.
      if (!isSkaldError(error) || error.code !== "DIR_IN_USE" || Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Who gives a command hears of failures by its answers; the log is for servers, unless it is asked for. */
function ownConfig(dir: string): Config {
  return readConfig({ dir, ...(clientEnvironment().logLevel ? {} : { logLevel: "silent" }) });
}

function socketTarget(dir: string, socket: string, service: Service | undefined): Target {
  return {
    where: service ? `${dir} (no server runs on it)` : dir,
    address: { socketPath: socket },
    secure: false,
    token: undefined,
    service,
  };
}

/** Storage failed in this process: it must end without closing anything. */
function onFatal(error: unknown): void {
  note(`STORAGE_FAILED: ${(error as Error).message}`);
  process.exit(1);
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

function connectionTo(open: () => Promise<Target>, first: Target, sockets: number): Connection {
  let target = first;
  let opening: Promise<void> | undefined;
  const options = { keepAlive: true, maxSockets: sockets };
  const agent = first.secure ? new TlsAgent(options) : new Agent(options);
  const closeTarget = async (): Promise<void> => target.service?.stop("done");
  // What runs on a directory may be another command that ends before this one.
  const reopen = async (failed: Target): Promise<void> => {
    // Whoever failed on the same one before may have replaced it already.
    if (target !== failed) return;
    opening ??= open()
      .then((next) => {
        target = next;
      })
      .finally(() => (opening = undefined));
    await opening;
  };
  const send = async (request: Send): Promise<IncomingMessage> => {
    for (let tries = 1; ; tries += 1) {
      const current = target;
      try {
        return await sendOnce(current, agent, request);
      } catch (error) {
        const again = current.address.socketPath != null && !current.service && tries < 10;
        if (!again || !isRepeatable(request, error)) throw explained(error, current);
        await new Promise((resolve) => setTimeout(resolve, 20 * tries));
        await reopen(current);
      }
    }
  };
  return {
    where: first.where,
    send,
    close: async () => {
      agent.destroy();
      await opening?.catch(() => {});
      await closeTarget();
    },
  };
}

/** Whether the request was not begun, or may as well be done twice. */
function isRepeatable({ method, repeatable }: Send, error: unknown): boolean {
  const { code } = error as { code?: unknown };
  if (code === "ECONNREFUSED" || code === "ENOENT" || code === "UNAVAILABLE") return true;
  return (
    (code === "ECONNRESET" || code === "EPIPE") &&
    (repeatable === true || method === "GET" || method === "PUT")
  );
}

function explained(error: unknown, target: Target): CliError {
  const known = asCliError(error);
  // ERASED is no code of Node's.
  if (Object.hasOwn(ERROR_CODES, known.code)) return known;
  if (!/^E[A-Z]+$/.test(known.code) && !known.code.startsWith("ERR_")) return known;
  return new CliError("UNREACHABLE", `No answer from ${target.where}: ${known.message}.`, {
    hint: "Is the server running there? `skald status` asks it.",
    cause: error,
  });
}

function sendOnce(target: Target, agent: Agent, request: Send): Promise<IncomingMessage> {
  const { method, path: wanted, body, stream } = request;
  const headers: Record<string, string> = { ...request.headers };
  if (target.token !== undefined) headers["authorization"] = `Bearer ${target.token}`;
  if (body !== undefined) headers["content-length"] = String(Buffer.byteLength(body));
  const options: RequestOptions = {
    ...target.address,
    agent,
    method,
    path: `${target.address.path ?? ""}${wanted}`,
    headers,
  };
  return new Promise((resolve, reject) => {
    const outgoing = target.secure ? httpsRequest(options) : httpRequest(options);
    const source = stream && Readable.from(stream(), { objectMode: false });
    outgoing.once("response", (reply) => {
      source?.destroy();
      const status = reply.statusCode ?? 0;
      if (status >= 200 && status < 300) {
        resolve(reply);
        return;
      }
      readText(reply).then((text) => reject(problemError(status, text)), reject);
    });
    outgoing.once("error", (error: NodeJS.ErrnoException) => {
      // The server closed a kept connection just as it was used again.
      if (outgoing.reusedSocket && isRepeatable(request, error)) {
        sendOnce(target, agent, request).then(resolve, reject);
      } else
        reject(
          new CliError(error.code ?? "UNREACHABLE", error.message || String(error.code), { cause: error }),
        );
    });
    if (source) {
      source.once("error", (error) => outgoing.destroy(error));
      outgoing.once("close", () => source.destroy());
      source.pipe(outgoing);
    } else outgoing.end(body);
  });
}

export async function readBytes(reply: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of reply) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

export async function readText(reply: IncomingMessage): Promise<string> {
  return (await readBytes(reply)).toString("utf8");
}

/** The JSON of an answer. The caller says its shape: see src/protocol/wire.ts. */
export async function askJson<T>(connection: Connection, request: Send): Promise<T> {
  return JSON.parse(await readText(await connection.send(request))) as T;
}
