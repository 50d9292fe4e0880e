import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { decodeValue, encodeValue } from "../../dist/client/cbor.js";
import { decodeSyncMessage, encodeSyncMessage } from "../../dist/sync/sync-message.js";

/**
 * A peer of automerge-repo's protocol that holds no documents: it sends changes that were made beforehand
 * and knows heads by name. So what it costs is next to nothing, and a server's part is what is measured.
 */
const CAPABILITIES = Uint8Array.of(1, 2);
const NO_FILTER = new Uint8Array(0);

export class FramePeer {
  #socket;
  #name = `bench-${randomBytes(8).toString("hex")}`;
  #server = "";
  #hear = new Map();

  static async open(url) {
    const peer = new FramePeer();
    const socket = new WebSocket(url, { perMessageDeflate: false });
    peer.#socket = socket;
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    const met = new Promise((resolve) => socket.once("message", resolve));
    peer.#send({ type: "join", peerMetadata: { isEphemeral: true }, supportedProtocolVersions: ["1"] });
    peer.#server = decodeValue(await met).senderId;
    socket.on("message", (bytes) => {
      const message = decodeValue(bytes);
      if (message.type === "sync" || message.type === "request")
        peer.#hear.get(message.documentId)?.(decodeSyncMessage(message.data));
    });
    return peer;
  }

  /** `hear(message)` for every sync message of the document. */
  listen(documentId, hear) {
    this.#hear.set(documentId, hear);
  }

  /** Says that this peer is at `heads`, and sends changes. */
  tell(documentId, heads, changes, { type = "sync", lastSync = heads } = {}) {
    const data = encodeSyncMessage({
      version: 1,
      heads,
      need: [],
      have: [{ lastSync, bloom: NO_FILTER }],
      parts: changes,
      capabilities: CAPABILITIES,
    });
    this.#send({ type, documentId, data });
  }

  close() {
    this.#socket.terminate();
  }

  #send(message) {
    this.#socket.send(encodeValue({ ...message, senderId: this.#name, targetId: this.#server }));
  }
}
