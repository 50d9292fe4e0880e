import { Agent, request } from "node:http";

/** An answer that did not come, or broke off. */
export class Broken extends Error {}

/**
 * Requests to whichever server runs now. `target()` gives its `{port, token}`. An agent holds the
 * connections of one life of the server; `reset` drops them.
 */
export class HttpClient {
  #target;
  #agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(target) {
    this.#target = target;
  }

  reset() {
    this.#agent.destroy();
    this.#agent = new Agent({ keepAlive: true, maxSockets: 64 });
  }

  /** Gives `{status, code, headers, body, json(), ms}`; throws Broken. */
  send({ method = "GET", path, headers = {}, body, token, timeoutMs = 120_000 }) {
    const { port, token: admin } = this.#target();
    const started = performance.now();
    const data =
      body === undefined || Buffer.isBuffer(body) || typeof body === "string" ? body : toJson(body);
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Broken(`${method} ${path}: ${why}`));
      const req = request(
        {
          host: "127.0.0.1",
          port,
          method,
          path,
          agent: this.#agent,
          headers: {
            authorization: `Bearer ${token ?? admin}`,
            ...(data === undefined ? {} : { "content-length": Buffer.byteLength(data) }),
            ...(data !== undefined && headers["content-type"] === undefined
              ? { "content-type": "application/json" }
              : {}),
            ...headers,
          },
        },
        (res) => {
          const parts = [];
          res.on("data", (part) => parts.push(part));
          res.on("error", (error) => fail(error.message));
          res.on("aborted", () => fail("the answer broke off"));
          res.on("end", () => {
            clearTimeout(timer);
            if (!res.complete) return fail("the answer broke off");
            const bytes = Buffer.concat(parts);
            resolve({
              status: res.statusCode,
              headers: res.headers,
              body: bytes,
              code: codeOf(res, bytes),
              ms: performance.now() - started,
              json: () => JSON.parse(bytes.toString("utf8")),
            });
          });
        },
      );
      const timer = setTimeout(() => {
        fail(`no answer within ${timeoutMs / 1000} s`);
        req.destroy();
      }, timeoutMs);
      req.on("error", (error) => {
        clearTimeout(timer);
        fail(error.code ?? error.message);
      });
      req.end(data);
    });
  }
}

function toJson(value) {
  return JSON.stringify(value);
}

function codeOf(res, bytes) {
  if (!(res.headers["content-type"] ?? "").startsWith("application/problem+json")) return undefined;
  try {
    return JSON.parse(bytes.toString("utf8")).code;
  } catch {
    return "NO_CODE";
  }
}
