import { WebSocket } from "ws";
import { decodeCborSequence, encodeCbor } from "../../dist/ids/cbor.js";
import { cidToString } from "../../dist/ids/cid.js";
import { isExpected } from "./expected.mjs";
import { messageOf } from "./ledger.mjs";
import { Chain } from "./changes.mjs";
import { wait } from "./random.mjs";

/** Of one writer in one life of a db: its chains of changes. */
function chainsOf(slot, writer) {
  const all = slot.chains;
  return (doc) => {
    const known = `${writer} ${doc}`;
    let chain = all.get(known);
    if (!chain) all.set(known, (chain = new Chain({ uid: slot.uid, doc, writer })));
    return chain;
  };
}

/** Transactions over HTTP: values, patches, deletions and changes of several documents at once. */
export async function txWriter({ calls, slots, name, rnd, stopped, breathe }) {
  let count = 0;
  let waiting;
  while (!stopped()) {
    await breathe();
    if (waiting && waiting.slot.book !== waiting.book) waiting = undefined;
    const slot = waiting?.slot ?? rnd.favoured(slots);
    if (slot.leaving || !slot.book) {
      await wait(20);
      continue;
    }
    const request = waiting ?? make(slot);
    const { book, kind, body, tx, docs, chains } = request;
    const path = `/api/v1/db/${slot.db}/branches/main/tx`;
    const answer = await calls.write(kind, { method: "POST", path, body }, { slot, tx, docs, named: true });
    // A repeat that is refused says nothing of what it repeats.
    waiting = (answer.broken || (waiting && !answer.ok)) && slot.book === book ? request : undefined;
    if (!answer.ok || slot.book !== book) continue;
    for (const chain of chains) chain.taken();
    const { seq, duplicate } = answer.json();
    if (!duplicate) {
      slot.repeats.push({ kind, method: "POST", path, body, seq });
      if (slot.repeats.length > 50) slot.repeats.shift();
    }
  }

  function make(slot) {
    const tx = `${name}-${process.pid}-${(count += 1)}-${rnd.below(1e9)}`;
    const chainOf = chainsOf(slot, name);
    const chains = [];
    const writes = new Map();
    let expecting = false;
    for (let i = 1 + rnd.below(4); i > 0; i -= 1) {
      const dice = rnd.random();
      if (dice < 0.5) {
        const doc = rnd.chance(0.7) ? `plain/${name}-${rnd.below(12)}` : `joint/${rnd.below(6)}`;
        if (writes.has(doc)) continue;
        const chain = chainOf(doc);
        const change = chain.next(`k${rnd.below(20)}`, rnd.text(1 + rnd.below(40)));
        chains.push(chain);
        writes.set(doc, { doc, changes: [change.bytes.toString("base64")] });
      } else {
        // The name makes it differ from what is there, so that the commit names it.
        const doc = `shared/${rnd.below(10)}`;
        if (dice < 0.75) writes.set(doc, { doc, value: { tx, text: rnd.text(rnd.below(100)) } });
        else writes.set(doc, { doc, patch: { tx, [`p${rnd.below(5)}`]: rnd.text(10) } });
      }
    }
    if (rnd.chance(0.08)) {
      const doc = `shared/${rnd.below(10)}`;
      writes.set(doc, { doc, base_heads: [], value: { tx } });
      expecting = true;
    }
    return {
      slot,
      book: slot.book,
      kind: expecting ? "tx.expecting" : "tx",
      body: { client_tx_id: tx, message: messageOf(tx), writes: [...writes.values()] },
      tx,
      docs: [...writes.keys()],
      chains,
    };
  }
}

