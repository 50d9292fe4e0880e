import { SkaldError, problemIn } from "./error.ts";
import { either, pause, reasonOf, type Closing, type Platform, type ResponseLike } from "./platform.ts";

/** One request, relative to `/api/v1`. */
export interface Ask {
  readonly method: "GET" | "PUT" | "PATCH" | "POST" | "DELETE";
  readonly path: string;
  /** A list is written once for each of its items. */
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal?: AbortSignal | undefined;
  /** Tries after the first when nobody answers or the server is busy; those of the client when left out. */
  readonly retries?: number;
  /** The answer goes on after it was given, for as long as `signal` lets it: that covers the client's end too. */
  readonly streams?: boolean;
  /** Statuses beside 2xx that are answers, no refusals. */
  readonly also?: readonly number[];
}

export interface RequestOptions {
  readonly url: string;
  readonly platform: Platform;
  readonly token: string | undefined;
  readonly getToken: (() => Promise<string> | string) | undefined;
  readonly retries: number;
  /** Told after each try whether somebody answered. */
  readonly onReach: (reached: boolean) => void;
  /** Ends what is under way. */
  readonly closing: Closing;
}

/** Pauses between tries, in milliseconds: doubled each time, and of that a random part from the half on. */
const PAUSES = { first: 250, last: 10_000 } as const;

/** How long to wait before the try after `tries` failed ones. */
export function pauseBefore(platform: Platform, tries: number): number {
  const whole = Math.min(PAUSES.last, PAUSES.first * 2 ** Math.min(tries, 10));
  return whole * (0.5 + (platform.random(1)[0] as number) / 512);
}

/** Whether the same request may be answered otherwise in a moment. */
export function isPassing(error: unknown): boolean {
  const { code, status } = error as { code?: unknown; status?: unknown };
  return code === "OFFLINE" || PASSING.has(status as number);
}

/** Too slow, too many, unavailable; and what stands before a server that does not answer. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504]);

/** Sends requests: puts the token on them, gets a new one after a 401, tries again what passes. */
export class Requests {
  readonly base: string;
  readonly #options: RequestOptions;
  readonly #platform: Platform;
  #token: string | undefined;
  #refresh: Promise<string> | undefined;

  constructor(options: RequestOptions) {
    this.#options = options;
    this.#platform = options.platform;
    this.#token = options.token;
    this.base = `${options.url.replace(/\/+$/, "")}/api/v1`;
  }

  /** Whether requests carry a token. */
  get known(): boolean {
    return this.#token !== undefined || this.#options.getToken !== undefined;
  }

  set token(token: string | undefined) {
    this.#token = token;
  }

  /** The answer, which was not refused. Throws SkaldError; OFFLINE when nobody answered. */
  async send(ask: Ask): Promise<ResponseLike> {
    const retries = ask.retries ?? this.#options.retries;
    const { closing } = this.#options;
    const { signal, unlink } =
      ask.streams && ask.signal ? { signal: ask.signal, unlink: () => {} } : either(ask.signal, closing);
    try {
      for (let tries = 0; ; tries += 1) {
        if (signal.aborted) throw reasonOf(signal);
        try {
          return await this.#once({ ...ask, signal });
        } catch (error) {
          if (signal.aborted) throw reasonOf(signal);
          if (tries >= retries || !isPassing(error)) throw error;
          const asked = (error as SkaldError).details["retry_after_ms"];
          const least = typeof asked === "number" ? asked : 0;
          await pause(this.#platform, Math.max(least, pauseBefore(this.#platform, tries)), signal);
        }
      }
    } finally {
      unlink();
    }
  }

  async json<T>(ask: Ask): Promise<T> {
    const text = await this.#body(await this.send(ask), (response) => response.text());
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new SkaldError("BAD_ANSWER", "The answer is not JSON.", { cause: error });
    }
  }

  bytes(response: ResponseLike): Promise<Uint8Array> {
    return this.#body(response, async (from) => new Uint8Array(await from.arrayBuffer()));
  }

  /** A body that breaks off is no answer: who waits for it may try again. */
  async #body<T>(response: ResponseLike, read: (response: ResponseLike) => Promise<T>): Promise<T> {
    try {
      return await read(response);
    } catch (error) {
      throw offline(error);
    }
  }

  async #once(ask: Ask): Promise<ResponseLike> {
    const token = this.#token ?? (await this.#newToken(undefined));
    const response = await this.#fetch(ask, token);
    if (response.status !== 401 || !this.#options.getToken) return this.#checked(response, ask);
    // Somebody else may have got a new one meanwhile.
    const renewed = this.#token === token ? await this.#newToken(token) : this.#token;
    return this.#checked(await this.#fetch(ask, renewed), ask);
  }

  async #fetch(ask: Ask, token: string | undefined): Promise<ResponseLike> {
    const query = Object.entries(ask.query ?? {})
      .flatMap(([name, value]) => [value ?? []].flat().map((one): [string, unknown] => [name, one]))
      .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`)
      .join("&");
    const url = `${this.base}${ask.path}${query === "" ? "" : `?${query}`}`;
    const headers = { ...ask.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    try {
      const response = await this.#platform.fetch(url, {
        method: ask.method,
        headers,
        // The browser's cache would answer a 304 for us and hide what the server said.
        cache: "no-store",
        ...(ask.body === undefined ? {} : { body: ask.body }),
        ...(ask.signal === undefined ? {} : { signal: ask.signal }),
      });
      this.#options.onReach(true);
      return response;
    } catch (error) {
      if (ask.signal?.aborted) throw error;
      this.#options.onReach(false);
      throw offline(error);
    }
  }

  async #checked(response: ResponseLike, ask: Ask): Promise<ResponseLike> {
    if (response.ok || ask.also?.includes(response.status)) return response;
    const problem = problemIn(response.status, await this.#body(response, (from) => from.text()));
    const wait = retryAfter(response.headers.get("retry-after"), this.#platform.now());
    if (wait === undefined) throw problem;
    throw new SkaldError(problem.code, problem.message, {
      status: problem.status,
      hint: problem.hint,
      details: { ...problem.details, retry_after_ms: wait },
    });
  }

  /** One for all who wait for it. `old` is the one that was refused. */
  async #newToken(old: string | undefined): Promise<string | undefined> {
    const { getToken } = this.#options;
    if (!getToken) return old;
    this.#refresh ??= (async () => getToken())().finally(() => {
      this.#refresh = undefined;
    });
    try {
      this.#token = await this.#refresh;
    } catch (error) {
      // Whoever gives tokens out may be out of reach too: no reason to give a write up.
      throw new SkaldError("OFFLINE", "getToken() gave no token.", { cause: error });
    }
    return this.#token;
  }
}

function offline(cause: unknown): SkaldError {
  return new SkaldError("OFFLINE", "The server could not be reached.", {
    hint: "Is the machine online, and does the server run? From a page of another origin the server must allow it: --cors-origin.",
    cause,
  });
}

/** `Retry-After` in milliseconds: a number of seconds, or a date. */
function retryAfter(text: string | null, now: number): number | undefined {
  if (text === null) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
