import { CborWriter, decodeCborSequence } from "../../src/ids/cbor.ts";
import { fromHex } from "../../src/ids/hash.ts";
import type { Connection } from "./network.ts";

export interface SocketTx {
  readonly id: number;
  readonly tx: string;
  readonly writes: readonly {
    readonly doc: string;
    readonly changes: readonly Uint8Array[];
    readonly base?: readonly string[];
  }[];
}

export interface SocketAnswer {
  readonly id: number;
  readonly seq: number;
  readonly time: number;
  readonly commit: Uint8Array;
  readonly duplicate: boolean;
  readonly error?: { readonly code: string };
}

/** `skald.tx.1` over one connection: frames of CBOR in a WebSocket. */
export class TxConnection {
  onAnswer: (answer: SocketAnswer) => void = () => {};
  /** The handshake is done. */
  onOpen: () => void = () => {};
  /** No further answer will come. */
  onEnd: (why: string) => void = () => {};
  readonly connection: Connection;
  #bytes = Buffer.alloc(0);
  #open = false;
  #over = false;

  constructor(connection: Connection, path: string, token: string) {
    this.connection = connection;
    connection.onData = (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      while (!this.#over && (this.#open ? this.#frame() : this.#handshake()));
    };
    connection.onClose = () => this.#end("closed");
    const lines = [
      `GET ${path} HTTP/1.1`,
      "host: skald",
      "connection: Upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
      "sec-websocket-protocol: skald.tx.1",
      `authorization: Bearer ${token}`,
    ];
    connection.send(Buffer.from(`${lines.join("\r\n")}\r\n\r\n`));
  }

  send(transactions: readonly SocketTx[]): void {
    const w = new CborWriter();
    for (const { id, tx, writes } of transactions) {
      w.map(3);
      w.text("id");
      w.uint(id);
      w.text("tx");
      w.text(tx);
      w.text("writes");
      w.array(writes.length);
      for (const { doc, changes, base } of writes) {
        w.map(base ? 3 : 2);
        w.text("doc");
        w.text(doc);
        if (base) {
          w.text("base");
          w.array(base.length);
          for (const head of base) w.bytes(fromHex(head));
        }
        w.text("changes");
        w.array(changes.length);
        for (const change of changes) w.bytes(change);
      }
    }
    this.raw(2, w.take());
  }

  /** A frame, masked with zeros: the bytes stay as they are. */
  raw(opcode: number, payload: Uint8Array): void {
    const head =
      payload.length < 126
        ? [0x80 | opcode, 0x80 | payload.length]
        : payload.length < 65_536
          ? [0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255]
          : [
              0x80 | opcode,
              0x80 | 127,
              0,
              0,
              0,
              0,
              0,
              payload.length >> 16,
              (payload.length >> 8) & 255,
              payload.length & 255,
            ];
    this.connection.send(Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]));
  }

  #handshake(): boolean {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = this.#bytes.subarray(0, end).toString("latin1");
    this.#bytes = this.#bytes.subarray(end + 4);
    if (!head.startsWith("HTTP/1.1 101 ")) {
      this.connection.leave(false);
      this.#end(`refused: ${head.slice(0, 40)}`);
      return false;
    }
    this.#open = true;
    this.onOpen();
    return true;
  }

  #frame(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 2) return false;
    const opcode = (bytes[0] as number) & 15;
    let length = (bytes[1] as number) & 127;
    let at = 2;
    if (length === 126) {
      if (bytes.length < 4) return false;
      length = bytes.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (bytes.length < 10) return false;
      length = bytes.readUInt32BE(6);
      at = 10;
    }
    if (bytes.length < at + length) return false;
    const payload = new Uint8Array(bytes.subarray(at, at + length));
    this.#bytes = bytes.subarray(at + length);
    if (opcode === 2) for (const item of decodeCborSequence(payload)) this.onAnswer(item as SocketAnswer);
    if (opcode === 8) {
      this.raw(8, payload);
      this.#end(`close ${payload.length >= 2 ? ((payload[0] as number) << 8) | (payload[1] as number) : ""}`);
    }
    return true;
  }

  #end(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.onEnd(why);
  }
}
