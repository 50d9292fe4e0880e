import { connect } from "node:net";
import { WebSocket } from "ws";
import { encodeCbor } from "../../dist/ids/cbor.js";
import { Chain, mutated } from "./changes.mjs";
import { messageOf } from "./ledger.mjs";
import { wait } from "./random.mjs";

/** Seconds after which the server has ended a request whose head does not come, see specs/05-http.md. */
const HEAD_LIMIT_S = 30 + 5;

/** Requests that are wrong in every way; each must be refused by name and leave nothing. */
export async function hostileClient({ calls, slots, name, rnd, stopped, breathe }) {
  let count = 0;
  const attacks = [
    forged,
    forged,
    forged,
    badJson,
    badName,
    badToken,
    badPoint,
    badValue,
    oversized,
    halfRequest,
    garbage,
    badSocket,
  ];
  while (!stopped()) {
    await breathe();
    const slot = rnd.favoured(slots);
    if (slot.leaving || !slot.book) continue;
    await rnd.pick(attacks)(slot);
  }

  function path(slot, rest) {
    return `/api/v1/db/${slot.db}${rest}`;
  }

  /** A change that was altered, on a document that others only read. */
  async function forged(slot) {
    const doc = `hostile/${name}-${rnd.below(30)}`;
    const chain = new Chain({ uid: slot.uid, doc, writer: `${name} ${(count += 1)}` });
    const good = chain.next("k", rnd.text(1 + rnd.below(30)));
    const tx = `${name}-${process.pid}-${count}-${rnd.below(1e9)}`;
    await calls.write(
      "bad.change",
      {
        method: "POST",
        path: path(slot, "/branches/main/tx"),
        body: {
          client_tx_id: tx,
          message: messageOf(tx),
          writes: [{ doc, changes: [mutated(good.bytes, rnd).toString("base64")] }],
        },
      },
      { slot, tx, named: true },
    );
  }

  async function badJson(slot) {
    const body = rnd.pick([
      '{"writes": [',
      "[]",
      '{"writes": [], "x": 1}',
      "\u0000",
      '{"writes":[{"doc":1}]}',
    ]);
    await calls.send("bad.json", { method: "POST", path: path(slot, "/branches/main/tx"), body }, slot);
  }

  async function badName(slot) {
    const doc = rnd.pick([".x/y", "a%20b/c", `c/${"k".repeat(600)}`, "c/%00", "-/x"]);
    await calls.send("bad.name", { method: "PUT", path: path(slot, `/docs/${doc}`), body: {} }, slot);
  }

  async function badToken(slot) {
    const token = rnd.pick(["skald_x", "x".repeat(300), `skald_${rnd.bytes(16).toString("hex")}`]);
    await calls.send("bad.token", { path: path(slot, "/docs"), token }, slot);
  }

  async function badPoint(slot) {
    const at = rnd.pick(["99999999", "tomorrow", "-1", "2099-01-01T00:00:00Z", "bafkr4ie"]);
    await calls.send("bad.point", { path: path(slot, `/docs?at=${at}`) }, slot);
    await calls.send(
      "bad.cursor",
      { path: path(slot, `/docs?cursor=${rnd.bytes(12).toString("base64url")}`) },
      slot,
    );
    await calls.send("bad.confirm", { method: "DELETE", path: path(slot, "") }, slot);
    await calls.send("bad.method", { method: "PATCH", path: path(slot, "/docs") }, slot);
  }

  async function badValue(slot) {
    const body = rnd.pick([
      '{"a": 123456789012345678901234567890}',
      '{"a": "\\ud800"}',
      "7",
      '"text"',
      "null",
    ]);
    await calls.send("bad.value", { method: "PUT", path: path(slot, "/docs/hostile/value"), body }, slot);
  }

  async function oversized(slot) {
    if (!rnd.chance(0.1)) return;
    const body = Buffer.alloc(17 * 1024 * 1024, 0x20);
    await calls.send("bad.oversized", { method: "PUT", path: path(slot, "/docs/hostile/large"), body }, slot);
  }

  /** A head or body that stops in the middle; some clients go, some stay until the server ends it. */
  async function halfRequest(slot) {
    const { port, token } = calls.server;
    const { life } = calls.server;
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    const head = `PUT ${path(slot, "/docs/hostile/half")} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n`;
    const wholeHead = rnd.chance(0.5);
    socket.write(
      wholeHead
        ? `${head}content-type: application/json\r\ncontent-length: 100000\r\n\r\n{"a": "`
        : head.slice(0, 10 + rnd.below(head.length - 10)),
    );
    calls.tally.add("bad.half", wholeHead ? "body" : "head");
    if (wholeHead || rnd.chance(0.7)) {
      setTimeout(() => socket.destroy(), rnd.below(3000));
      return;
    }
    socket.resume();
    const from = Date.now();
    const timer = setTimeout(
      () => {
        const late = calls.weather.since(from);
        if (calls.server.life === life && !late.includes("paused") && !late.includes("restart"))
          calls.finding(`half a request was not ended within ${HEAD_LIMIT_S + 25} s`, {});
        socket.destroy();
      },
      (HEAD_LIMIT_S + 25) * 1000,
    );
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
  }

  async function garbage() {
    const socket = connect(calls.server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    socket.end(rnd.bytes(20 + rnd.below(500)));
    calls.tally.add("bad.garbage", "sent");
    await wait(rnd.below(50));
  }

  async function badSocket(slot) {
    const [frame, code] = rnd.pick([
      ["text", 1003],
      [Buffer.from([0xff, 0xff, 0x1f]), 1007],
      [encodeCbor([1, 2]), 1007],
      [Buffer.concat(Array.from({ length: 2049 }, () => encodeCbor({ id: 1, writes: [] }))), 1009],
    ]);
    const from = Date.now();
    const { life } = calls.server;
    const { book } = slot;
    const got = await new Promise((resolve) => {
      const socket = openSocket(calls.server, slot.db);
      const timer = setTimeout(() => {
        resolve("nothing");
        socket.terminate();
      }, 60_000);
      socket.on("open", () => socket.send(frame));
      socket.on("error", () => {});
      socket.on("close", (closed) => {
        clearTimeout(timer);
        resolve(closed);
      });
    });
    const weather = calls.weather.since(from);
    calls.tally.add("bad.socket", String(got));
    const free = weather.length > 0 || slot.book !== book || slot.leaving || slot.rebuilding;
    if (got !== code && calls.server.life === life && !free)
      calls.finding(`a socket that got rubbish closed with ${got}, not ${code}`, {});
  }
}

function openSocket({ port, token }, db) {
  return new WebSocket(`ws://127.0.0.1:${port}/api/v1/db/${db}/branches/main/tx`, "skald.tx.1", {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  });
}

/** Many connections at once that say nothing. Resolves when they are closed again. */
export async function flood({ calls, rnd }) {
  const sockets = Array.from({ length: 150 + rnd.below(250) }, () => {
    const socket = connect(calls.server.port, "127.0.0.1");
    socket.on("error", () => {});
    return socket;
  });
  calls.tally.add("flood", "connections");
  await wait(1000 + rnd.below(3000));
  for (const socket of sockets) socket.destroy();
}

/**
 * Readers that ask for a lot and never read: over HTTP by requests one after the other, over the socket by
 * transactions. Gives them as `{ended(): how many the server ended, count, close()}`.
 */
export function stallReaders({ calls, slots, rnd, count = 6 }) {
  const stalled = [];
  for (let i = 0; i < count; i += 1) {
    const slot = rnd.favoured(slots);
    if (!slot.book) continue;
    stalled.push(i % 3 > 0 ? stallHttp(calls, slot) : stallSocket(calls, slot, rnd));
  }
  return {
    count: stalled.length,
    open: () => stalled.filter((each) => !each.closed()).length,
    kinds: () => stalled.filter((each) => !each.closed()).map((each) => each.kind),
    close: () => {
      for (const each of stalled) each.close();
    },
  };
}

function stallHttp(calls, slot) {
  const { port, token } = calls.server;
  const socket = connect(port, "127.0.0.1");
  let closed = false;
  socket.on("error", () => {});
  socket.on("close", () => (closed = true));
  const ask = `GET /api/v1/db/${slot.db}/docs?limit=1000&values=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`;
  socket.write(ask.repeat(400));
  socket.pause();
  calls.tally.add("stall", "http");
  return {
    kind: "http",
    // Nothing is read, so an end shows only when something is written.
    closed: () => {
      if (!closed && socket.writable) socket.write("\r\n");
      return closed;
    },
    close: () => socket.destroy(),
  };
}

function stallSocket(calls, slot, rnd) {
  const { book } = slot;
  const socket = openSocket(calls.server, slot.db);
  const underWay = [];
  let closed = false;
  socket.on("error", () => {});
  socket.on("close", () => (closed = true));
  socket.on("open", () => {
    socket._socket.pause();
    const doc = `stall/${rnd.text(1).length}-${"n".repeat(400)}-${rnd.below(1e9)}`;
    const chain = new Chain({ uid: slot.uid, doc, writer: "stall" });
    for (let part = 0; part < 12; part += 1) {
      const frames = [];
      for (let i = 0; i < 500; i += 1) {
        const tx = `stall-${process.pid}-${rnd.below(1e9)}-${underWay.length}`;
        const { bytes } = chain.next(`k${i % 10}`, "v");
        chain.taken();
        underWay.push(tx);
        if (slot.book === book) book.lost({ tx, docs: [doc], named: true });
        frames.push(
          encodeCbor({
            id: underWay.length,
            tx,
            message: messageOf(tx),
            writes: [{ doc, changes: [bytes] }],
          }),
        );
      }
      socket.send(Buffer.concat(frames));
    }
  });
  calls.tally.add("stall", "socket");
  return {
    kind: "socket",
    closed: () => {
      if (!closed && socket._socket && !socket._socket.destroyed && socket.readyState === socket.OPEN)
        socket.ping();
      return closed || socket._socket?.destroyed === true;
    },
    close: () => socket.terminate(),
  };
}
