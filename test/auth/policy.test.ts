import fc from "fast-check";
import { ACTIONS, isServerWide, type Action } from "../../src/auth/actions.ts";
import {
  allows,
  formatScope,
  managesTokens,
  mayManage,
  mayMint,
  parseScope,
  prefixesFor,
  type Principal,
  type Scope,
} from "../../src/auth/policy.ts";

const holder = (...scopes: string[]): Principal => ({
  id: "tok_1",
  subject: "ann",
  scopes: scopes.map(parseScope),
});

function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
  return "nothing thrown";
}

describe("what a token with these scopes may do", () => {
  type Case = [
    scopes: string,
    action: Action,
    db: string | undefined,
    resource: string | undefined,
    allowed: boolean,
  ];
  const cases: Case[] = [
    // one action on one db
    ["a:doc.read", "doc.read", "a", undefined, true],
    ["a:doc.read", "doc.read", "a", "notes/1", true],
    ["a:doc.read", "doc.write", "a", "notes/1", false],
    ["a:doc.read", "doc.read", "b", undefined, false],
    ["a:doc.read", "doc.read", "A", undefined, false],
    ["a:doc.read", "doc.read", "ab", undefined, false],
    ["ab:doc.read", "doc.read", "a", undefined, false],
    ["a:doc.read", "doc.read", undefined, undefined, false],
    ["a:doc.read", "doc.read", "*", undefined, false],
    ["a:doc.read", "admin.token", undefined, undefined, false],
    ["a:db.admin", "doc.read", "a", undefined, false],
    ["a:doc.write", "doc.read", "a", "notes/1", false],
    // two scopes do not combine into a third
    ["a:doc.read b:doc.write", "doc.write", "a", "notes/1", false],
    ["a:doc.read b:doc.write", "doc.write", "b", "notes/1", true],
    // a prefix
    ["a:doc.read:notes/", "doc.read", "a", "notes/1", true],
    ["a:doc.read:notes/", "doc.read", "a", "notes/", true],
    ["a:doc.read:notes/", "doc.read", "a", "notes", false],
    ["a:doc.read:notes/", "doc.read", "a", "notes2/1", false],
    ["a:doc.read:notes/", "doc.read", "a", "Notes/1", false],
    ["a:doc.read:notes/", "doc.read", "a", "x/notes/1", false],
    ["a:doc.read:notes/", "doc.read", "a", "notes%2F1", false],
    ["a:doc.read:notes/", "doc.read", "a", "", false],
    ["a:doc.read:notes/", "doc.read", "a", undefined, false],
    ["a:doc.read:notes/", "doc.write", "a", "notes/1", false],
    ["a:doc.read:notes/", "doc.read", "b", "notes/1", false],
    ["a:doc.read:notes/todo-", "doc.read", "a", "notes/todo-1", true],
    ["a:doc.read:notes/todo-", "doc.read", "a", "notes/done-1", false],
    ["a:doc.read:notes/a:b", "doc.read", "a", "notes/a:b:c", true],
    ["a:doc.read:x/ a:doc.read:y/", "doc.read", "a", "y/1", true],
    ["a:doc.read:x/ a:doc.read", "doc.read", "a", undefined, true],
    // every db
    ["*:doc.read", "doc.read", "a", "notes/1", true],
    ["*:doc.read", "doc.read", undefined, undefined, true],
    ["*:doc.read", "doc.write", "a", "notes/1", false],
    ["*:doc.read:notes/", "doc.read", "a", "notes/1", true],
    ["*:doc.read:notes/", "doc.read", "a", undefined, false],
    ["*:doc.read:notes/", "doc.read", undefined, undefined, false],
    // every action
    ["a:*", "doc.write", "a", undefined, true],
    ["a:*", "db.admin", "a", undefined, true],
    ["a:*", "db.admin", "b", undefined, false],
    ["a:*", "admin.token", undefined, undefined, false],
    ["a:*", "admin.token", "a", undefined, false],
    ["a:*", "admin.people", undefined, undefined, false],
    ["a:*", "admin.people", "a", undefined, false],
    ["a:*:notes/", "doc.write", "a", "notes/1", true],
    ["a:*:notes/", "db.admin", "a", undefined, false],
    // the server
    ["*:admin.token", "admin.token", undefined, undefined, true],
    ["*:admin.token", "admin.token", "a", undefined, true],
    ["*:admin.token", "doc.read", "a", "notes/1", false],
    ["*:admin.token", "db.admin", "a", undefined, false],
    ["*:admin.token", "admin.people", undefined, undefined, false],
    ["*:admin.people", "admin.people", undefined, undefined, true],
    ["*:*", "admin.token", undefined, undefined, true],
    ["*:*", "db.admin", undefined, undefined, true],
    ["*:*", "doc.write", "a", "notes/1", true],
    ["*:*:notes/", "admin.token", undefined, undefined, false],
    ["*:*:notes/", "admin.token", undefined, "notes/1", false],
    ["*:*:notes/", "doc.write", "a", "notes/1", true],
    ["*:*:notes/", "doc.write", "a", undefined, false],
  ];
  test.each(cases)("%s: %s on db %s, resource %s: %s", (scopes, action, db, resource, allowed) => {
    expect(allows(holder(...scopes.split(" ")), action, db, resource)).toBe(allowed);
  });

  test("a token without scopes may do nothing", () => {
    for (const action of ACTIONS) expect(allows(holder(), action, "a", "notes/1")).toBe(false);
  });

  test("an administrator may do everything", () => {
    for (const action of ACTIONS) {
      expect(allows(holder("*:*"), action, "a", "notes/1")).toBe(true);
      expect(allows(holder("*:*"), action, undefined)).toBe(true);
    }
  });

  test("a scope on admin.token made by hand for one db gives nothing", () => {
    const principal = { id: "tok_1", subject: "ann", scopes: [{ db: "a", action: "admin.token" } as const] };
    expect(allows(principal, "admin.token", "a")).toBe(false);
    expect(allows(principal, "admin.token", undefined)).toBe(false);
  });
});

