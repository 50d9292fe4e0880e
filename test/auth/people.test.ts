import Database from "better-sqlite3";
import fc from "fast-check";
import path from "node:path";
import { People, type Login, type Person } from "../../src/auth/people.ts";
import { looksLikePerson } from "../../src/auth/person-record.ts";
import { allows } from "../../src/auth/policy.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { DbTable } from "../../src/store/sqlite-registry.ts";
import { realWorld, type World } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

let now = 1_800_000_000_000;
const world: World = { ...realWorld, now: () => now };
const ISSUER = "https://id.example.org";

interface Place {
  readonly file: string;
  readonly table: DbTable;
  people: People;
}

const opened: { close(): void }[] = [];
afterAll(() => opened.forEach((one) => one.close()));

function place(options: ConstructorParameters<typeof People>[1] = {}): Place {
  const dir = tempDir();
  const table = new DbTable(dir);
  for (const dbId of ["a", "b"]) table.put({ dbId, folder: dbId, created: now, state: "ready" });
  const file = path.join(dir, "service.sqlite");
  const people = new People(file, { world, ...options });
  opened.push(people, table);
  return { file, table, people };
}

let subs = 0;
const login = (claims: Login["claims"] = {}, more: Partial<Login> = {}): Login => ({
  issuer: ISSUER,
  sub: `sub-${(subs += 1)}`,
  claims,
  ...more,
});
const codeOf = (work: () => unknown): unknown => {
  try {
    work();
    return "ok";
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};
const may = (people: People, id: string, action: Parameters<typeof allows>[1], db?: string): boolean => {
  const principal = people.principal(id);
  return principal !== undefined && allows(principal, action, db);
};

const shared = place();
const { people } = shared;

describe("a person", () => {
  test("is whom one issuer names by one sub, whatever else the claims say", () => {
    const first = people.seen(
      login({ preferred_username: "ada", email: "ada@x.org", email_verified: true }, { sub: "1" }),
    );
    const again = people.seen(login({ preferred_username: "eve", name: "Eve" }, { sub: "1" }));
    expect(again).toMatchObject({ id: first.id, subject: first.subject, name: "Eve", email: null });
    for (const other of [
      login({ preferred_username: "ada", email: "ada@x.org", email_verified: true }, { sub: "2" }),
      login({}, { sub: "1", issuer: `${ISSUER}/` }),
      login({}, { sub: "1 " }),
      login({}, { sub: "１" }),
    ]) {
      const somebody = people.seen(other);
      expect(somebody.id).not.toBe(first.id);
      expect(somebody.subject).not.toBe(first.subject);
    }
    expect(first.id).toMatch(/^per_[0-9a-f]{20}$/);
  });

  test.each([
    ["", "1"],
    ["i", ""],
    ["i", "a\ud800"],
    ["i", "a\0b"],
    ["i", "x".repeat(1025)],
    ["i", 7 as unknown as string],
  ])("is nobody with an issuer and a sub that cannot be kept as they are (%#)", (issuer, sub) => {
    expect(codeOf(() => people.seen({ issuer, sub, claims: {} }))).toBe("BAD_REQUEST");
  });

  test("has a name of what can be read, and only an address that the provider has verified", () => {
    const of = (claims: Login["claims"]): Pick<Person, "name" | "email"> => {
      const { name, email } = people.seen(login(claims));
      return { name, email };
    };
    expect(of({ name: " Ada \u202e Love\nlace\u200b ", email: "a@x.org" })).toEqual({
      name: "Ada Love lace",
      email: null,
    });
    expect(of({ name: 7, preferred_username: "ada", email: "a@x.org", email_verified: "true" })).toEqual({
      name: "ada",
      email: null,
    });
    expect(of({ name: "A", email: "a\u202eb@x.org", email_verified: true }).email).toBeNull();
    expect(of({ name: "A", email: "a@x.org", email_verified: true }).email).toBe("a@x.org");
    expect(of({}).name).toMatch(/^person#[0-9a-f]{8}$/);
  });

  test("keeps the author name of its first login, and no other person or token has one that looks like it", () => {
    const { people: own, file } = place();
    const tokens = new Tokens(file, { world });
    opened.push(tokens);
    const names = new Set<string>();
    const handles: string[] = [];
    for (const preferred_username of [
      "rnary",
      "Mary",
      "m.ary",
      "m-a-r-y@x.org",
      "mаry",
      "mary\u200b",
      "admin",
      "adm1n",
      "OPERATOR",
      "person",
      "x",
      "",
      " mary",
      "mary#00000000",
    ]) {
      const { subject } = own.seen(login({ preferred_username, name: "Mary", nickname: "mary" }));
      expect(subject).toMatch(/^[a-z0-9._-]{2,32}#[0-9a-f]{8}$/);
      names.add(subject);
      handles.push(subject.split("#")[0] as string);
    }
    expect(names.size).toBe(handles.length);
    expect(handles.filter((handle) => handle !== "person")).toEqual(["rnary"]);
    const [mary] = names;
    for (const subject of [
      mary as string,
      (mary as string).toUpperCase(),
      (mary as string).replace("#", "＃"),
      (mary as string).replace("#", "♯"),
      `${mary}\u0301`,
      "mary#0О00000l",
    ]) {
      const made = (): unknown =>
        tokens.create({ label: "t", subject, scopes: [{ db: "a", action: "doc.read" }] });
      expect([subject, codeOf(made)]).toEqual([subject, "NAME_INVALID"]);
    }
  });

  test("no name that a person gets can be a token's", () => {
    fc.assert(
      fc.property(fc.record({ preferred_username: fc.anything(), name: fc.anything() }), (claims) => {
        const { subject } = people.seen(login(claims));
        expect(looksLikePerson(subject)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test("who is deleted leaves the id and the author name, which nobody gets again", () => {
    const { people: own, file } = place();
    const gone = own.seen(
      login(
        { preferred_username: "gone", name: "Full Name", email: "f@x.org", email_verified: true },
        { sub: "g" },
      ),
    );
    own.set("a", gone.id, "owner", "local");
    own.remove(gone.id);
    expect([own.get(gone.id), own.principal(gone.id), own.roles("a")]).toEqual([undefined, undefined, []]);
    const back = own.seen(login({ preferred_username: "gone" }, { sub: "g" }));
    expect(back.id).not.toBe(gone.id);
    expect(back.subject).toMatch(/^person#/);
    expect(own.principal(back.id)?.scopes).toEqual([]);
    const sqlite = new Database(file, { readonly: true });
    const row = sqlite.prepare("SELECT * FROM person WHERE id = ?").get(gone.id);
    sqlite.close();
    expect(row).toMatchObject({
      subject: gone.subject,
      issuer: null,
      provider_sub: null,
      name: "",
      email: null,
    });
  });
});

describe("a role", () => {
  test("allows what it is for in its db and nothing elsewhere", () => {
    const ada = people.seen(login());
    const rights = (): string[] =>
      (["doc.read", "doc.write", "query.admin", "db.admin"] as const).filter((action) =>
        may(people, ada.id, action, "a"),
      );
    expect(rights()).toEqual([]);
    people.set("a", ada.id, "viewer", "local");
    expect(rights()).toEqual(["doc.read"]);
    people.set("a", ada.id, "editor", "local");
    expect(rights()).toEqual(["doc.read", "doc.write"]);
    people.set("a", ada.id, "owner", "local");
    expect(rights()).toEqual(["doc.read", "doc.write", "query.admin", "db.admin"]);
    for (const action of ["admin.people", "admin.token"] as const) {
      expect(may(people, ada.id, action)).toBe(false);
      expect(may(people, ada.id, action, "a")).toBe(false);
    }
    expect(may(people, ada.id, "db.admin")).toBe(false);
    expect(may(people, ada.id, "doc.read", "b")).toBe(false);
    people.set("a", ada.id, null, "local");
    expect(rights()).toEqual([]);
    expect(codeOf(() => people.set("nowhere", ada.id, "owner", "local"))).toBe("DB_NOT_FOUND");
    expect(codeOf(() => people.set("a", "per_00000000000000000000", "owner", "local"))).toBe(
      "PERSON_NOT_FOUND",
    );
  });

  test("ends with its db, and is none in another of the same name", () => {
    const { people: own, table } = place();
    const ada = own.seen(login());
    own.set("a", ada.id, "owner", "local");
    own.set("b", ada.id, "viewer", "local");
    own.invitations.create("a", ada.id, { role: "owner" });
    const before = own.principal(ada.id);
    const row = table.get("a") as NonNullable<ReturnType<typeof table.get>>;
    table.put({ ...row, state: "deleting" });
    expect(codeOf(() => own.set("a", ada.id, "owner", "local"))).toBe("DB_NOT_FOUND");
    table.remove("a");
    own.dbGone();
    table.put(row);
    expect(may(own, ada.id, "doc.read", "a")).toBe(false);
    expect(may(own, ada.id, "doc.read", "b")).toBe(true);
    expect([own.roles("a"), own.invitations.list("a")]).toEqual([[], []]);
    expect(before && own.holds(before)).toBe(false);
  });

  test("that a db left behind would hold in the next of its name: what takes it out is its removal alone", () => {
    const { people: own, table, file } = place();
    const ada = own.seen(login());
    own.set("a", ada.id, "owner", "local");
    const row = table.get("a") as NonNullable<ReturnType<typeof table.get>>;
    const sqlite = new Database(file);
    sqlite.exec("CREATE TEMP TABLE left_behind AS SELECT * FROM role");
    table.remove("a");
    sqlite.exec("INSERT INTO role SELECT * FROM left_behind");
    sqlite.close();
    table.put(row);
    own.dbGone();
    expect(may(own, ada.id, "db.admin", "a")).toBe(true);
  });

  test("is not there after a restore that left its db out, and is for the others", () => {
    const { people: own, table } = place();
    const ada = own.seen(login());
    for (const db of ["a", "b"]) {
      own.set(db, ada.id, "editor", "local");
      const { secret } = own.invitations.create(db, "local", { role: "viewer" });
      own.invitations.accept(secret, ada.id);
    }
    const kept = table.get("b") as NonNullable<ReturnType<typeof table.get>>;
    const left = table.get("a") as NonNullable<ReturnType<typeof table.get>>;
    table.restore([kept]);
    table.put(left);
    own.dbGone();
    expect(own.rolesOf(ada.id)).toEqual([{ db: "b", role: "editor" }]);
    expect([own.invitations.list("a").length, own.invitations.list("b").length]).toEqual([0, 1]);
  });

  test("ends what is open when it changes, and only that", () => {
    const { people: own } = place();
    const [ada, bob] = [own.seen(login()), own.seen(login())];
    own.set("a", ada.id, "editor", "local");
    own.set("a", bob.id, "viewer", "local");
    const [was, other] = [own.principal(ada.id), own.principal(bob.id)] as [
      NonNullable<ReturnType<typeof own.principal>>,
      NonNullable<ReturnType<typeof own.principal>>,
    ];
    const told: string[] = [];
    const end = own.onChange((id) => told.push(id));
    // What changes nothing of the rights changes nothing at all.
    own.set("a", ada.id, "editor", "tok_1");
    own.change(ada.id, { name: "Ada" });
    own.dbGone();
    expect(own.principal(ada.id)).toBe(was);
    own.set("b", ada.id, "owner", "local");
    expect(own.principal(ada.id)).not.toBe(was);
    expect([own.holds(was), own.holds(was)]).toEqual([true, true]);
    told.length = 0;
    own.set("a", ada.id, "viewer", "local");
    expect(own.holds(was)).toBe(false);
    expect(new Set(told)).toEqual(new Set([ada.id]));
    own.set("a", ada.id, "editor", "local");
    expect(own.holds(was)).toBe(true);
    own.set("a", ada.id, "owner", "local");
    expect(own.holds(was)).toBe(false);
    own.change(bob.id, { disabled: true });
    expect([own.holds(other), own.principal(bob.id)]).toEqual([false, undefined]);
    own.change(bob.id, { disabled: false });
    expect(own.holds(other)).toBe(true);
    end();
    told.length = 0;
    own.set("a", bob.id, null, "local");
    expect([told, own.holds(other)]).toEqual([[], false]);
  });

  test("is there when the file is opened anew; whoever flips a bit of it gets no right", () => {
    const { people: own, file } = place();
    const ada = own.seen(login());
    own.set("a", ada.id, "viewer", "local");
    own.close();
    const again = new People(file, { world });
    expect(may(again, ada.id, "doc.read", "a")).toBe(true);
    again.close();
    for (const [broken, mended] of [
      ["UPDATE role SET role = 'owner'", "UPDATE role SET role = 'viewer'"],
      ["UPDATE person SET given_admin = 1", "UPDATE person SET given_admin = 0"],
      ["UPDATE person SET disabled = 1", "UPDATE person SET disabled = 0"],
      [`UPDATE person SET subject = 'operator'`, `UPDATE person SET subject = '${ada.subject}'`],
    ]) {
      const run = (sql: string): void => {
        const sqlite = new Database(file);
        sqlite.exec(sql);
        sqlite.close();
      };
      run(broken as string);
      const damaged = new People(file, { world });
      expect([broken, codeOf(() => damaged.principal(ada.id))]).toEqual([broken, "DB_DAMAGED"]);
      damaged.close();
      run(mended as string);
    }
  });
});

describe("an administrator", () => {
  test("may do everything; by a claim, by the settings, or by another one, in this order of who wins", () => {
    const { people: own } = place({ fixedAdmins: { issuer: ISSUER, subs: ["root"] } });
    const of = (who: Login): Pick<Person, "admin" | "adminBy"> => {
      const { admin, adminBy } = own.seen(who);
      return { admin, adminBy };
    };
    expect(of(login({}, { sub: "root", admin: false }))).toEqual({ admin: true, adminBy: "configuration" });
    expect(of(login({}, { sub: "root", issuer: "https://evil.example.org" }))).toEqual({
      admin: false,
      adminBy: null,
    });
    expect(of(login({}, { sub: "boss", admin: true }))).toEqual({ admin: true, adminBy: "provider" });
    expect(of(login({}, { sub: "boss", admin: false }))).toEqual({ admin: false, adminBy: "provider" });
    expect(of(login({}, { sub: "boss" }))).toEqual({ admin: false, adminBy: null });
    const root = own.seen(login({}, { sub: "root" }));
    for (const action of ["admin.people", "admin.token", "db.admin"] as const)
      expect(may(own, root.id, action)).toBe(true);
    const boss = own.seen(login({}, { sub: "boss", admin: false }));
    for (const change of [{ admin: true }, { admin: true, disabled: true }])
      expect(codeOf(() => own.change(boss.id, change))).toBe("ADMIN_FIXED");
    expect(codeOf(() => own.change(root.id, { admin: false }))).toBe("ADMIN_FIXED");
    expect(codeOf(() => own.change(root.id, { disabled: true }))).toBe("ADMIN_FIXED");
    expect(own.get(boss.id)).toMatchObject({ disabled: false, admin: false });
    const ann = own.seen(login());
    expect(own.change(ann.id, { admin: true })).toMatchObject({ admin: true, adminBy: "admin" });
    expect(may(own, ann.id, "admin.people")).toBe(true);
    expect(own.change(ann.id, { admin: false })).toMatchObject({ admin: false, adminBy: null });
    expect(may(own, ann.id, "admin.people")).toBe(false);
  });

  test("by a claim that is not asked for any more is none", () => {
    const { people: own, file } = place();
    const boss = own.seen(login({}, { admin: true }));
    const without = new People(file, { world, adminClaim: false });
    opened.push(without);
    expect(own.get(boss.id)).toMatchObject({ admin: true });
    expect(without.get(boss.id)).toMatchObject({ admin: false, adminBy: null });
  });

  test("who is the last one that can log in stays: not demoted, disabled or deleted", () => {
    const { people: own } = place();
    const [ann, ben] = [own.seen(login()), own.seen(login())];
    own.change(ann.id, { admin: true });
    const ways = (id: string): unknown[] => [
      codeOf(() => own.change(id, { admin: false })),
      codeOf(() => own.change(id, { disabled: true })),
      codeOf(() => own.remove(id)),
    ];
    expect(ways(ann.id)).toEqual(["LAST_ADMIN", "LAST_ADMIN", "LAST_ADMIN"]);
    own.change(ben.id, { admin: true });
    own.change(ben.id, { disabled: true });
    expect(ways(ann.id)).toEqual(["LAST_ADMIN", "LAST_ADMIN", "LAST_ADMIN"]);
    expect(own.get(ann.id)).toMatchObject({ admin: true, disabled: false });
    own.change(ben.id, { disabled: false });
    expect(own.change(ann.id, { admin: false })).toMatchObject({ admin: false });
    expect(ways(ben.id)).toEqual(["LAST_ADMIN", "LAST_ADMIN", "LAST_ADMIN"]);
  });

  test("who is disabled is nobody, and does not log in", () => {
    const { people: own } = place();
    const ada = own.seen(login({}, { sub: "ada" }));
    own.set("a", ada.id, "owner", "local");
    own.change(ada.id, { disabled: true });
    expect(codeOf(() => own.seen(login({ name: "Other" }, { sub: "ada", admin: true })))).toBe(
      "PERSON_DISABLED",
    );
    expect(own.principal(ada.id)).toBeUndefined();
    expect(own.get(ada.id)).toMatchObject({ admin: false, disabled: true });
    own.change(ada.id, { disabled: false });
    expect(may(own, ada.id, "doc.write", "a")).toBe(true);
  });
});

describe("an invitation", () => {
  const { people: own, file } = place();
  const invite = (role: "viewer" | "editor" | "owner", more: object = {}, maker = "local") =>
    own.invitations.create("a", maker, { role, ...more });
  const roleOf = (person: Person): unknown => own.rolesOf(person.id).find(({ db }) => db === "a")?.role;

  test("gives its role to as many people as it is for, and no more", () => {
    const [ada, bob, eve] = [own.seen(login()), own.seen(login()), own.seen(login())];
    const { secret, invitation } = invite("editor", { uses: 2, note: "for two" });
    expect(secret).toMatch(/^skaldinv_[A-Za-z0-9_-]{43}$/);
    expect(own.invitations.accept(secret, ada.id)).toEqual({
      db: "a",
      role: "editor",
      changed: true,
      invitation: invitation.id,
    });
    expect(own.invitations.accept(secret, ada.id)).toMatchObject({ changed: false });
    expect(own.invitations.accept(secret, bob.id)).toMatchObject({ changed: true });
    expect(codeOf(() => own.invitations.accept(secret, eve.id))).toBe("INVITATION_OVER");
    expect([ada, bob, eve].map(roleOf)).toEqual(["editor", "editor", undefined]);
    expect(own.invitations.list("a").at(-1)).toMatchObject({
      state: "used",
      used: 2,
      uses: 2,
      note: "for two",
    });
    expect(own.roles("a")[0]).toMatchObject({ giver: "local" });
  });

  test("never makes a role a lower one, and whom it gives nothing takes no place", () => {
    const [ada, bob] = [own.seen(login()), own.seen(login())];
    own.set("a", ada.id, "owner", "local");
    const { secret } = invite("viewer");
    expect(own.invitations.accept(secret, ada.id)).toMatchObject({ role: "owner", changed: false });
    expect(own.invitations.accept(secret, bob.id)).toMatchObject({ role: "viewer", changed: true });
    const { secret: higher } = invite("editor");
    expect(own.invitations.accept(higher, bob.id)).toMatchObject({ role: "editor", changed: true });
    expect([ada, bob].map(roleOf)).toEqual(["owner", "editor"]);
  });

  test("does not bring back who was sent away, also not whom it had given nothing", () => {
    const [ada, bob] = [own.seen(login()), own.seen(login())];
    const { secret } = invite("editor", { uses: 10 });
    own.invitations.accept(secret, ada.id);
    own.set("a", bob.id, "owner", "local");
    own.invitations.accept(secret, bob.id);
    for (const one of [ada, bob]) {
      own.set("a", one.id, null, "local");
      expect(codeOf(() => own.invitations.accept(secret, one.id))).toBe("INVITATION_OVER");
      own.set("a", one.id, "viewer", "local");
      expect(codeOf(() => own.invitations.accept(secret, one.id))).toBe("INVITATION_OVER");
      expect(roleOf(one)).toBe("viewer");
    }
  });

  test("runs out, is revoked, and ends when its maker may not invite any more", () => {
    const [ada, bob] = [own.seen(login()), own.seen(login())];
    const accept = (secret: string): unknown => codeOf(() => own.invitations.accept(secret, bob.id));
    const short = invite("viewer", { expiresIn: 60 });
    now += 60_000;
    expect(accept(short.secret)).toBe("INVITATION_OVER");
    const taken = invite("viewer");
    expect(codeOf(() => own.invitations.revoke("b", taken.invitation.id))).toBe("INVITATION_NOT_FOUND");
    own.invitations.revoke("a", taken.invitation.id);
    own.invitations.revoke("a", taken.invitation.id);
    expect(accept(taken.secret)).toBe("INVITATION_OVER");
    own.set("a", ada.id, "owner", "local");
    const hers = invite("owner", {}, ada.id);
    own.set("a", ada.id, "editor", "local");
    expect(accept(hers.secret)).toBe("INVITATION_OVER");
    expect(own.invitations.list("a").map(({ state }) => state)).toEqual(
      expect.arrayContaining(["expired", "revoked", "maker"]),
    );
    expect(roleOf(bob)).toBeUndefined();
    own.set("a", ada.id, "owner", "local");
    expect(accept(hers.secret)).toBe("ok");
  });

  test("is for people: not for a token, nor for who is disabled or unknown", () => {
    const { secret } = invite("owner");
    const eve = own.seen(login());
    own.change(eve.id, { disabled: true });
    for (const id of ["local", "tok_00000000000000000000", "anonymous", "per_00000000000000000000", eve.id])
      expect([id, codeOf(() => own.invitations.accept(secret, id))]).toEqual([id, "PERSON_NEEDED"]);
  });

  test("is not found by anything but its secret, which the file does not hold", () => {
    const ada = own.seen(login());
    const { secret, invitation } = invite("viewer");
    for (const text of [
      "",
      invitation.id,
      secret.slice(9),
      secret.toLowerCase(),
      `${secret} `,
      secret.replace(/.$/, (c) => (c === "A" ? "B" : "A")),
    ])
      expect(codeOf(() => own.invitations.accept(text, ada.id))).toBe("INVITATION_NOT_FOUND");
    const sqlite = new Database(file, { readonly: true });
    const bytes = sqlite.serialize().toString("latin1");
    sqlite.close();
    expect(bytes).toContain(invitation.id);
    expect(bytes).not.toContain(secret.slice(9));
    expect(bytes).not.toContain(Buffer.from(secret.slice(9), "base64url").toString("latin1"));
  });

  test.each([
    [{ expiresIn: 0 }, "BAD_REQUEST"],
    [{ expiresIn: 1.5 }, "BAD_REQUEST"],
    [{ uses: 0 }, "BAD_REQUEST"],
    [{ uses: Number.NaN }, "BAD_REQUEST"],
    [{ note: "two\nlines" }, "NAME_INVALID"],
    [{ note: "\u202eturned" }, "NAME_INVALID"],
  ])("is not made with %j", (more, code) => {
    const before = own.invitations.list("a").length;
    expect(codeOf(() => invite("viewer", more))).toBe(code);
    expect(own.invitations.list("a")).toHaveLength(before);
  });

  test("that was damaged is none", () => {
    const ada = own.seen(login());
    const { secret, invitation } = invite("viewer");
    const sqlite = new Database(file);
    sqlite.prepare("UPDATE invitation SET role = 'owner' WHERE id = ?").run(invitation.id);
    expect(codeOf(() => own.invitations.accept(secret, ada.id))).toBe("DB_DAMAGED");
    sqlite.prepare("UPDATE invitation SET role = 'viewer' WHERE id = ?").run(invitation.id);
    sqlite.close();
  });
});
