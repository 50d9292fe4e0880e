import type { IncomingMessage, ServerResponse } from "node:http";
import type { Identity } from "../auth/identity.ts";
import type { Vigil } from "../auth/vigil.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { World } from "../world.ts";
import { send } from "./answer.ts";
import { Outlet } from "./outlet.ts";
import { problemOf } from "./problem.ts";
import type { Answer, Route } from "./route.ts";

/**
 * For how long a request may go on: as long as its client is there and what it came with holds. When that ends,
 * what only reads ends with it, answered or not. What writes is told the truth about what it did: it was allowed when
 * it was asked for, and an answer that denies a commit which is there would have it made twice.
 */
export class Lease {
  /** What the client came with holds no more. */
  lost = false;
  /** And it was told so, in the place of an answer. */
  answered = false;
  readonly #route: Route;
  readonly #requestId: string;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #world: World;
  #controller: AbortController | undefined;
  #politely: (() => void) | undefined;
  #leave: (() => void) | undefined;

  constructor(route: Route, requestId: string, req: IncomingMessage, res: ServerResponse, world: World) {
    this.#route = route;
    this.#requestId = requestId;
    this.#req = req;
    this.#res = res;
    this.#world = world;
  }

  begin({ by, alive }: Identity, vigil: Vigil): void {
    if (by === "operator" || by === "nobody") return;
    this.#leave = vigil.add({ alive, end: () => this.#lose() });
  }

  over(): void {
    this.#leave?.();
  }

  politely(work: () => void): void {
    this.#politely = work;
    if (this.lost) work();
  }

  // Made on demand: most calls never look, and a controller with its listener costs 3 µs.
  get signal(): AbortSignal {
    if (!this.#controller) {
      const made = new AbortController();
      this.#controller = made;
      // An abort makes an exception with its stack: most answers are out before.
      this.#res.once("close", () => {
        if (!this.#res.writableFinished) made.abort();
      });
      if (this.lost) made.abort();
    }
    return this.#controller.signal;
  }

  #lose(): void {
    this.lost = true;
    const res = this.#res;
    if (this.#politely) {
      this.#politely();
      res.once(
        "close",
        this.#world.timer(LIMITS.socket.closeMs.value, () => res.destroy()),
      );
      return;
    }
    if (res.headersSent) res.destroy();
    else if (READS.has(this.#route.method) || this.#route.stays) this.#refuse();
    // Its handler lets go of what it began by the same way as when the upload breaks off.
    else if (this.#route.body?.streamed && !this.#req.complete) this.#req.destroy();
    this.#controller?.abort();
  }

  #refuse(): void {
    this.answered = true;
    void send(
      problemOf(credentialEnded(), this.#requestId),
      this.#requestId,
      this.#req,
      this.#res,
      true,
      this.#world,
    );
  }
}

const READS: ReadonlySet<string> = new Set(["GET", "QUERY"]);

export function credentialEnded(): SkaldError {
  return new SkaldError("UNAUTHENTICATED", "What the request came with was revoked or ran out meanwhile.");
}

/** Has an answer that nobody is to get give back what it holds. */
export async function letGo({ live, body }: Answer, res: ServerResponse): Promise<void> {
  if (live) {
    if (!res.closed) await new Promise((resolve) => res.once("close", resolve));
    await live(new Outlet(res));
  } else if (typeof body === "object" && !(body instanceof Uint8Array)) {
    await body[Symbol.asyncIterator]().return?.();
  }
}
