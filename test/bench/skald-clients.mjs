import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { toBase58Check } from "../../dist/ids/document-id.js";
import { SkaldClient } from "../../dist/client/index.js";
import { clock, serve } from "./peers/driver.mjs";
import { FramePeer } from "./sync-frames.mjs";
import { smallChanges } from "./workload.mjs";

/** Skald's own client, and bare frames of the protocol that it speaks. */
let live = [];
let bare;
let fan;

async function settle() {
  for (const { document } of live) await document.saved();
}

/**
 * Peers on machines of their own do not wait for each other's answers. Here they share a processor, so what one
 * answers would be counted as the next one's delay: the answers go out together, ANSWER_MS later.
 */
const ANSWER_MS = 5;
const answers = [];

function answerLater(answer) {
  answers.push(answer);
  if (answers.length > 1) return;
  setTimeout(() => {
    for (const send of answers.splice(0)) send();
  }, ANSWER_MS);
}

const newId = () => toBase58Check(randomBytes(16));

/** Sends changes of one document after the other, `inFlight` at a time, until `over`; gives how many were acknowledged. */
function replay(held, inFlight, over, acked) {
  return new Promise((resolve) => {
    const { peer, documentId, list } = held;
    const send = () => {
      const { bytes, hash } = list[held.sent++];
      peer.tell(documentId, [hash], [bytes], { lastSync: held.known });
    };
    peer.listen(documentId, ({ heads }) => {
      const at = held.at.get(heads[0]);
      if (at === undefined || at < held.acked) return;
      acked(at + 1 - held.acked);
      held.acked = at + 1;
      held.known = heads;
      if (over() || held.sent >= list.length) {
        if (held.acked === held.sent) resolve();
        return;
      }
      while (held.sent - held.acked < inFlight && held.sent < list.length) send();
    });
    while (held.sent - held.acked < inFlight && held.sent < list.length) send();
  });
}

serve({
  open: async ({ url, token, db, docs, socket }) => {
    const client = new SkaldClient({ url, db, token, WebSocket });
    live = await Promise.all(
      Array.from({ length: docs }, async (_, i) => {
        const document = client.open(`live/d${i}`, { initial: { title: `Document ${i}` } });
        await document.ready();
        document.change((draft) => (draft.n = 0));
        return { document, n: 1 };
      }),
    );
    await settle();
    const lists = await smallChanges({ docs, changes: 500 });
    const peer = await FramePeer.open(socket);
    bare = { peer, lists, docs: [] };
  },
  /** Updates by Skald's client acknowledged in `ms`, `inFlight` of each document under way. */
  updates: ({ ms, inFlight }) =>
    new Promise((resolve) => {
      const started = performance.now();
      let acked = 0;
      let left = live.length;
      for (const held of live) {
        const { document } = held;
        let sent = 0;
        let over = false;
        const send = () => {
          sent += 1;
          const n = held.n++;
          document.change((draft) => {
            draft[`field${n % 20}`] = `value ${n}`;
          });
        };
        const stop = document.subscribe(() => {
          const { unsaved } = document;
          if (unsaved >= sent) return;
          acked += sent - unsaved;
          sent = unsaved;
          if (performance.now() - started < ms) {
            while (sent < inFlight) send();
          } else if (sent === 0 && !over) {
            over = true;
            stop();
            if (--left === 0) resolve({ acked, ms: performance.now() - started });
          }
        });
        while (sent < inFlight) send();
      }
    }),
  /** The same with changes that were made beforehand, in documents that are new each time. */
  prepared: async ({ ms, inFlight }) => {
    const { peer, lists } = bare;
    const docs = lists.map((list) => ({
      peer,
      documentId: newId(),
      list,
      at: new Map(list.map(({ hash }, i) => [hash, i])),
      sent: 0,
      acked: 0,
      known: [],
    }));
    const started = performance.now();
    let acked = 0;
    let ended = started;
    await Promise.all(
      docs.map((held) =>
        replay(
          held,
          inFlight,
          () => performance.now() - started > ms,
          (count) => {
            acked += count;
            ended = performance.now();
          },
        ),
      ),
    );
    return { acked, ms: ended - started };
  },
  /** One writer and `readers` subscribers of a document, each with a socket of its own. */
  gather: async ({ url, readers }) => {
    const [list] = await smallChanges({ docs: 1, changes: 1000 });
    const documentId = newId();
    const writer = await FramePeer.open(url);
    let known = [];
    let heard;
    writer.listen(documentId, ({ heads }) => {
      known = heads;
      heard?.();
    });
    const first = new Promise((resolve) => (heard = resolve));
    writer.tell(documentId, [list[0].hash], [list[0].bytes], { lastSync: [] });
    await first;
    const stamps = [];
    const peers = [];
    for (let i = 0; i < readers; i += 1) {
      const peer = await FramePeer.open(url);
      await new Promise((resolve) => {
        peer.listen(documentId, ({ heads, parts }) => {
          if (parts.length > 0) stamps.push(clock());
          // A peer hears of more only once it has said what it has.
          if (heads.length > 0) {
            answerLater(() => peer.tell(documentId, heads, []));
            resolve();
          }
        });
        peer.tell(documentId, [], [], { type: "request" });
      });
      peers.push(peer);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    fan = { writer, documentId, list, stamps, readers, next: 1, known: () => known };
  },
  /** Milliseconds from an edit until its bytes are with a subscriber, for each edit and subscriber. */
  fanOut: async ({ edits, gapMs }) => {
    const { writer, documentId, list, stamps, readers } = fan;
    const latencies = [];
    for (let i = 0; i < edits; i += 1) {
      stamps.length = 0;
      const { hash, bytes } = list[fan.next++];
      const from = clock();
      writer.tell(documentId, [hash], [bytes], { lastSync: fan.known() });
      const until = from + 5000;
      while (stamps.length < readers && clock() < until)
        await new Promise((resolve) => setTimeout(resolve, 1));
      if (stamps.length < readers) throw new Error(`${stamps.length} of ${readers} heard of an edit`);
      for (const at of stamps.slice(0, readers)) latencies.push(at - from);
      await new Promise((resolve) => setTimeout(resolve, gapMs));
    }
    return latencies;
  },
});
