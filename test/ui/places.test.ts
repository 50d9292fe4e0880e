import fc from "fast-check";
import { afterLogin, cameBackFor, tellable } from "../../src/ui/after-login.ts";
import { sparkline, timesOf } from "../../src/ui/databases.ts";
import { bytes, duration, relative } from "../../src/ui/format.ts";
import { mayOn, type Me } from "../../src/ui/permissions.ts";
import { link, placeOf } from "../../src/ui/routes.ts";

test("a link leads to the document that it names, whatever the names", () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 1 }),
      fc.string({ minLength: 1 }),
      fc.string({ minLength: 1 }),
      (db, collection, key) => {
        const names = [db, collection, key].map((name) => name.toWellFormed());
        expect(placeOf(link(["db", names[0] as string, "docs", ...names.slice(1)], { at: 12 }))).toEqual({
          page: "doc",
          db: names[0],
          collection: names[1],
          key: names[2],
          secret: "",
          query: { at: "12" },
        });
      },
    ),
  );
});

test.each([
  ["", "databases"],
  ["#/", "databases"],
  ["#/db/a", "overview"],
  ["#/db/a/", "overview"],
  ["#/db/a/docs", "docs"],
  ["#/db/a/docs/films", "docs"],
  ["#/db/a/docs/films/x%2Fy", "doc"],
  ["#/db/a/time?doc=films%2Fx", "time"],
  ["#/db/a/people", "db-people"],
  ["#/people", "people"],
  ["#/invite/secret", "invite"],
  ["#/login?error=X", "login"],
  ["#/db", "unknown"],
  ["#/db/a/nothing", "unknown"],
  ["#/db/a/time/more", "unknown"],
  ["#/toString", "unknown"],
  ["#/db/a/constructor", "unknown"],
  ["#/db/%E0%A4%A", "unknown"],
])("%s is the page %s", (hash, page) => {
  expect(placeOf(hash).page).toBe(page);
});

test("after signing in one only ever gets to a place of the dashboard", () => {
  expect(afterLogin("#/db/a")).toBe("#/db/a");
  for (const other of [
    undefined,
    "",
    "//evil.example",
    "https://evil.example/#/",
    "javascript:alert(1)",
    "#/login",
  ])
    expect(afterLogin(other)).toBe("#/");
});

test("an invitation's secret stays in its tab while one signs in elsewhere, and is found again once", () => {
  const kept = new Map<string, string>();
  const tab = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
  expect(tellable("#/db/a", tab)).toBe("#/db/a");
  expect(cameBackFor("#/", tab)).toBeUndefined();
  expect(tellable("#/invite/skaldinv_x", tab)).toBe("#/");
  expect(cameBackFor("#/", tab)).toBe("#/invite/skaldinv_x");
  expect(cameBackFor("#/", tab)).toBeUndefined();
  tellable("#/invite/skaldinv_x", tab);
  expect(cameBackFor("#/db/a", tab)).toBeUndefined();
});

test("numbers read as people write them", () => {
  expect([0, 999, 1024, 1536, 20_600_000, 1023.6, 1024 ** 4 * 3].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.00 KB",
    "1.50 KB",
    "19.6 MB",
    "1.00 KB",
    "3.00 TB",
  ]);
  expect([450, 12_340, 64_000, 3_840_000, 90_000_000].map(duration)).toEqual([
    "450 ms",
    "12.3 s",
    "1 min 4 s",
    "1 h 4 min",
    "1 d 1 h",
  ]);
  const now = Date.parse("2026-01-10T12:00:00Z");
  expect([0, -90_000, -7_200_000, 86_400_000, -1_000_000_000].map((ms) => relative(now + ms, now))).toEqual([
    "now",
    "1 minute ago",
    "2 hours ago",
    "tomorrow",
    "last week",
  ]);
});

test("a small line stays within its frame and stands on its floor", () => {
  expect(sparkline([0, 5, 10], 100, 22)).toBe("0,21 50,11 100,1");
  expect(sparkline([0, 0], 100, 22)).toBe("0,21 100,21");
  expect(sparkline([], 100, 22)).toBe("");
  expect(timesOf({ from: "1970-01-01T00:01:00Z", to: "", step_ms: 30_000, commits: [1, 2], seq: 3 })).toEqual(
    [60, 90],
  );
});

test("what is offered follows what the server said one may", () => {
  const me: Me = {
    kind: "person",
    id: "per_1",
    subject: "ada",
    name: "Ada",
    admin: false,
    dbs: [{ db_id: "a", role: "viewer", actions: ["doc.read"] }],
    can: { create_db: false, tokens: false, people: false, audit: false },
    session: null,
  };
  expect(mayOn(me, "doc.read", "a")).toBe(true);
  expect(mayOn(me, "doc.write", "a")).toBe(false);
  expect(mayOn(me, "doc.read", "b")).toBe(false);
  expect(mayOn({ ...me, admin: true }, "doc.write", "b")).toBe(true);
  expect(mayOn({ ...me, dbs: [{ db_id: "*", role: null, actions: ["*"] }] }, "doc.write", "b")).toBe(true);
  // What a token limited to a prefix may is not in the list.
  expect(mayOn({ ...me, kind: "token", dbs: [] }, "doc.write", "b")).toBe(true);
});
