import { createHmac, timingSafeEqual } from "node:crypto";
import { LIMITS } from "../limits.ts";
import type { World } from "../world.ts";

/**
 * A login between its start and its end. The browser carries it in a cookie under a MAC, so that nobody makes the
 * server keep anything by only starting logins, and only the browser that began a login can end it.
 */
export interface LoginTransaction {
  readonly state: string;
  readonly nonce: string;
  /** The PKCE verifier (RFC 7636): what the browser may know, and whoever steals the code does not. */
  readonly verifier: string;
  readonly issuer: string;
  /** Where the server was asked: the provider sends the browser back there. */
  readonly base: string;
  /** Path to go to in the end. */
  readonly next: string;
  /** Milliseconds since 1970. */
  readonly until: number;
}

const MAC_LENGTH = 43;
const { loginMs, usedLogins } = LIMITS.signin;

export class LoginTransactions {
  readonly #key: () => Uint8Array;
  readonly #world: World;
  /** States of logins that ended: one is good for one session, however often its URL is asked for. */
  readonly #used = new Set<string>();

  constructor(key: () => Uint8Array, world: World) {
    this.#key = key;
    this.#world = world;
  }

  make(wanted: Pick<LoginTransaction, "issuer" | "base" | "next">): LoginTransaction {
    const random = (): string => Buffer.from(this.#world.random(32)).toString("base64url");
    return {
      ...wanted,
      state: random(),
      nonce: random(),
      verifier: random(),
      until: this.#world.now() + loginMs.value,
    };
  }

  seal(transaction: LoginTransaction): string {
    const body = Buffer.from(JSON.stringify(transaction)).toString("base64url");
    return `${body}.${this.#mac(body)}`;
  }

  /** Undefined: it is none of this server's, or too old. */
  open(text: string): LoginTransaction | undefined {
    const dot = text.length - MAC_LENGTH - 1;
    const body = text.slice(0, Math.max(0, dot));
    const mac = Buffer.from(text.slice(dot + 1));
    const own = Buffer.from(this.#mac(body));
    if (text[dot] !== "." || mac.length !== own.length || !timingSafeEqual(mac, own)) return undefined;
    // What has our MAC is what `seal` wrote.
    const transaction = JSON.parse(Buffer.from(body, "base64url").toString("utf8")) as LoginTransaction;
    return this.#world.now() < transaction.until ? transaction : undefined;
  }

  /** Whether this is the first time; from then on it is not. */
  use({ state }: LoginTransaction): boolean {
    if (this.#used.has(state)) return false;
    if (this.#used.size >= usedLogins.value) {
      // The provider takes a code once as well; so what is forgotten early opens nothing by itself.
      for (const oldest of this.#used) {
        this.#used.delete(oldest);
        break;
      }
    }
    this.#used.add(state);
    return true;
  }

  #mac(body: string): string {
    return createHmac("sha256", this.#key()).update(body).digest("base64url");
  }
}
