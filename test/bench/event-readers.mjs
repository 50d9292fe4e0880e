import { connect } from "node:net";
import { clock, serve } from "./peers/driver.mjs";

/** Many sockets that count the bytes they get, in a process of their own. */
const groups = new Map();

function reader(port, hello) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const held = { socket, got: 0, heard: undefined };
  socket.on("data", (piece) => {
    held.got += piece.length;
    held.heard?.();
  });
  if (hello) socket.write(hello);
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(held));
    socket.once("error", reject);
  });
}

/** Resolves with the time at which each of the group has `bytes` more than it had. */
function allHave(group, bytes) {
  return new Promise((resolve) => {
    let left = group.length;
    for (const held of group) {
      const until = held.got + bytes;
      held.heard = () => {
        if (held.got < until) return;
        held.heard = undefined;
        if (--left === 0) resolve(clock());
      };
    }
  });
}

serve({
  open: async ({ name, port, readers, token }) => {
    const hello =
      token &&
      `GET /api/v1/db/bench/changes?feed=sse&since=now&heartbeat=60000 HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${token}\r\naccept: text/event-stream\r\n\r\n`;
    const group = [];
    // In lots: a backlog has room for so many.
    while (group.length < readers) {
      const lot = Math.min(100, readers - group.length);
      group.push(...(await Promise.all(Array.from({ length: lot }, () => reader(port, hello)))));
    }
    while (token && group.some(({ got }) => got === 0))
      await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 500));
    groups.set(name, group);
    for (const held of group) held.got = 0;
  },
  /** Bytes of one event, which all have got. */
  one: async ({ name }) => {
    const group = groups.get(name);
    const [first] = group;
    while (first.got === 0 || group.some(({ got }) => got !== first.got))
      await new Promise((resolve) => setTimeout(resolve, 10));
    return first.got;
  },
  last: ({ name, bytes }) => allHave(groups.get(name), bytes),
  /** Has the server of raw sockets write `bytes` to all, and gives how long it took. */
  repeat: async ({ name, bytes }) => {
    const [asking, ...others] = groups.get(name);
    const heard = allHave(others, bytes);
    const from = clock();
    asking.socket.write(Buffer.alloc(bytes, "x"));
    return (await heard) - from;
  },
});
