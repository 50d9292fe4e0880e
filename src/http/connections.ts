import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

interface Line {
  open: boolean;
  readonly waiting: (() => void)[];
}

/**
 * What one connection may ask for and how long it may leave an answer unread.
 *
 * Node hands over pipelined requests all at once and keeps every answer until its turn: 64 KiB of requests
 * could hold gigabytes of answers. Here a connection's next request begins when its last answer is out,
 * which also is the order in which its client would get to see them; many writes at once take many
 * connections, or the socket of `skald.tx.1`.
 */
export class Connections {
  readonly #lines = new WeakMap<Socket, Line>();

  /** Ends connections on which neither side moved for `stalledMs`, unless the server is still at work. */
  constructor(server: Server, stalledMs: number) {
    server.timeout = stalledMs;
    server.on("timeout", (socket: Socket) => {
      if (socket.writableLength > 0 || this.#lines.get(socket)?.open !== true) socket.destroy();
    });
  }

  /** Runs `handle` when it is this request's turn; never, when the connection is gone by then. */
  take({ socket }: IncomingMessage, res: ServerResponse, handle: () => void): void {
    let line = this.#lines.get(socket);
    if (!line) {
      line = { open: false, waiting: [] };
      this.#lines.set(socket, line);
    }
    const own = line;
    res.once("close", () => next(own, socket));
    if (!own.open) {
      own.open = true;
      handle();
      return;
    }
    own.waiting.push(handle);
    socket.pause();
  }
}

function next(line: Line, socket: Socket): void {
  line.open = false;
  if (socket.destroyed) {
    line.waiting.length = 0;
    return;
  }
  const handle = line.waiting.shift();
  if (!handle) return;
  if (line.waiting.length === 0) socket.resume();
  line.open = true;
  handle();
}
