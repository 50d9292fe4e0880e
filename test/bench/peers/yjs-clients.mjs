import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { WebSocket } from "ws";
import * as Y from "yjs";
import { clock, serve } from "./driver.mjs";

/** Stock Hocuspocus providers: many documents over one socket, or a socket for each. */
const sockets = [];
let held = [];

class PlainSocket extends WebSocket {
  constructor(url) {
    super(url, { perMessageDeflate: false });
  }
}

function openSocket(url, polyfill = PlainSocket) {
  const socket = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: polyfill });
  socket.setMaxListeners?.(1000);
  sockets.push(socket);
  return socket;
}

function provide(websocketProvider, name) {
  const document = new Y.Doc();
  const provider = new HocuspocusProvider({ websocketProvider, name, document, awareness: null });
  provider.attach();
  const synced = new Promise((resolve) => {
    if (provider.synced && !provider.hasUnsyncedChanges) resolve();
    provider.on("synced", resolve);
  });
  return { provider, document, map: document.getMap("root"), synced };
}

/** Sockets that say when bytes came and, once deaf, give them to nobody. */
function stamping(stamps) {
  const state = { deaf: false };
  class StampingSocket extends PlainSocket {
    emit(event, ...args) {
      if (event === "message" && state.deaf) {
        stamps.push(clock());
        return true;
      }
      return super.emit(event, ...args);
    }
  }
  return { state, StampingSocket };
}

let fan;

serve({
  /** `docs` documents, all over one socket. */
  open: async ({ url, docs, prefix = "d" }) => {
    const socket = openSocket(url);
    held = Array.from({ length: docs }, (_, i) => provide(socket, `${prefix}${i}`));
    await Promise.all(held.map(({ synced }) => synced));
  },
  /** Updates acknowledged in `ms`, with `inFlight` of each document under way at a time. */
  updates: ({ ms, inFlight }) =>
    new Promise((resolve) => {
      const started = performance.now();
      let acked = 0;
      let left = held.length;
      let n = 0;
      for (const { provider, map } of held) {
        let sent = 0;
        let over = false;
        const send = () => {
          sent += 1;
          map.set(`field${n % 20}`, `value ${n}`);
          n += 1;
        };
        const hear = ({ number }) => {
          // Sending counts up, an answer counts down.
          if (number >= sent) return;
          acked += sent - number;
          sent = number;
          if (performance.now() - started < ms) {
            while (sent < inFlight) send();
          } else if (sent === 0 && !over) {
            over = true;
            provider.off("unsyncedChanges", hear);
            if (--left === 0) resolve({ acked, ms: performance.now() - started });
          }
        };
        provider.on("unsyncedChanges", hear);
        while (sent < inFlight) send();
      }
    }),
  /** One writer and `readers` subscribers of a document, each with a socket of its own. */
  gather: async ({ url, readers, name, value }) => {
    const stamps = [];
    const { state, StampingSocket } = stamping(stamps);
    const writer = provide(openSocket(url), name);
    await writer.synced;
    writer.map.set("note", value);
    const heard = Array.from({ length: readers }, () => provide(openSocket(url, StampingSocket), name));
    await Promise.all(heard.map(({ synced }) => synced));
    await new Promise((resolve) => setTimeout(resolve, 300));
    state.deaf = true;
    stamps.length = 0;
    fan = { writer, stamps, readers, n: 0 };
  },
  /** Milliseconds from an edit until its bytes are with a subscriber, for each edit and subscriber. */
  fanOut: async ({ edits, gapMs }) => {
    const { writer, stamps, readers } = fan;
    const latencies = [];
    for (let i = 0; i < edits; i += 1) {
      stamps.length = 0;
      const from = clock();
      writer.map.set("count", fan.n++);
      const until = from + 5000;
      while (stamps.length < readers && clock() < until)
        await new Promise((resolve) => setTimeout(resolve, 1));
      if (stamps.length < readers) throw new Error(`${stamps.length} of ${readers} heard of an edit`);
      for (const at of stamps.slice(0, readers)) latencies.push(at - from);
      await new Promise((resolve) => setTimeout(resolve, gapMs));
    }
    return latencies;
  },
  /** Makes documents of `bytes` and lets each be stored. */
  make: async ({ url, docs, bytes, prefix }) => {
    const socket = openSocket(url);
    const made = Array.from({ length: docs }, (_, i) => provide(socket, `${prefix}${i}`));
    await Promise.all(made.map(({ synced }) => synced));
    for (const { map } of made)
      map.set("note", "a note of some length ".repeat(Math.ceil(bytes / 22)).slice(0, bytes));
    while (made.some(({ provider }) => provider.hasUnsyncedChanges))
      await new Promise((resolve) => setTimeout(resolve, 20));
    for (const { provider } of made) provider.destroy();
  },
  close: () => {
    for (const { provider } of held) provider.destroy();
    for (const socket of sockets.splice(0)) socket.destroy();
    held = [];
  },
});
