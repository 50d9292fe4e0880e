import { SkaldError } from "../errors.ts";
import { LIMITS, valuesOf } from "../limits.ts";

const { http, repo, socket, feed } = LIMITS;

/** The numbers of `LIMITS` that a server can be made with others than. */
const SERVER = valuesOf({
  connections: http.connections,
  headMs: http.headMs,
  requestMs: http.requestMs,
  idleMs: http.idleMs,
  stalledMs: http.stalledMs,
  heldBytes: http.heldBytes,
  unreadMs: socket.unreadMs,
  requestsAtOnce: http.requestsAtOnce,
  jobsAtOnce: http.jobsAtOnce,
  jobsPerToken: http.jobsPerToken,
  rateTotal: http.rateTotal,
  rateToken: http.rateToken,
  rateAddress: http.rateAddress,
  rateRefused: http.rateRefused,
  rateSignIn: http.rateSignIn,
  sockets: socket.sockets,
  socketsPerToken: socket.socketsPerToken,
  streams: feed.streams,
  streamsPerToken: feed.streamsPerToken,
  behindBytes: feed.behindBytes,
  behindMs: feed.behindMs,
  joinMs: repo.joinMs,
  silentMs: repo.silentMs,
});
export type ServerLimits = Readonly<typeof SERVER>;

/** Counts things under way, of everybody and of each token. Whoever enters calls what it gets to leave. */
class Gate {
  readonly #most: number;
  readonly #mostEach: number;
  readonly #each = new Map<string, number>();
  #all = 0;

  constructor(most: number, mostEach: number) {
    this.#most = most;
    this.#mostEach = mostEach;
  }

  enter(who: string, full: () => SkaldError, fullFor: () => SkaldError): () => void {
    const own = this.#each.get(who) ?? 0;
    if (own >= this.#mostEach) throw fullFor();
    if (this.#all >= this.#most) throw full();
    this.#all += 1;
    this.#each.set(who, own + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#all -= 1;
      const rest = (this.#each.get(who) ?? 1) - 1;
      if (rest > 0) this.#each.set(who, rest);
      else this.#each.delete(who);
    };
  }
}

/** What a request holds of its body, or of an answer that is not out. */
export interface Held {
  bytes: number;
}

/** What one server has under way: nobody can make it hold more than it can, with a token or without. */
export class Load {
  readonly limits: ServerLimits;
  readonly #jobs: Gate;
  readonly #sockets: Gate;
  readonly #streams: Gate;
  #requests = 0;
  #heldBytes = 0;

  constructor(limits: Partial<ServerLimits> = {}) {
    this.limits = { ...SERVER, ...limits };
    this.#jobs = new Gate(this.limits.jobsAtOnce, this.limits.jobsPerToken);
    this.#sockets = new Gate(this.limits.sockets, this.limits.socketsPerToken);
    this.#streams = new Gate(this.limits.streams, this.limits.streamsPerToken);
  }

  /** Throws UNAVAILABLE; then there is nothing to leave. */
  enterRequest(): void {
    if (this.#requests >= this.limits.requestsAtOnce) throw full("requests are under way");
    this.#requests += 1;
  }

  leaveRequest(held: Held): void {
    this.#requests -= 1;
    this.release(held);
  }

  release(held: Held): void {
    this.#heldBytes -= held.bytes;
    held.bytes = 0;
  }

  /** Throws UNAVAILABLE and holds nothing more. */
  hold(held: Held, bytes: number): void {
    if (this.#heldBytes + bytes > this.limits.heldBytes) throw full("bytes of bodies are held");
    this.#heldBytes += bytes;
    held.bytes += bytes;
  }

  /** Long work of a token. Throws WORK_BUSY, RATE_LIMITED. */
  enterJob(token: string): () => void {
    return this.#jobs.enter(
      token,
      () => new SkaldError("WORK_BUSY", `${this.limits.jobsAtOnce} long jobs are under way.`),
      () => new SkaldError("RATE_LIMITED", `This token has ${this.limits.jobsPerToken} long jobs under way.`),
    );
  }

  /** Throws UNAVAILABLE, RATE_LIMITED. */
  enterStream(token: string): () => void {
    return this.#streams.enter(
      token,
      () => full("streams are open"),
      () => new SkaldError("RATE_LIMITED", `This token has ${this.limits.streamsPerToken} streams open.`),
    );
  }

  /** Throws UNAVAILABLE, RATE_LIMITED. */
  enterSocket(token: string): () => void {
    return this.#sockets.enter(
      token,
      () => full("sockets are open"),
      () => new SkaldError("RATE_LIMITED", `This token has ${this.limits.socketsPerToken} sockets open.`),
    );
  }
}

function full(what: string): SkaldError {
  return new SkaldError("UNAVAILABLE", `Too many ${what}.`);
}
