import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { LoginTransactions } from "../../src/auth/login-transaction.ts";
import { Discovery } from "../../src/auth/oidc-discovery.ts";
import { askProvider } from "../../src/auth/provider-fetch.ts";
import { Sessions } from "../../src/auth/sessions.ts";
import { realWorld, type World } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { outcomeIn, outcomeOf, type Outcome, type ProbeSpec } from "./probe.ts";
import { ask } from "./server.ts";

const file = path.join(tempDir(), "service.sqlite");
let people = 0;
const about = { address: "", agent: "" };

/** Has a server on loopback answer with `body`, and gives its origin to `work`. */
async function answering(
  body: (origin: string, url: string) => string,
  work: (origin: string) => Promise<unknown>,
): Promise<Outcome> {
  const server = createServer((req, res) => res.end(body(`http://${req.headers.host}`, req.url ?? "")));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await outcomeOf(() => work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** A clock that stands until it is told; what waits for it is called when its time is over. */
function standing(): { world: World; forward: (ms: number) => void } {
  let now = 1_800_000_000_000;
  const start = now;
  const timers = new Map<() => void, number>();
  return {
    world: {
      ...realWorld,
      now: () => now,
      monotonic: () => now - start,
      timer: (ms, work) => {
        timers.set(work, now + ms);
        return () => timers.delete(work);
      },
    },
    forward: (ms) => {
      now += ms;
      for (const [work, at] of timers) if (at < now) work();
    },
  };
}

export const sessionProbes: Readonly<Record<string, ProbeSpec>> = {
  perPerson: {
    cheap: true,
    run: (n) => {
      const clock = standing();
      const sessions = new Sessions(file, { world: clock.world });
      const whose = { person: `per_${(people += 1)}` };
      const cookies = Array.from({ length: n }, () => {
        clock.forward(1);
        return sessions.open(whose, about).cookie;
      });
      const left = cookies.every((cookie) => sessions.find(cookie));
      sessions.end();
      return left ? "ok" : "dropped";
    },
  },
  agentCharacters: {
    cheap: true,
    run: (n) => {
      const sessions = new Sessions(file);
      const { id } = sessions.open({ person: "per_agent" }, { address: "", agent: "a".repeat(n) });
      const kept = sessions.live(id)?.agent.length;
      sessions.end();
      return kept === n ? "ok" : "shorter";
    },
  },
};

export const signinProbes: Readonly<Record<string, ProbeSpec>> = {
  nextCharacters: {
    cheap: true,
    run: async (n) =>
      outcomeIn(await ask("GET", `/auth/oidc/login?next=/${"a".repeat(n - 1)}`), "LOGIN_UNAVAILABLE"),
  },
  loginMs: {
    cheap: true,
    run: (n) => {
      const clock = standing();
      const logins = new LoginTransactions(() => Buffer.alloc(32), clock.world);
      const sealed = logins.seal(logins.make({ issuer: "", base: "", next: "" }));
      clock.forward(n - 1);
      return logins.open(sealed) ? "ok" : "LOGIN_EXPIRED";
    },
  },
  usedLogins: {
    cheap: true,
    run: (n) => {
      const logins = new LoginTransactions(() => Buffer.alloc(32), realWorld);
      const all = Array.from({ length: n }, () => logins.make({ issuer: "", base: "", next: "" }));
      for (const one of all) logins.use(one);
      return all[0] && logins.use(all[0]) ? "dropped" : "ok";
    },
  },
  answerMs: {
    cheap: true,
    run: (n) => {
      const { world, forward } = standing();
      return answering(
        () => {
          forward(n);
          return "{}";
        },
        (origin) => askProvider(world, "answer", origin),
      );
    },
  },
  answerBytes: {
    cheap: true,
    run: (n) =>
      answering(
        () => JSON.stringify({ x: "x".repeat(n - 8) }),
        (origin) => askProvider(realWorld, "answer", origin),
      ),
  },
  keys: {
    cheap: true,
    run: (n) =>
      answering(
        (issuer, url) =>
          JSON.stringify(
            url === "/keys"
              ? { keys: Array.from({ length: n }, () => ({ kty: "EC" })) }
              : {
                  issuer,
                  authorization_endpoint: issuer,
                  token_endpoint: issuer,
                  jwks_uri: `${issuer}/keys`,
                },
          ),
        (issuer) => new Discovery(issuer, realWorld).keys(false),
      ),
  },
};