describe("what a list may show", () => {
  test.each([
    ["a:doc.read", "all"],
    ["*:doc.read", "all"],
    ["*:*", "all"],
    ["a:doc.read:x/ a:doc.read", "all"],
    ["b:doc.read", "none"],
    ["a:doc.write", "none"],
    ["a:doc.read:x/", ["x/"]],
    ["a:doc.read:y/ *:doc.read:x/ a:*:z/ b:doc.read:w/", ["x/", "y/", "z/"]],
    ["a:doc.read:x/a a:doc.read:x/ a:doc.read:x/b a:doc.read:x-", ["x-", "x/"]],
  ])("%s: %j", (scopes, shown) => {
    expect(prefixesFor(holder(...scopes.split(" ")), "doc.read", "a")).toEqual(shown);
  });
});

describe("which scopes a token may give to another", () => {
  const cases: [own: string, wanted: string, allowed: boolean][] = [
    ["*:*", "*:*", true],
    ["*:*", "*:admin.token", true],
    ["*:*", "a:doc.read:notes/ b:db.admin", true],
    // without admin.token and db.admin, none
    ["a:doc.read", "a:doc.read", false],
    ["*:*:notes/", "a:doc.read:notes/", false],
    ["a:*:notes/", "a:doc.read:notes/", false],
    // with db.admin, of that db, what the token has itself
    ["a:*", "a:doc.read", true],
    ["a:*", "a:*", true],
    ["a:*", "a:db.admin:x", true],
    ["a:db.admin a:doc.read", "a:doc.read a:db.admin", true],
    ["a:db.admin", "a:doc.read", false],
    ["a:db.admin:x b:*", "a:db.admin:x", false],
    ["a:*", "b:doc.read", false],
    ["a:*", "*:doc.read", false],
    ["a:*", "a:doc.read b:doc.read", false],
    ["a:* b:*", "a:doc.read b:doc.read", true],
    ["a:*", "*:admin.token", false],
    ["*:db.admin *:doc.read", "a:doc.read b:doc.read", true],
    ["*:db.admin *:doc.read", "*:doc.read", false],
    // with it, what the token has itself
    ["*:admin.token a:doc.read", "a:doc.read", true],
    ["*:admin.token a:doc.read", "a:doc.read:notes/", true],
    ["*:admin.token a:doc.read", "*:admin.token", true],
    ["*:admin.token a:doc.read", "a:doc.write", false],
    ["*:admin.token a:doc.read", "b:doc.read", false],
    ["*:admin.token a:doc.read", "*:doc.read", false],
    ["*:admin.token a:doc.read", "a:*", false],
    ["*:admin.token a:doc.read", "a:doc.read b:doc.read", false],
    ["*:admin.token", "*:*", false],
    ["*:admin.token a:*", "a:db.admin", true],
    ["*:admin.token a:*", "*:db.admin", false],
    ["*:admin.token *:doc.read", "a:doc.read", true],
    ["*:admin.token a:doc.read:notes/", "a:doc.read", false],
    ["*:admin.token a:doc.read:notes/", "a:doc.read:notes", false],
    ["*:admin.token a:doc.read:notes/", "a:doc.read:notes/todo-", true],
    ["*:admin.token a:doc.read:notes/", "a:doc.read:other/", false],
  ];
  test.each(cases)("%s gives %s: %s", (own, wanted, allowed) => {
    expect(mayMint(holder(...own.split(" ")), wanted.split(" ").map(parseScope))).toBe(allowed);
  });

  test("naming every action does not amount to all of them", () => {
    const own = holder(
      "*:admin.token",
      ...ACTIONS.filter((action) => !isServerWide(action)).map((a) => `a:${a}`),
    );
    expect(mayMint(own, [parseScope("a:*")])).toBe(false);
  });
});

