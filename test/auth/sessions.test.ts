import Database from "better-sqlite3";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import type { Identity } from "../../src/auth/identity.ts";
import type { Principal } from "../../src/auth/policy.ts";
import { sessionIdentity } from "../../src/auth/session-identity.ts";
import { Sessions } from "../../src/auth/sessions.ts";
import { Tickets } from "../../src/auth/tickets.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { LIMITS } from "../../src/limits.ts";
import { realWorld, type World } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

const HOUR = 3_600_000;
let now = 1_800_000_000_000;
const world: World = { ...realWorld, now: () => now };
const dir = tempDir();
const file = path.join(dir, "service.sqlite");
const open = (): Sessions => new Sessions(file, { world });
let sessions = open();
const tokens = new Tokens(file, { world });
afterAll(() => {
  sessions.end();
  tokens.close();
});
const reopen = (): void => {
  sessions.end();
  sessions = open();
};

const ada = { person: "per_00000000000000000001" };
const about = { address: "192.0.2.1", agent: "Test/1" };

describe("a session", () => {
  test("is found by its cookie, also after a restart, and by nothing else", () => {
    const { cookie, id } = sessions.open(ada, about);
    expect(cookie).toMatch(/^sks_[A-Za-z0-9_-]{43}$/);
    expect(id).toMatch(/^ses_[0-9a-f]{20}$/);
    const found = { id, whose: ada, created: now, expires: now + 7 * 24 * HOUR, ...about };
    expect(sessions.find(cookie)).toEqual(found);
    reopen();
    expect(sessions.find(cookie)).toEqual(found);
    expect(sessions.live(id)).toEqual(found);
    for (const other of [
      "",
      id,
      cookie.slice(0, -1),
      `${cookie}A`,
      cookie.toLowerCase(),
      `sks_${"A".repeat(43)}`,
    ]) {
      expect(sessions.find(other)).toBeUndefined();
    }
  });

  test("has an id and a cookie of its own each time", () => {
    const all = Array.from({ length: 50 }, () => sessions.open(ada, about));
    expect(new Set(all.flatMap(({ cookie, id }) => [cookie, id])).size).toBe(100);
  });

  test("leaves no cookie in the files", () => {
    const { cookie } = sessions.open(ada, about);
    sessions.find(cookie);
    const bytes = readdirSync(dir).map((name) => readFileSync(path.join(dir, name)));
    expect(Buffer.concat(bytes).includes(cookie.slice(4))).toBe(false);
    expect(Buffer.concat(bytes).includes("Test/1")).toBe(true);
  });

  test("ends after twelve hours without a request, and not while there are some", () => {
    const { cookie, id } = sessions.open(ada, about);
    for (let i = 0; i < 5; i += 1) {
      now += 12 * HOUR - 1;
      expect(sessions.find(cookie)?.id).toBe(id);
    }
    now += 12 * HOUR - 1;
    expect(sessions.live(id)?.id).toBe(id);
    now += 1;
    expect(sessions.live(id)).toBeUndefined();
    expect(sessions.find(cookie)).toBeUndefined();
    reopen();
    expect(sessions.find(cookie)).toBeUndefined();
  });

  test("that only stays open counts as no request", () => {
    const { cookie, id } = sessions.open(ada, about);
    now += 11 * HOUR;
    expect(sessions.live(id)).toBeDefined();
    now += HOUR;
    expect(sessions.find(cookie)).toBeUndefined();
  });

  test("ends after seven days however much it is used", () => {
    const { cookie } = sessions.open(ada, about);
    for (let i = 0; i < 7 * 24 - 1; i += 1) {
      now += HOUR;
      expect(sessions.find(cookie)).toBeDefined();
    }
    now += HOUR - 1;
    expect(sessions.find(cookie)).toBeDefined();
    now += 1;
    expect(sessions.find(cookie)).toBeUndefined();
  });

  test("remembers its last use over a restart to within five minutes, and writes it no more often", () => {
    const { cookie, id } = sessions.open(ada, about);
    const used = (): number => {
      const sqlite = new Database(file, { readonly: true });
      const found = sqlite.prepare("SELECT used FROM session WHERE id = ?").pluck().get(id) as number;
      sqlite.close();
      return found;
    };
    const opened = now;
    now += 299_999;
    sessions.find(cookie);
    expect(used()).toBe(opened);
    now += 1;
    sessions.find(cookie);
    expect(used()).toBe(now);
    now += 12 * HOUR - 1;
    reopen();
    expect(sessions.find(cookie)).toBeDefined();
  });

  test("is cleared away some time after its end, by the next that opens", () => {
    const { id } = sessions.open(ada, about);
    now += 13 * HOUR;
    sessions.open(ada, about);
    const sqlite = new Database(file, { readonly: true });
    expect(sqlite.prepare("SELECT 1 FROM session WHERE id = ?").get(id)).toBeUndefined();
    sqlite.close();
  });

  test("whose row was changed on the disk is none, and is gone", () => {
    for (const change of [
      "whose = 'per_00000000000000000002'",
      "expires = expires + 1",
      "kind = 'token'",
      "used = used + 1",
    ]) {
      const { cookie, id } = sessions.open(ada, about);
      const sqlite = new Database(file);
      sqlite.prepare(`UPDATE session SET ${change} WHERE id = ?`).run(id);
      reopen();
      expect(sessions.find(cookie)).toBeUndefined();
      expect(sessions.live(id)).toBeUndefined();
      expect(sqlite.prepare("SELECT 1 FROM session WHERE id = ?").get(id)).toBeUndefined();
      sqlite.close();
    }
  });

  test("of which one has too many takes the place of the one that was used longest ago", () => {
    const whose = { person: "per_00000000000000000009" };
    const most = LIMITS.session.perPerson.value;
    const all = Array.from({ length: most }, () => {
      now += 1;
      return sessions.open(whose, about);
    });
    now += 300_000;
    sessions.find(all[0]?.cookie ?? "");
    sessions.open(whose, about);
    expect(sessions.find(all[0]?.cookie ?? "")).toBeDefined();
    expect(sessions.find(all[1]?.cookie ?? "")).toBeUndefined();
    expect(sessions.find(all[2]?.cookie ?? "")).toBeDefined();
    expect(sessions.list(whose)).toHaveLength(most);
  });

  test("keeps of a client's words what one line can show", () => {
    const { id } = sessions.open(ada, { address: "::1", agent: `a\u202Eb\nc${"x".repeat(500)}` });
    expect(sessions.live(id)?.agent).toBe(`abc${"x".repeat(LIMITS.session.agentCharacters.value - 3)}`);
  });
});

