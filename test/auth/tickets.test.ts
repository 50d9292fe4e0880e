import path from "node:path";
import { Tickets } from "../../src/auth/tickets.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import type { Principal, Scope } from "../../src/auth/policy.ts";
import { LIMITS } from "../../src/limits.ts";
import { realWorld, type World } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

let now = 1_800_000_000_000;
const world: World = { ...realWorld, now: () => now };
const file = path.join(tempDir(), "service.sqlite");
let tokens = new Tokens(file, { world });
let tickets = new Tickets(tokens, world);
afterAll(() => tokens.close());

function holder(scopes: readonly Scope[], expires?: number): Principal {
  const { token } = tokens.create({ label: "t", subject: "alice", scopes, ...(expires ? { expires } : {}) });
  return tokens.verify(token) as Principal;
}
const codeOf = (work: () => unknown): unknown => {
  try {
    work();
    return "ok";
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};
const ALL: Scope[] = [{ db: "*", action: "*" }];
const sync = { db: "notes", action: "sync" } as const;

describe("a ticket", () => {
  test("stands for its token on one db and for one action", () => {
    const { ticket, expires } = tickets.make(holder(ALL), sync);
    expect(ticket).toMatch(/^skt_[A-Za-z0-9_-]{60,200}$/);
    expect(expires).toBe(now + 60_000);
    expect(codeOf(() => tickets.take(ticket, "other", "sync"))).toBe("TICKET_INVALID");
    expect(codeOf(() => tickets.take(ticket, "notes", "doc.read"))).toBe("TICKET_INVALID");
    const { principal, alive } = tickets.take(ticket, "notes", "sync");
    expect(principal.subject).toBe("alice");
    expect(principal.scopes).toEqual([
      { db: "notes", action: "sync" },
      { db: "notes", action: "doc.read" },
      { db: "notes", action: "doc.write" },
    ]);
    expect(alive()).toBe(true);
  });

  test("gives no more than the token has, prefixes included", () => {
    const some = holder([
      { db: "notes", action: "sync" },
      { db: "notes", action: "doc.read", prefix: "mine/" },
      { db: "other", action: "*" },
      { db: "*", action: "admin.token" },
    ]);
    const { ticket } = tickets.make(some, sync);
    expect(tickets.take(ticket, "notes", "sync").principal.scopes).toEqual([
      { db: "notes", action: "sync" },
      { db: "notes", action: "doc.read", prefix: "mine/" },
    ]);
  });

  test("of one use is taken once", () => {
    const { ticket } = tickets.make(holder(ALL), sync);
    tickets.take(ticket, "notes", "sync");
    expect(codeOf(() => tickets.take(ticket, "notes", "sync"))).toBe("TICKET_INVALID");
  });

  test("runs out", () => {
    const { ticket } = tickets.make(holder(ALL), { ...sync, expiresIn: 10 });
    now += 9_999;
    tickets.take(ticket, "notes", "sync");
    const late = tickets.make(holder(ALL), { ...sync, expiresIn: 10 }).ticket;
    now += 10_000;
    expect(codeOf(() => tickets.take(late, "notes", "sync"))).toBe("TICKET_INVALID");
  });

  test("that is reusable is taken again, also by the next start of the server; one of a single use is not", () => {
    const who = holder(ALL);
    const again = tickets.make(who, { ...sync, reusable: true }).ticket;
    const once = tickets.make(who, sync).ticket;
    tickets.take(again, "notes", "sync");
    tickets.take(again, "notes", "sync");
    tokens.close();
    tokens = new Tokens(file, { world });
    tickets = new Tickets(tokens, world);
    expect(codeOf(() => tickets.take(once, "notes", "sync"))).toBe("TICKET_INVALID");
    expect(tickets.take(again, "notes", "sync").principal.subject).toBe("alice");
  });

  test.each(["revoked", "expired"])("ends with a token that is %s, and with it what it opened", (how) => {
    const who = holder(ALL, how === "expired" ? now + 5000 : undefined);
    const { ticket } = tickets.make(who, { ...sync, reusable: true });
    const { alive } = tickets.take(ticket, "notes", "sync");
    expect(alive()).toBe(true);
    if (how === "revoked") tokens.revoke(who.id);
    else now += 5000;
    expect(alive()).toBe(false);
    expect(codeOf(() => tickets.take(ticket, "notes", "sync"))).toBe("TICKET_INVALID");
  });

  test("with any one bit of it changed is none", () => {
    const { ticket } = tickets.make(holder(ALL), { ...sync, reusable: true });
    const bytes = Buffer.from(ticket.slice(4), "base64url");
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const text = `skt_${flipped.toString("base64url")}`;
      expect(codeOf(() => tickets.take(text, "notes", "sync"))).toBe("TICKET_INVALID");
    }
    for (const text of ["", "skt_", "skt_AAAA", `${ticket}A`, ticket.slice(0, -2), "x".repeat(5000)]) {
      expect(codeOf(() => tickets.take(text, "notes", "sync"))).toBe("TICKET_INVALID");
    }
    expect(codeOf(() => tickets.take(ticket, "notes", "sync"))).toBe("ok");
  });

  test("is not made for longer than is allowed, nor without a token", () => {
    const who = holder(ALL);
    const { onceSeconds, reusableSeconds } = LIMITS.ticket;
    expect(codeOf(() => tickets.make(who, { ...sync, expiresIn: onceSeconds.value + 1 }))).toBe(
      "BAD_REQUEST",
    );
    expect(
      codeOf(() => tickets.make(who, { ...sync, reusable: true, expiresIn: reusableSeconds.value + 1 })),
    ).toBe("BAD_REQUEST");
    const operator = { id: "local", subject: "operator", scopes: ALL };
    expect(codeOf(() => tickets.make(operator, sync))).toBe("FORBIDDEN");
  });

  test("is told apart from a token, which does not belong there", () => {
    const { token } = tokens.create({ label: "t", subject: "s", scopes: ALL });
    expect(codeOf(() => tickets.take(token, "notes", "sync"))).toBe("TOKEN_IN_URL");
  });
});