describe("which tokens one may see and revoke", () => {
  test.each<[own: string, theirs: string, allowed: boolean]>([
    ["*:admin.token", "*:*", true],
    ["a:*", "a:doc.read", true],
    ["a:db.admin", "a:*", true],
    ["a:db.admin", "a:doc.read:notes/ a:sync", true],
    ["a:db.admin", "a:doc.read b:doc.read", false],
    ["a:db.admin", "*:doc.read", false],
    ["*:db.admin", "a:doc.read b:doc.read", true],
    ["*:db.admin", "*:doc.read", false],
    ["*:db.admin", "*:admin.token", false],
    ["a:doc.read", "a:doc.read", false],
    ["a:db.admin:x", "a:db.admin:x", false],
  ])("%s those with %s: %s", (own, theirs, allowed) => {
    const principal = holder(...own.split(" "));
    expect(mayManage(principal, theirs.split(" ").map(parseScope))).toBe(allowed);
    expect(managesTokens(principal)).toBe(!["a:doc.read", "a:db.admin:x"].includes(own));
  });
});

describe("a scope as text", () => {
  test.each<[string, Scope]>([
    ["mydb:doc.read", { db: "mydb", action: "doc.read" }],
    ["mydb:doc.read:notes/", { db: "mydb", action: "doc.read", prefix: "notes/" }],
    ["mydb:doc.read:a:b:", { db: "mydb", action: "doc.read", prefix: "a:b:" }],
    ["my.db_-1:*:ключ", { db: "my.db_-1", action: "*", prefix: "ключ" }],
    ["*:*", { db: "*", action: "*" }],
    ["*:admin.token", { db: "*", action: "admin.token" }],
  ])("%s is read and written back", (text, scope) => {
    expect(parseScope(text)).toStrictEqual(scope);
    expect(formatScope(scope)).toBe(text);
  });

  test.each([
    "",
    "*",
    "mydb",
    ":doc.read",
    "mydb:",
    "mydb:doc.read:",
    "mydb::notes/",
    "mydb:doc.reads",
    "mydb:DOC.READ",
    "mydb:doc.*",
    "mydb:doc.read ",
    " mydb:doc.read",
    "my*:doc.read",
    "my/db:doc.read",
    "..:doc.read",
    "**:doc.read",
    "mydb:toString",
    "mydb:__proto__",
    "mydb:admin.token",
    "*:admin.token:notes/",
    "mydb:doc.read:a\nb",
    "mydb:doc.read:\u0000",
    "mydb:doc.read:\ud800",
    `mydb:doc.read:${"x".repeat(1025)}`,
    `${"x".repeat(129)}:doc.read`,
  ])("%j is refused", (text) => {
    expect(codeOf(() => parseScope(text))).toBe("SCOPE_INVALID");
  });

  test.each<Scope>([
    { db: "a:doc.write", action: "doc.read" },
    { db: "", action: "doc.read" },
    { db: "a", action: "doc.read", prefix: "" },
    { db: "a", action: "admin.token" },
    { db: "a", action: "doc.read:x" as Action },
  ])("%j has no text", (scope) => {
    expect(codeOf(() => formatScope(scope))).toBe("SCOPE_INVALID");
  });
});

