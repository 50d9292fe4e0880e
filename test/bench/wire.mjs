import { connect } from "node:net";

/**
 * One HTTP/1.1 connection that costs little: requests are bytes made beforehand, any number may be
 * under way, and answers are found by their content-length. What a load generator saves, the server
 * that is measured gets.
 */
const HEAD_END = Buffer.from("\r\n\r\n");

export class Wire {
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting = [];
  #at = 0;
  #failed;

  static open(port) {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Wire(socket)));
    });
  }

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (piece) => this.#read(piece));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
  }

  /** `done(status, body, head)` in the order of the requests; `status` 0 and an Error when it broke off. */
  send(bytes, done) {
    if (this.#failed) return done(0, this.#failed);
    this.#waiting.push(done);
    this.#socket.write(bytes);
  }

  request(bytes) {
    return new Promise((resolve, reject) => {
      this.send(bytes, (status, body, head) =>
        status === 0 ? reject(body) : resolve({ status, body, head }),
      );
    });
  }

  close() {
    this.#failed ??= new Error("closed");
    this.#socket.destroy();
  }

  #read(piece) {
    let buffer = this.#buffer.length === 0 ? piece : Buffer.concat([this.#buffer, piece]);
    for (;;) {
      const headEnd = buffer.indexOf(HEAD_END);
      if (headEnd < 0) break;
      const head = buffer.latin1Slice(0, headEnd);
      const length = /content-length: *(\d+)/i.exec(head);
      let end = headEnd + 4 + (length ? Number(length[1]) : 0);
      let body;
      if (!length && /transfer-encoding: *chunked/i.test(head)) {
        const chunks = unchunk(buffer, headEnd + 4);
        if (!chunks) break;
        ({ body, end } = chunks);
      } else if (buffer.length < end) break;
      body ??= buffer.subarray(headEnd + 4, end);
      const status = Number(head.slice(9, 12));
      buffer = buffer.subarray(end);
      const done = this.#waiting[this.#at++];
      if (this.#at > 1024) {
        this.#waiting = this.#waiting.slice(this.#at);
        this.#at = 0;
      }
      done?.(status, body, head);
    }
    this.#buffer = buffer;
  }

  #fail(error) {
    this.#failed ??= error;
    const waiting = this.#waiting.slice(this.#at);
    this.#waiting = [];
    this.#at = 0;
    for (const done of waiting) done(0, this.#failed);
  }
}

function unchunk(buffer, start) {
  const parts = [];
  let at = start;
  for (;;) {
    const line = buffer.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = Number.parseInt(buffer.latin1Slice(at, line), 16);
    const next = line + 2 + size + 2;
    if (buffer.length < next) return undefined;
    if (size === 0) return { body: Buffer.concat(parts), end: next };
    parts.push(buffer.subarray(line + 2, line + 2 + size));
    at = next;
  }
}

/** A request as bytes. */
export function httpRequest({ method = "GET", path, token, type, headers = {}, body }) {
  const payload = body === undefined ? undefined : Buffer.from(body);
  const lines = [`${method} ${path} HTTP/1.1`, "host: 127.0.0.1"];
  if (token) lines.push(`authorization: Bearer ${token}`);
  if (payload) lines.push(`content-type: ${type ?? "application/json"}`, `content-length: ${payload.length}`);
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  return payload ? Buffer.concat([head, payload]) : head;
}

/** Body of a `tx` with one change of one document. */
export function txBody(doc, base, change) {
  const heads = base === undefined ? "" : `"base_heads":[${base.map((head) => `"${head}"`).join(",")}],`;
  return `{"writes":[{"doc":"${doc}",${heads}"changes":["${Buffer.from(change).toString("base64")}"]}]}`;
}

/**
 * Runs a list of requests per connection, each connection one at a time. Gives requests a second and
 * latencies in ms; an answer other than 2xx throws.
 */
export async function runConnections(wires, lists, between) {
  const latencies = [];
  const from = performance.now();
  const before = between?.();
  await Promise.all(
    wires.map(
      (wire, w) =>
        new Promise((resolve, reject) => {
          const list = lists[w];
          let i = 0;
          let sent = 0;
          const next = () => {
            if (i === list.length) return resolve();
            sent = performance.now();
            wire.send(list[i++], answered);
          };
          const answered = (status, body) => {
            if (status < 200 || status > 299) return reject(new Error(`status ${status}: ${String(body)}`));
            latencies.push(performance.now() - sent);
            next();
          };
          next();
        }),
    ),
  );
  const ms = performance.now() - from;
  const after = between?.();
  const count = latencies.length;
  return {
    count,
    perSecond: (count / ms) * 1000,
    latencies,
    cpuUs: before === undefined ? undefined : ((after - before) * 1000) / count,
  };
}
