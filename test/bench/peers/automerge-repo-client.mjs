import { randomBytes } from "node:crypto";
import * as A from "@automerge/automerge";
import { generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";
import { Encoder, decode } from "cbor-x";
import { WebSocket } from "ws";

/**
 * A client of automerge-repo's wire protocol that knows when the server has what it sent: the
 * server's answer names its heads. The stock client cannot say so, and collects for 100 ms.
 */
const encoder = new Encoder({ tagUint8Array: false, useRecords: false });

export class RepoClient {
  #socket;
  #name;
  #waiting = new Map();

  #server;

  static async open(url) {
    const name = `client-${randomBytes(8).toString("hex")}`;
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    const client = new RepoClient(socket, name);
    const joined = new Promise((resolve) => client.#waiting.set("peer", resolve));
    client.#send({
      type: "join",
      senderId: name,
      peerMetadata: { isEphemeral: true },
      supportedProtocolVersions: ["1"],
    });
    client.#server = (await joined).senderId;
    return client;
  }

  constructor(socket, name) {
    this.#socket = socket;
    this.#name = name;
    socket.on("message", (data) => {
      const message = decode(data);
      const key = message.type === "peer" ? "peer" : message.documentId;
      this.#waiting.get(key)?.(message);
    });
  }

  /** A document of the client's, not known to the server. */
  make(value) {
    const { documentId } = parseAutomergeUrl(generateAutomergeUrl());
    return { documentId, doc: A.from(value), state: A.initSyncState() };
  }

  change(held, edit) {
    held.doc = A.change(held.doc, edit);
  }

  /** Resolves when the server has said that it is at the client's heads. */
  sync(held) {
    return new Promise((resolve, reject) => {
      const heads = A.getHeads(held.doc).join();
      const step = (message) => {
        if (message) {
          if (message.type !== "sync" && message.type !== "request") return undefined;
          const theirs = A.decodeSyncMessage(message.data).heads.join();
          [held.doc, held.state] = A.receiveSyncMessage(held.doc, held.state, message.data);
          if (theirs === heads) {
            this.#waiting.delete(held.documentId);
            return resolve();
          }
        }
        const [state, bytes] = A.generateSyncMessage(held.doc, held.state);
        held.state = state;
        if (bytes) {
          this.#send({
            type: "sync",
            senderId: this.#name,
            targetId: this.#server,
            documentId: held.documentId,
            data: bytes,
          });
        }
        return undefined;
      };
      this.#waiting.set(held.documentId, step);
      this.#socket.once("error", reject);
      step();
      this.#socket.off("error", reject);
    });
  }

  /** The document as the server has it; rejects when it says that it has none. */
  find(documentId, ms = 10_000) {
    return new Promise((resolve, reject) => {
      let doc = A.init();
      let state = A.initSyncState();
      let theirs;
      const timer = setTimeout(() => reject(new Error(`${documentId} did not come`)), ms);
      const end = (settle) => {
        clearTimeout(timer);
        this.#waiting.delete(documentId);
        settle();
      };
      const step = (message) => {
        if (message?.type === "doc-unavailable")
          return end(() => reject(new Error(`${documentId} is not there`)));
        if (message?.data) {
          theirs = A.decodeSyncMessage(message.data).heads.join();
          [doc, state] = A.receiveSyncMessage(doc, state, message.data);
          if (theirs !== "" && theirs === A.getHeads(doc).join()) return end(() => resolve(doc));
        }
        const [after, data] = A.generateSyncMessage(doc, state);
        state = after;
        const type = theirs === undefined ? "request" : "sync";
        if (data) this.#send({ type, senderId: this.#name, targetId: this.#server, documentId, data });
        return undefined;
      };
      this.#waiting.set(documentId, step);
      step();
    });
  }

  close() {
    this.#socket.terminate();
  }

  #send(message) {
    this.#socket.send(encoder.encode(message));
  }
}
