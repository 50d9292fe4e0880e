import type { Connection } from "./network.ts";
import type { Scheduler } from "./scheduler.ts";

export interface Reply {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** HTTP/1.1 over one connection, one request at a time. */
export class HttpConnection {
  readonly connection: Connection;
  readonly #scheduler: Scheduler;
  #bytes = Buffer.alloc(0);
  #waiting: ((reply: Reply | undefined) => void) | undefined;
  #head = "GET";

  constructor(scheduler: Scheduler, connection: Connection) {
    this.#scheduler = scheduler;
    this.connection = connection;
    connection.onData = (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      this.#look(false);
    };
    connection.onClose = () => {
      this.#look(true);
      this.#settle(undefined);
    };
  }

  /** Undefined when no answer came: whether the request was taken is then not known. */
  ask(request: Request, patienceMs: number): Promise<Reply | undefined> {
    const { method, path, headers = {}, body = "" } = request;
    const bytes = Buffer.from(body as string);
    const lines = Object.entries({ host: "skald", ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    const length = body.length > 0 ? `content-length: ${bytes.length}\r\n` : "";
    this.#head = method;
    return new Promise((resolve) => {
      const stop = this.#scheduler.at(patienceMs, "client gives up", () => {
        this.#waiting = undefined;
        this.connection.leave(this.#scheduler.chance(0.3));
        resolve(undefined);
      });
      this.#waiting = (reply) => {
        stop();
        resolve(reply);
      };
      this.connection.send(
        Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}${length}\r\n`), bytes]),
      );
      if (!this.connection.open) this.#settle(undefined);
    });
  }

  #settle(reply: Reply | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(reply);
  }

  #look(closed: boolean): void {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const [first = "", ...lines] = this.#bytes.subarray(0, end).toString("latin1").split("\r\n");
    const status = Number(first.split(" ")[1]);
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
      }),
    );
    const rest = this.#bytes.subarray(end + 4);
    const body = this.#body(status, headers, rest);
    if (!body || (closed && body.length > rest.length)) return;
    this.#bytes = rest.subarray(body.taken);
    if (headers.get("connection") === "close") this.connection.leave(false);
    this.#settle({ status, headers, body: body.text });
  }

  #body(
    status: number,
    headers: ReadonlyMap<string, string>,
    rest: Buffer,
  ): { text: string; taken: number; length: number } | undefined {
    if (this.#head === "HEAD" || status === 204 || status === 304) return { text: "", taken: 0, length: 0 };
    const length = Number(headers.get("content-length") ?? "0");
    if (headers.get("transfer-encoding") !== "chunked") {
      if (rest.length < length) return undefined;
      return { text: rest.subarray(0, length).toString("utf8"), taken: length, length };
    }
    const parts: Buffer[] = [];
    for (let at = 0; ;) {
      const line = rest.indexOf("\r\n", at);
      if (line < 0) return undefined;
      const size = Number.parseInt(rest.subarray(at, line).toString("latin1"), 16);
      if (rest.length < line + 4 + size) return undefined;
      if (size === 0)
        return { text: Buffer.concat(parts).toString("utf8"), taken: line + 4, length: line + 4 };
      parts.push(rest.subarray(line + 2, line + 2 + size));
      at = line + 4 + size;
    }
  }
}
