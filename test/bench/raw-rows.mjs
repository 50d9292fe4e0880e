import { createServer, connect } from "node:net";
import Database from "better-sqlite3";
import { RecordLog } from "./raw-sqlite.mjs";
import { serve } from "./peers/driver.mjs";

/**
 * What reading, sending and inserting the same rows costs when nothing else is done, in a process of
 * its own like the servers that it is compared with.
 */
const PAGE = 1000;

function* pages(file) {
  const sqlite = new Database(file, { readonly: true });
  try {
    const read = sqlite.prepare("SELECT seq, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?");
    for (let after = 0; ;) {
      const rows = read.all(after, PAGE);
      if (rows.length === 0) return;
      after = rows.at(-1).seq;
      yield rows;
    }
  } finally {
    sqlite.close();
  }
}

serve({
  /** Reads all rows of a log. */
  read: ({ file }) => {
    const from = performance.now();
    let rows = 0;
    let bytes = 0;
    for (const page of pages(file)) {
      rows += page.length;
      for (const { body } of page) bytes += body.length;
    }
    return { rows, bytes, ms: performance.now() - from };
  },
  /** Gives the rows of a log to whoever connects, each behind its length. */
  offer: ({ file }) =>
    new Promise((resolve) => {
      const server = createServer(async (socket) => {
        socket.on("error", () => {});
        for (const page of pages(file)) {
          const parts = [];
          for (const { body } of page) {
            const size = Buffer.alloc(4);
            size.writeUInt32LE(body.length);
            parts.push(size, body);
          }
          if (!socket.write(Buffer.concat(parts)))
            await new Promise((drained) => socket.once("drain", drained));
        }
        socket.end();
      });
      server.listen(0, "127.0.0.1", () => resolve(server.address().port));
    }),
  /** Takes rows from there and inserts them, 1,000 in a durable transaction. */
  take: ({ port, dir }) =>
    new Promise((resolve, reject) => {
      const log = new RecordLog(dir);
      const from = performance.now();
      let rows = 0;
      let bytes = 0;
      let left = Buffer.alloc(0);
      let due = [];
      const flush = () => {
        if (due.length > 0) log.append(due);
        rows += due.length;
        due = [];
      };
      const socket = connect(port, "127.0.0.1");
      socket.on("error", reject);
      socket.on("data", (piece) => {
        bytes += piece.length;
        let buffer = left.length === 0 ? piece : Buffer.concat([left, piece]);
        let at = 0;
        while (buffer.length - at >= 4) {
          const size = buffer.readUInt32LE(at);
          if (buffer.length - at - 4 < size) break;
          due.push({ record: buffer.subarray(at + 4, at + 4 + size) });
          at += 4 + size;
          if (due.length === PAGE) flush();
        }
        left = buffer.subarray(at);
      });
      socket.on("end", () => {
        flush();
        const ms = performance.now() - from;
        log.close();
        resolve({ rows, bytes, ms });
      });
    }),
  /** Writes the bytes it is sent to everyone who is connected, whenever one of them says so. */
  repeat: () =>
    new Promise((resolve) => {
      const sockets = new Set();
      const server = createServer({ noDelay: true }, (socket) => {
        sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => sockets.delete(socket));
        socket.on("data", (bytes) => {
          for (const other of sockets) if (other !== socket) other.write(bytes);
        });
      });
      server.listen({ port: 0, host: "127.0.0.1", backlog: 2000 }, () => resolve(server.address().port));
    }),
});
