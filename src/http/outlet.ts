import type { ServerResponse } from "node:http";

/** Where an answer that goes on writes to, after its head. */
export class Outlet {
  readonly #res: ServerResponse;

  constructor(res: ServerResponse) {
    this.#res = res;
  }

  write(bytes: Uint8Array | string): void {
    if (!this.#res.writableEnded) this.#res.write(bytes);
  }

  /** Bytes that were written and that the connection has not taken. */
  get unread(): number {
    return this.#res.writableLength;
  }

  /** Called whenever everything written was taken, after it was too much. */
  onDrain(work: () => void): void {
    this.#res.on("drain", work);
  }

  /** Called once, when the connection is gone for whatever reason; at once when it already is. */
  onClose(work: () => void): void {
    if (this.#res.closed) work();
    else this.#res.once("close", work);
  }

  /** Writes the last bytes and closes when they are taken. */
  end(bytes: Uint8Array | string): void {
    if (!this.#res.writableEnded) this.#res.end(bytes);
  }

  /** Closes now. */
  destroy(): void {
    this.#res.destroy();
  }
}
