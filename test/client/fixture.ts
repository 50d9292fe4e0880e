import { jest } from "@jest/globals";
import { WebSocket } from "ws";
import { SkaldClient, type ClientOptions, type SocketConstructor } from "../../src/client/index.ts";
import type { FetchLike } from "../../src/client/platform.ts";
import { startServer, type ServerOptions, type SkaldServer } from "../support/skald-process.ts";

// A guard against hanging only: servers are killed and started in these tests, beside whatever else runs.
jest.setTimeout(120_000);

/** A network between a client and its server that a test can cut. */
export interface Net {
  readonly fetch: FetchLike;
  readonly WebSocket: SocketConstructor;
  /** Requests that went out, as `METHOD path`. */
  readonly asked: string[];
  /** Down: requests fail, sockets break and do not open again. */
  down: boolean;
  /** Requests that get to the server and whose answers are lost. */
  deaf: number;
  /** Breaks the sockets that are open. */
  cut(): void;
}

export function makeNet(): Net {
  const open = new Set<WebSocket>();
  const net: Net = {
    asked: [],
    down: false,
    deaf: 0,
    fetch: async (url, request) => {
      if (net.down) throw new TypeError("the network is down");
      net.asked.push(`${request.method} ${new URL(url).pathname}`);
      const response = await fetch(url, request);
      if (net.deaf > 0) {
        net.deaf -= 1;
        await response.arrayBuffer();
        throw new TypeError("the answer is lost");
      }
      return response;
    },
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url);
        open.add(this);
        this.on("error", () => {});
        this.on("close", () => open.delete(this));
        if (net.down) this.terminate();
      }
    } as unknown as SocketConstructor,
    cut: () => {
      for (const socket of open) socket.terminate();
    },
  };
  return net;
}

const clients: SkaldClient[] = [];
afterAll(() => {
  for (const client of clients) client.close();
});

/** A client that is closed after the tests of the file. */
export function makeClient(options: ClientOptions): SkaldClient {
  const client = new SkaldClient({ WebSocket: WebSocket as unknown as SocketConstructor, ...options });
  clients.push(client);
  return client;
}

/** A server with a db, and clients of it. */
export async function startDb(
  dir: string,
  db = "notes",
  options?: ServerOptions,
): Promise<{ server: SkaldServer; readonly clientOf: (more?: Partial<ClientOptions>) => SkaldClient }> {
  const server = await startServer(dir, options);
  const token = server.token as string;
  const made = await fetch(`${server.url}/api/v1/db/${db}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token}` },
  });
  if (!made.ok) throw new Error(await made.text());
  return { server, clientOf: (more = {}) => makeClient({ url: server.url, db, token, ...more }) };
}

/** Waits until `holds`; the test's own time limit ends it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
