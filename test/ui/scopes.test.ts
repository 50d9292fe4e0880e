import fc from "fast-check";
import { ACTIONS, isAction, isServerWide as isServerWideThere } from "../../src/auth/actions.ts";
import { formatScope, parseScope } from "../../src/auth/policy.ts";
import {
  ACTION_NAMES,
  curlLine,
  expiryAfter,
  faultOf,
  isServerWide,
  PRESETS,
  presetRows,
  scopeRow,
  scopeText,
  scopeTexts,
  type Preset,
  type ScopeRow,
} from "../../src/ui/scopes.ts";

const known = ACTION_NAMES.filter((action) => isAction(action));

describe("the form for scopes", () => {
  test("offers actions that the server has, and holds those for server-wide that it does", () => {
    expect(known.filter((action) => !isServerWideThere(action) === isServerWide(action))).toEqual([]);
    expect(ACTIONS.filter((action) => isServerWideThere(action) && !isServerWide(action))).toEqual([]);
    // The rest of the server's names has no route in this version.
    expect(known.length).toBeGreaterThan(11);
  });

  test("finds a fault in exactly those rows that the server refuses", () => {
    const text = fc.oneof(
      fc.constantFrom(
        "",
        "*",
        ".",
        "..",
        "a",
        "movies",
        "Über",
        "a b",
        "x:y",
        "a/b",
        "-",
        "x".repeat(128),
        "x".repeat(129),
      ),
      fc.string({ maxLength: 8 }),
    );
    const prefix = fc.oneof(
      fc.constantFrom("", "notes/", "a:b", "ü".repeat(512), "ü".repeat(513), "\u0007", "a\nb"),
      fc.string({ maxLength: 8 }),
    );
    const row = fc.record({ db: text, action: fc.constantFrom("", "*", ...known), prefix });
    fc.assert(
      fc.property(row, (one: ScopeRow) => {
        const refused = (() => {
          try {
            const scope = scopeText(one);
            return formatScope(parseScope(scope)) !== scope;
          } catch {
            return true;
          }
        })();
        expect(faultOf(one) !== undefined).toBe(refused);
      }),
      { numRuns: 300 },
    );
  });

  test("says what is wrong with a row", () => {
    const row = { db: "movies", action: "doc.read", prefix: "" };
    expect(faultOf(row)).toBeUndefined();
    expect(faultOf({ ...row, db: "" })).toBe("no-db");
    expect(faultOf({ ...row, db: "a b" })).toBe("bad-db");
    expect(faultOf({ ...row, action: "" })).toBe("no-action");
    expect(faultOf({ ...row, prefix: "x".repeat(1025) })).toBe("long-prefix");
    expect(faultOf({ ...row, prefix: "a\tb" })).toBe("control");
    expect(faultOf({ db: "", action: "admin.token", prefix: "x" })).toBeUndefined();
  });

  test("writes scopes that it reads again, each once, and those of the server on every db", () => {
    expect(scopeText({ db: "a", action: "doc.read", prefix: "x/y:z" })).toBe("a:doc.read:x/y:z");
    expect(scopeRow("a:doc.read:x/y:z")).toEqual({ db: "a", action: "doc.read", prefix: "x/y:z" });
    expect(scopeText({ db: "a", action: "admin.token", prefix: "x" })).toBe("*:admin.token");
    expect(scopeTexts([...presetRows("read", "a"), ...presetRows("write", "a")])).toEqual([
      "a:doc.read",
      "a:query.read",
      "a:doc.write",
    ]);
    for (const preset of Object.keys(PRESETS) as Preset[])
      for (const row of presetRows(preset, "a")) expect(faultOf(row)).toBeUndefined();
  });

  test("gives a line for a shell that asks for what the token may", () => {
    const line = (...scopes: string[]): string => curlLine("http://h:1", "skald_x", scopes);
    expect(line("*:doc.read", "a:doc.read")).toBe(
      "curl -H 'Authorization: Bearer skald_x' http://h:1/api/v1/db/a/docs",
    );
    expect(line("a:*")).toContain("/db/a/docs");
    expect(line("a:query.read")).toContain("/db/a/query/exec");
    expect(line("*:*")).toBe("curl -H 'Authorization: Bearer skald_x' http://h:1/api/v1/db");
  });

  test("a lifetime in days is a time from now on", () => {
    expect(expiryAfter(30, 0)).toBe("1970-01-31T00:00:00.000Z");
    expect(expiryAfter(undefined, 0)).toBeUndefined();
  });
});
