/** Sessions of one peer that are remembered: a client has one until it is loaded anew. */
const SESSIONS_MAX = 64;

/**
 * Which ephemeral messages of one sender are new. Clients count them up within a session, and the same one may
 * come by several ways.
 */
export class EphemeralCounts {
  /** Sessions, the one that was heard of last at the end. */
  readonly #counts = new Map<string, number>();

  /** Whether the message is newer than all before it in its session; then it is noted. */
  isNew(sessionId: string, count: number): boolean {
    const known = this.#counts.get(sessionId);
    if (known !== undefined && !(count > known)) return false;
    this.#counts.delete(sessionId);
    if (this.#counts.size >= SESSIONS_MAX) {
      for (const oldest of this.#counts.keys()) {
        this.#counts.delete(oldest);
        break;
      }
    }
    this.#counts.set(sessionId, count);
    return true;
  }
}
