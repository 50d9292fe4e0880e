import type { Principal } from "./policy.ts";

/**
 * Who somebody is, and what vouches for it. Whoever comes in over HTTP, a socket or a stream is one of these, and
 * nothing behind the door asks how he came.
 */
export interface Identity {
  readonly principal: Principal;
  readonly by: "token" | "ticket" | "session" | "capability" | "provider" | "operator" | "nobody";
  /** Of the session by which somebody came: what is made with it ends with it. */
  readonly session?: string;
  /** Whether what was shown still holds. Asked twice a second for as long as something is open by it; see `Vigil`. */
  readonly alive: () => boolean;
}