describe("for any scopes", () => {
  // Few names, so that scopes and questions meet often.
  const db = fc.constantFrom("a", "b");
  const action = fc.constantFrom<Action>("doc.read", "doc.write", "db.admin", "admin.token");
  const name = fc.string({ unit: fc.constantFrom("x", "y", "/"), minLength: 1, maxLength: 4 });
  const scope = fc
    .record(
      {
        db: fc.oneof(db, fc.constant("*")),
        action: fc.oneof(action, fc.constant("*" as const)),
        prefix: name,
      },
      { requiredKeys: ["db", "action"] },
    )
    .filter(
      (s) => s.action !== "admin.token" || (s.db === "*" && s.prefix === undefined),
    ) as fc.Arbitrary<Scope>;
  const scopes = fc.array(scope, { maxLength: 6 });
  const question = fc.tuple(action, fc.option(db, { nil: undefined }), fc.option(name, { nil: undefined }));
  const principal = (own: readonly Scope[]): Principal => ({ id: "tok_1", subject: "ann", scopes: own });
  const runs = { numRuns: 2_000 };

  test("removing a scope never allows more", () => {
    fc.assert(
      fc.property(scopes, fc.nat(), question, (own, at, asked) => {
        const fewer = own.filter((_, i) => i !== at % Math.max(1, own.length));
        return !allows(principal(fewer), ...asked) || allows(principal(own), ...asked);
      }),
      runs,
    );
  });

  test("a token never gets from its maker what the maker may not do, nor may it pass that on", () => {
    const admin: Scope = { db: "*", action: "admin.token" };
    // Half of what is wanted is derived from what is there: random scopes would nearly always be refused.
    const narrowed = (own: readonly Scope[]): fc.Arbitrary<Scope> =>
      fc.tuple(fc.constantFrom(...own), scope, name).map(([from, other, more]) => ({
        db: from.db === "*" ? other.db : from.db,
        action: from.action === "*" && other.action !== "admin.token" ? other.action : from.action,
        ...(from.action === "admin.token" ? {} : { prefix: (from.prefix ?? "") + more }),
      }));
    const made = scopes
      .map((own) => [admin, ...own])
      .chain((own) =>
        fc.tuple(fc.constant(own), fc.array(fc.oneof(narrowed(own), scope), { minLength: 1, maxLength: 3 })),
      );
    let minted = 0;
    fc.assert(
      fc.property(made, question, scope, ([own, wanted], asked, next) => {
        if (!mayMint(principal(own), wanted)) return true;
        minted += 1;
        if (mayMint(principal(wanted), [next]) && !mayMint(principal(own), [next])) return false;
        return !allows(principal(wanted), ...asked) || allows(principal(own), ...asked);
      }),
      runs,
    );
    expect(minted).toBeGreaterThan(runs.numRuns / 10);
  });

  test("many scopes allow what few do, beside what is of other dbs", () => {
    const others: Scope[] = Array.from({ length: 40 }, (_, i) => ({ db: `elsewhere-${i}`, action: "*" }));
    fc.assert(
      fc.property(scopes, fc.nat(40), question, (own, at, asked) => {
        const many = principal([...others.slice(0, at), ...own, ...others.slice(at)]);
        expect(allows(many, ...asked)).toBe(allows(principal(own), ...asked));
        const where = asked[1] ?? "a";
        expect(prefixesFor(many, "doc.read", where)).toEqual(prefixesFor(principal(own), "doc.read", where));
        expect(allows(many, asked[0], "elsewhere-7")).toBe(
          !isServerWide(asked[0]) || allows(many, asked[0], undefined),
        );
      }),
      runs,
    );
  });

  test("a list shows exactly what may be read one by one, and nothing twice", () => {
    fc.assert(
      fc.property(scopes, db, name, (own, where, resource) => {
        const shown = prefixesFor(principal(own), "doc.read", where);
        expect(shown === "all").toBe(allows(principal(own), "doc.read", where));
        const hits = Array.isArray(shown) ? shown.filter((prefix) => resource.startsWith(prefix)).length : 0;
        expect(hits).toBeLessThanOrEqual(1);
        expect(shown === "all" || hits === 1).toBe(allows(principal(own), "doc.read", where, resource));
      }),
      runs,
    );
  });

  test("a scope's text gives the scope back", () => {
    fc.assert(
      fc.property(scope, (one) => {
        expect(parseScope(formatScope(one))).toStrictEqual({ ...one });
      }),
    );
  });

  test("text that is read at all is written back as it was", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "*", ":", "doc.read", "/", " ") }), (text) => {
        try {
          return formatScope(parseScope(text)) === text;
        } catch (error) {
          return (error as { code?: unknown }).code === "SCOPE_INVALID";
        }
      }),
      runs,
    );
  });
});