describe("closing", () => {
  test("ends that session alone, at once, and for ever", () => {
    const [one, two] = [sessions.open(ada, about), sessions.open(ada, about)];
    sessions.find(one.cookie);
    sessions.close(one.id);
    expect(sessions.find(one.cookie)).toBeUndefined();
    expect(sessions.live(one.id)).toBeUndefined();
    expect(sessions.find(two.cookie)).toBeDefined();
    reopen();
    expect(sessions.find(one.cookie)).toBeUndefined();
    sessions.close(one.id);
  });

  test("everywhere ends all of a person and none of others", () => {
    const eve = { person: "per_0000000000000000000e" };
    const mine = [sessions.open(ada, about), sessions.open(ada, about)];
    const others = [sessions.open(eve, about), sessions.open({ token: ada.person }, about)];
    for (const { cookie } of mine) sessions.find(cookie);
    expect(sessions.closeAll(ada)).toBeGreaterThanOrEqual(2);
    for (const { cookie, id } of mine)
      expect([sessions.find(cookie), sessions.live(id)]).toEqual([undefined, undefined]);
    for (const { cookie } of others) expect(sessions.find(cookie)).toBeDefined();
    expect(sessions.list(ada)).toEqual([]);
  });
});

describe("whom a session stands for", () => {
  const person: Principal = { id: ada.person, subject: "ada", scopes: [{ db: "*", action: "*" }] };
  let known: Principal | undefined = person;
  const people = { principal: () => known, holds: (had: Principal) => known === had };
  const of = (id: string): Identity | undefined => {
    const session = sessions.live(id);
    return session && sessionIdentity(session, { sessions, people, tokens });
  };
  beforeEach(() => {
    known = person;
  });

  test("is the person, for as long as there is one and the session lasts", () => {
    const { id } = sessions.open(ada, about);
    const identity = of(id);
    expect(identity).toMatchObject({ principal: person, by: "session", session: id });
    expect(identity?.alive()).toBe(true);
    known = undefined;
    expect([identity?.alive(), of(id)]).toEqual([false, undefined]);
    known = person;
    expect(identity?.alive()).toBe(true);
    sessions.close(id);
    expect([identity?.alive(), of(id)]).toEqual([false, undefined]);
  });

  test("is the token that opened it, and ends with that", () => {
    const { token } = tokens.create({ label: "t", subject: "machine", scopes: person.scopes });
    const principal = tokens.verify(token) as Principal;
    const { id } = sessions.open({ token: principal.id }, about);
    const identity = of(id);
    expect(identity?.principal).toMatchObject({ id: principal.id, subject: "machine" });
    tokens.revoke(principal.id);
    expect([identity?.alive(), of(id)]).toEqual([false, undefined]);
  });

  test.each([false, true])(
    "gives tickets (reusable: %s) that end with the session, not with the token",
    (reusable) => {
      const tickets = new Tickets(tokens, world, of);
      const { token } = tokens.create({ label: "t", subject: "machine", scopes: person.scopes });
      const principal = tokens.verify(token) as Principal;
      for (const whose of [ada, { token: principal.id }]) {
        const { id } = sessions.open(whose, about);
        const asked = { db: "notes", action: "sync", reusable: true } as const;
        const make = (): string =>
          tickets.make(of(id)?.principal as Principal, { ...asked, reusable }, id).ticket;
        const [used, unused] = [make(), make()];
        const { principal: admitted, alive } = tickets.take(used, "notes", "sync");
        expect(admitted.subject).toBe(of(id)?.principal.subject);
        expect(admitted.scopes.map(({ db }) => db)).toEqual(["notes", "notes", "notes"]);
        expect(alive()).toBe(true);
        sessions.close(id);
        expect(alive()).toBe(false);
        expect(() => tickets.take(unused, "notes", "sync")).toThrow(/session in which it was made has ended/);
      }
      expect(tokens.verify(token)).toBeDefined();
    },
  );

  test("makes no ticket of a session that is none", () => {
    const tickets = new Tickets(tokens, world, of);
    for (const id of ["", "ses_", "tok_00000000000000000000", "ses_xxxxxxxxxxxxxxxxxxxx"]) {
      expect(() => tickets.make(person, { db: "notes", action: "sync" }, id)).toThrow(
        /made with a token or in a session/,
      );
    }
    expect(() => tickets.make(person, { db: "notes", action: "sync" })).toThrow(
      /made with a token or in a session/,
    );
  });
});
