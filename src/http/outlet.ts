import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/**
 * Where an answer that goes on writes to, after its head. It writes past the response to the connection, which
 * is its own until the end: half the cost for each of a thousand who get the same bytes.
 */
export class Outlet {
  readonly #res: ServerResponse;
  readonly #socket: Socket | null;

  /** The head is out, and it says that the connection ends with the answer and that nothing frames it. */
  constructor(res: ServerResponse) {
    this.#res = res;
    this.#socket = res.socket;
  }

  write(bytes: Uint8Array | string): void {
    if (this.#socket?.writable === true) this.#socket.write(bytes);
  }

  /** Bytes that were written and that the connection has not taken. */
  get unread(): number {
    return this.#socket?.writableLength ?? 0;
  }

  /** Called whenever everything written was taken, after it was too much. */
  onDrain(work: () => void): void {
    this.#socket?.on("drain", work);
  }

  /** Called once, when the connection is gone for whatever reason; at once when it already is. */
  onClose(work: () => void): void {
    if (this.#res.closed || !this.#socket) work();
    else this.#res.once("close", work);
  }

  /** Writes the last bytes and closes when they are taken. */
  end(bytes: Uint8Array | string): void {
    this.#socket?.end(bytes);
  }

  /** Closes now. */
  destroy(): void {
    this.#socket?.destroy();
  }
}