/** Changes over `skald.tx.1`, one under way for each of its documents; the same again after a cut. */
export async function socketWriter({ calls, slots, name, rnd, stopped, breathe }) {
  let count = 0;
  while (!stopped()) {
    await breathe();
    const slot = rnd.favoured(slots);
    if (slot.leaving || !slot.book) continue;
    await calls.gate.through(async () => {
      // Who compares the log of a db waits until nothing of it is under way.
      slot.underWay += 1;
      await session(slot, 200 + rnd.below(1500)).finally(() => (slot.underWay -= 1));
    });
  }

  /** Ends when it sent `most`, its socket closed, or the gate did. */
  async function session(slot, most) {
    const { book } = slot;
    const { server } = calls;
    const { life } = server;
    const from = Date.now();
    const url = `ws://127.0.0.1:${server.port}/api/v1/db/${slot.db}/branches/main/tx`;
    const socket = new WebSocket(url, "skald.tx.1", {
      headers: { authorization: `Bearer ${server.token}` },
      perMessageDeflate: false,
    });
    const opened = await new Promise((resolve) => {
      socket.once("open", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    const weather = () => [
      ...calls.weather.since(from),
      ...(slot.book !== book || slot.leaving ? ["deleting"] : []),
    ];
    if (!opened) {
      const known = ["restart", "stopping", "deleting", "full", "flood", "paused"];
      if (server.life === life && !weather().some((each) => known.includes(each)))
        calls.finding("a socket was refused", { db: slot.db, weather: weather() });
      return;
    }
    const chainOf = chainsOf(slot, name);
    const underWay = new Map();
    let sent = 0;
    await new Promise((resolve) => {
      const send = (id) => {
        // What a cut left open is sent again under its own name.
        const doc = `ws/${name}-${id}`;
        const resumed = slot.resumed.get(`${name} ${doc}`);
        const tx = resumed ?? `${name}-${process.pid}-${(count += 1)}-${rnd.below(1e9)}`;
        slot.resumed.delete(`${name} ${doc}`);
        const chain = chainOf(doc);
        const change = chain.next(`k${rnd.below(20)}`, rnd.text(1 + rnd.below(30)));
        underWay.set(id, { tx, doc, chain, at: performance.now() });
        sent += 1;
        return encodeCbor({ id, tx, message: messageOf(tx), writes: [{ doc, changes: [change.bytes] }] });
      };
      socket.on("message", (data) => {
        const due = [];
        for (const { id, error, seq, commit, duplicate } of decodeCborSequence(data)) {
          const { tx, doc, chain, at } = underWay.get(id);
          underWay.delete(id);
          const answer = error ? `ws ${error.code}` : "ws ok";
          calls.tally.add("ws", answer, performance.now() - at);
          if (slot.book !== book) continue;
          if (error) {
            if (book.unknown.has(tx)) slot.resumed.set(`${name} ${doc}`, tx);
            book.refusedFor(tx);
            const known = isExpected("tx", `${STATUS[error.code] ?? 400} ${error.code}`, weather());
            if (!known)
              calls.finding(`unexpected answer on a socket: ${error.code}`, { doc, detail: error.detail });
            continue;
          }
          calls.acknowledged(book, { seq, commit: cidToString(commit), tx, duplicate });
          chain.taken();
          if (sent < most && calls.gate.isOpen && !stopped() && !slot.leaving) due.push(send(id));
        }
        if (due.length > 0) socket.send(Buffer.concat(due));
        else if (underWay.size === 0) socket.close();
      });
      socket.on("error", () => {});
      socket.on("close", (code) => {
        const now = weather();
        const known =
          ["restart", "stopping", "deleting"].some((each) => now.includes(each)) || slot.rebuilding;
        if (underWay.size > 0 && server.life === life && !known)
          calls.finding(`a socket closed with ${code} and left ${underWay.size} unanswered`, {
            db: slot.db,
            weather: now,
          });
        if (slot.book === book)
          for (const { tx, doc } of underWay.values()) {
            book.lost({ tx, docs: [doc], named: true });
            slot.resumed.set(`${name} ${doc}`, tx);
          }
        resolve();
      });
      socket.send(Buffer.concat(Array.from({ length: 16 }, (_, id) => send(id))));
    });
  }
}

const STATUS = { STORAGE_FULL: 507, UNAVAILABLE: 503, WORK_BUSY: 503, DB_NOT_FOUND: 404 };
