import { decodeValue, encodeValue } from "./cbor.ts";
import { unusedDocumentId } from "./document-name.ts";
import { SkaldError, isSkaldError } from "./error.ts";
import { freshName, type Platform, type SocketLike } from "./platform.ts";
import { pauseBefore } from "./request.ts";

/** A message of the automerge-repo protocol, without who sends it to whom. */
export interface RepoMessage {
  readonly type: string;
  readonly documentId?: string;
  readonly data?: Uint8Array;
  readonly [field: string]: unknown;
}

/**
 * `closed`: nobody needs it. `connecting`: a first try, or a try after the network came back. `open`: the
 * server has said who it is. `waiting`: a try failed, there will be another.
 */
export type ConnectionState = "closed" | "connecting" | "open" | "waiting";

export interface ConnectionOptions {
  readonly platform: Platform;
  /** Where to connect to, each time anew: with a fresh ticket in it. */
  readonly url: () => Promise<string>;
  readonly onState: () => void;
  /** Called after the handshake with the server's storage id, when it keeps documents. */
  readonly onOpen: (storageId: string | undefined) => void;
  readonly onMessage: (message: RepoMessage, from: string) => void;
}

/** Silence after which the server is asked for a sign of life, and for how long that is waited for. */
const SILENCE = { ask: 20_000, give: 10_000 } as const;

/**
 * One WebSocket to a sync server, opened again whenever it is lost. `send` works in the state `open` and drops
 * messages otherwise: what they were about is worked out anew after the next handshake.
 */
export class SyncConnection {
  readonly peerId: string;
  readonly #options: ConnectionOptions;
  readonly #platform: Platform;
  #state: ConnectionState = "closed";
  #socket: SocketLike | undefined;
  #server: string | undefined;
  #tries = 0;
  /** Of the connection; whatever an older one still says is not heard. */
  #round = 0;
  #stopTimer: (() => void) | undefined;
  #heard = 0;
  #asked = false;
  #error: SkaldError | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#platform = options.platform;
    this.peerId = `skald-client-${freshName(options.platform)}`;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Why the last try failed, when the server gave a reason. */
  get error(): SkaldError | undefined {
    return this.#error;
  }

  /** Begins, when it is closed or waits. */
  open(): void {
    if (this.#state === "connecting" || this.#state === "open") return;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#become("connecting");
    void this.#connect((this.#round += 1));
  }

  close(): void {
    this.#end();
    this.#tries = 0;
    this.#become("closed");
  }

  /** The network is gone, as the machine says: a socket would notice much later. */
  lost(): void {
    if (this.#state !== "closed") this.#again();
  }

  send(message: RepoMessage): void {
    if (this.#state !== "open") return;
    this.#socket?.send(encodeValue({ ...message, senderId: this.peerId, targetId: this.#server }));
  }

  async #connect(round: number): Promise<void> {
    this.#stopTimer = this.#platform.timer(SILENCE.give, () => this.#again());
    try {
      const url = await this.#options.url();
      if (round !== this.#round) return;
      const { WebSocket } = this.#platform;
      if (!WebSocket) {
        throw new SkaldError("NO_WEBSOCKET", "This machine has no WebSocket.", {
          hint: "Give one to the client: new SkaldClient({ WebSocket }), in Node 20 that of the package ws.",
        });
      }
      const socket = new WebSocket(url);
      this.#socket = socket;
      socket.binaryType = "arraybuffer";
      const listen = (type: "open" | "message" | "close" | "error", heard: (event: unknown) => void): void =>
        socket.addEventListener(type, (event: unknown) => {
          if (round === this.#round) heard(event);
        });
      listen("open", () => {
        socket.send(
          encodeValue({
            type: "join",
            senderId: this.peerId,
            peerMetadata: { isEphemeral: true },
            supportedProtocolVersions: ["1"],
          }),
        );
      });
      listen("message", (event) => this.#receive((event as { data: unknown }).data));
      listen("close", () => this.#again());
      listen("error", () => this.#again());
    } catch (error) {
      if (round !== this.#round) return;
      this.#error = isSkaldError(error) ? error : undefined;
      this.#again();
    }
  }

  #receive(data: unknown): void {
    this.#heard = this.#platform.now();
    this.#asked = false;
    let message: RepoMessage;
    try {
      if (!(data instanceof ArrayBuffer)) throw new RangeError("not a binary message");
      message = decodeValue(new Uint8Array(data)) as RepoMessage;
      if (typeof message !== "object" || typeof message?.type !== "string")
        throw new RangeError("no message");
    } catch {
      // Whoever says that is no sync server.
      this.#again();
      return;
    }
    const from = message["senderId"];
    if (message.type === "peer" && this.#state !== "open" && typeof from === "string") {
      this.#server = from;
      this.#tries = 0;
      this.#error = undefined;
      this.#watch();
      const { storageId } = (message["peerMetadata"] ?? {}) as { storageId?: unknown };
      this.#become("open");
      this.#options.onOpen(typeof storageId === "string" ? storageId : undefined);
    } else if (message.type === "error") {
      const text = message["message"];
      this.#error = new SkaldError("BAD_ANSWER", `The sync server says: ${String(text)}`);
      this.#again();
    } else if (this.#state === "open") {
      this.#options.onMessage(message, typeof from === "string" ? from : "");
    }
  }

  /** Pages cannot see the server's pings, and a socket whose server is gone stays silent for ever. */
  #watch(): void {
    this.#stopTimer?.();
    this.#stopTimer = this.#platform.timer(this.#asked ? SILENCE.give : SILENCE.ask, () => {
      const silent = this.#platform.now() - this.#heard >= (this.#asked ? SILENCE.give : SILENCE.ask);
      if (silent && this.#asked) {
        this.#again();
        return;
      }
      if (silent) {
        this.#asked = true;
        // Of a document that nobody has the server says so.
        this.send({ type: "request", documentId: this.#nobodys, data: EMPTY_SYNC_MESSAGE });
      }
      this.#watch();
    });
  }

  get #nobodys(): string {
    const digits = this.peerId.slice(-32).match(/../g) ?? [];
    return unusedDocumentId(Uint8Array.from(digits, (pair) => parseInt(pair, 16)));
  }

  #again(): void {
    this.#end();
    const { WebSocket } = this.#platform;
    this.#become("waiting");
    if (!WebSocket) return;
    this.#stopTimer = this.#platform.timer(pauseBefore(this.#platform, this.#tries), () => {
      this.#stopTimer = undefined;
      // Still `waiting`: to those who look on, nothing has changed until it is open.
      void this.#connect(this.#round);
    });
    this.#tries += 1;
  }

  #end(): void {
    this.#round += 1;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#asked = false;
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #become(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState();
  }
}

/** Automerge's sync message of a peer that has nothing: version 1, no heads, no needs, nothing had, no changes. */
const EMPTY_SYNC_MESSAGE = new Uint8Array([0x42, 0, 0, 0, 0]);
