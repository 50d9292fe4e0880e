import { Agent, request, type IncomingHttpHeaders } from "node:http";
import { connect, type Socket } from "node:net";
import { startServer, type ServerOptions, type SkaldServer } from "../support/skald-process.ts";

export interface Ask {
  /** Undefined: the admin's; null: none. */
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** A plain object is sent as JSON. */
  readonly body?: string | Uint8Array | object;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: Record<string, unknown>;
}

export interface Client {
  (method: string, path: string, ask?: Ask): Promise<Reply>;
  /** Makes a token with these scopes. */
  token(
    scopes: readonly string[],
    more?: Readonly<Record<string, string>>,
  ): Promise<{ token: string; id: string }>;
  readonly port: number;
  readonly admin: string;
}

export const API = "/api/v1";
export const TX = `${API}/db/notes/branches/main/tx`;

/** A server in `dir` and a way to ask it; call it while the file is loaded. Paths go out exactly as they are given. */
export async function startHttp(
  dir: string,
  options?: ServerOptions,
): Promise<{ server: SkaldServer; ask: Client }> {
  const agent = new Agent({ keepAlive: true });
  afterAll(() => agent.destroy());
  const server = await startServer(dir, options);
  const port = Number(new URL(server.url).port);
  const admin = server.token ?? "";
  const ask = (method: string, path: string, { token, headers, body }: Ask = {}): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const isJson = typeof body === "object" && !(body instanceof Uint8Array);
      const given = token === undefined ? admin : token;
      const req = request({
        agent,
        host: "127.0.0.1",
        port,
        method,
        path,
        headers: {
          ...(given === null ? {} : { authorization: `Bearer ${given}` }),
          ...(isJson ? { "content-type": "application/json" } : {}),
          ...headers,
        },
      });
      req.on("error", reject);
      req.on("response", (res) => {
        const parts: Buffer[] = [];
        res.on("data", (part: Buffer) => parts.push(part));
        res.on("error", reject);
        res.on("end", () => {
          const bytes = Buffer.concat(parts);
          resolve({ status: res.statusCode ?? 0, headers: res.headers, bytes, ...texts(bytes) });
        });
      });
      req.end(isJson ? JSON.stringify(body) : body);
    });
  return {
    server,
    ask: Object.assign(ask, {
      port,
      admin,
      token: async (scopes: readonly string[], more: Readonly<Record<string, string>> = {}) => {
        const made = await ask("POST", `${API}/admin/tokens`, { body: { label: "test", scopes, ...more } });
        if (made.status !== 201) throw new Error(made.text);
        return { token: made.json["token"] as string, id: made.json["id"] as string };
      },
    }),
  };
}

function texts(bytes: Buffer): { text: string; json: Record<string, unknown> } {
  const text = bytes.toString("utf8");
  try {
    return { text, json: JSON.parse(text) as Record<string, unknown> };
  } catch {
    return { text, json: undefined as unknown as Record<string, unknown> };
  }
}

/** A bare connection: what is written goes out as it is. */
export interface Wire {
  readonly socket: Socket;
  /** What has come so far. */
  text(): string;
  /** Waits until what has come matches. Rejects when the connection ends without it. */
  until(pattern: RegExp): Promise<string>;
  /** Everything that came, once the other side has closed. */
  closed(): Promise<string>;
}

export function openWire(port: number): Wire {
  const socket = connect({ host: "127.0.0.1", port });
  let text = "";
  let ended = false;
  const waiting = new Set<() => void>();
  const wake = (): void => waiting.forEach((look) => look());
  const end = (): void => {
    ended = true;
    wake();
  };
  socket.setEncoding("latin1").on("data", (part: string) => {
    text += part;
    wake();
  });
  socket.on("error", () => {});
  socket.on("end", end);
  socket.on("close", end);
  const wait = (done: () => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (done()) resolve(text);
        else if (ended) reject(new Error(`the connection ended after: ${text.slice(0, 500)}`));
        else return;
        waiting.delete(look);
      };
      waiting.add(look);
      look();
    });
  return {
    socket,
    text: () => text,
    until: (pattern) => wait(() => pattern.test(text)),
    closed: () => wait(() => ended),
  };
}

/** What every error looks like; gives the document. */
export function problem(reply: Reply, status: number, code: string): Record<string, unknown> {
  expect({ status: reply.status, code: reply.json?.["code"] }).toEqual({ status, code });
  expect(reply.headers["content-type"]).toBe("application/problem+json");
  expect(reply.headers["cache-control"]).toBe("no-store");
  expect(reply.json).toMatchObject({
    type: `/docs#${code}`,
    title: expect.stringMatching(/^[A-Z]/) as string,
    status,
    code,
    detail: expect.stringMatching(/./) as string,
    hint: expect.stringMatching(/./) as string,
    request_id: reply.headers["x-request-id"],
  });
  expect(reply.headers["x-request-id"]).toMatch(/^[A-Za-z0-9._:-]{1,64}$/);
  expect(reply.text).not.toMatch(/\bat .*\(|\.[jt]s:\d|node_modules|\/tmp\/|\/dist\/|\.sqlite\b/i);
  expect(reply.text).not.toContain("SQLITE_");
  return reply.json;
}
