import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import Database from "better-sqlite3";
import { parseScope } from "../../src/auth/policy.ts";
import { sumOfToken } from "../../src/auth/token-record.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { openSqlite } from "../../src/store/sqlite.ts";
import { realWorld } from "../../src/world.ts";

const START = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;
const READ = [parseScope("mydb:doc.read")];

let folder: string;
let file: string;
let now: number;
let tokens: Tokens;

const open = (): Tokens => new Tokens(file, { world: { ...realWorld, now: () => now } });

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "skald-auth-"));
  file = path.join(folder, "service.sqlite");
  now = START;
  tokens = open();
});

afterEach(() => {
  tokens.close();
  rmSync(folder, { recursive: true });
});

/** The file as another connection sees it. */
function inFile<T>(sql: string): T[] {
  const sqlite = new Database(file, { readonly: true });
  try {
    return sqlite.prepare(sql).pluck().all() as T[];
  } finally {
    sqlite.close();
  }
}

describe("the time of last use", () => {
  const written = (): (number | null)[] =>
    inFile<number | null>("SELECT last_used FROM token ORDER BY rowid");

  test("is written by the first use after a minute, for all tokens, and not again within the next", () => {
    const a = tokens.create({ label: "a", scopes: READ }).token;
    const b = tokens.create({ label: "b", scopes: READ }).token;
    tokens.verify(b);
    now = START + MINUTE - 1;
    tokens.verify(a);
    expect(written()).toEqual([null, null]);
    expect(tokens.list().map((record) => record.lastUsed)).toEqual([START + MINUTE - 1, START]);
    now = START + MINUTE;
    tokens.verify(a);
    expect(written()).toEqual([START + MINUTE, START]);
    now = START + 2 * MINUTE - 1;
    tokens.verify(a);
    tokens.verify(b);
    expect(written()).toEqual([START + MINUTE, START]);
    now = START + 2 * MINUTE;
    tokens.verify(b);
    expect(written()).toEqual([START + 2 * MINUTE - 1, START + 2 * MINUTE]);
  });

  test("is written once for each use that is new, however often others are", () => {
    const a = tokens.create({ label: "a", scopes: READ }).token;
    const b = tokens.create({ label: "b", scopes: READ }).token;
    const other = openSqlite(file, { kind: "service" });
    other.exec(
      "CREATE TRIGGER seen AFTER UPDATE ON token BEGIN INSERT INTO audit (time, principal, action) VALUES (0, new.label, ''); END",
    );
    other.close();
    tokens.verify(a);
    for (let minute = 1; minute <= 3; minute += 1) {
      now = START + minute * MINUTE;
      tokens.verify(b);
    }
    expect(inFile("SELECT principal FROM audit WHERE principal = 'a'")).toEqual(["a"]);
    expect(inFile("SELECT principal FROM audit WHERE principal = 'b'")).toEqual(["b", "b", "b"]);
  });

  test("is written on close", () => {
    const { token } = tokens.create({ label: "a", scopes: READ });
    now += 7;
    tokens.verify(token);
    tokens.close();
    expect(written()).toEqual([START + 7]);
  });

  test("is written although the clock was set back", () => {
    const { token } = tokens.create({ label: "a", scopes: READ });
    now = START - 100 * MINUTE;
    tokens.verify(token);
    expect(written()).toEqual([now]);
  });

  test("does not move when the token is refused", () => {
    const { token } = tokens.create({ label: "a", scopes: READ, expires: START + 5 });
    now = START + 5;
    tokens.verify(token);
    expect(tokens.list()[0]?.lastUsed).toBeNull();
  });

  test("a use that cannot be written refuses nobody and is written later", () => {
    const { token } = tokens.create({ label: "a", scopes: READ });
    const other = openSqlite(file, { kind: "service" });
    other.exec("CREATE TRIGGER full BEFORE UPDATE ON token BEGIN SELECT raise(ABORT, 'no'); END");
    now += MINUTE;
    expect(tokens.verify(token)).toBeDefined();
    expect(written()).toEqual([null]);
    other.exec("DROP TRIGGER full");
    other.close();
    now += MINUTE;
    expect(tokens.verify(token)).toBeDefined();
    expect(written()).toEqual([now]);
  });
});

test("more tokens than are kept in memory all verify, stay revocable and keep their uses", () => {
  // Straight into the file: ten thousand creations would be ten thousand fsyncs.
  const text = (i: number): string => `skald_${String(i).padStart(43, "0")}`;
  const other = openSqlite(file, { kind: "service" });
  const insert = other.prepare(
    "INSERT INTO token (id, label, subject, hash, scopes, created, sum) VALUES (@id, @label, @subject, @hash, @scopes, @created, @sum)",
  );
  const rest = {
    label: "x",
    subject: "x",
    scopes: '["mydb:doc.read"]',
    created: 0,
    expires: null,
    revoked: null,
    maker: null,
    maker_subject: null,
    predecessor: null,
  };
  const count = 10_050;
  other.transaction(() => {
    for (let i = 0; i < count; i += 1) {
      const row = { ...rest, id: `tok_${i}`, hash: createHash("sha256").update(text(i)).digest() };
      insert.run({ ...row, sum: sumOfToken(row) });
    }
  })();
  other.close();
  for (let i = 0; i < count; i += 1) expect(tokens.verify(text(i))?.id).toBe(`tok_${i}`);
  now += 5;
  expect(tokens.verify(text(3))?.id).toBe("tok_3");
  for (const i of [0, 3, count - 1]) {
    tokens.revoke(`tok_${i}`);
    expect(tokens.verify(text(i))).toBeUndefined();
  }
  tokens.close();
  expect(inFile("SELECT count(*) FROM token WHERE last_used IS NULL")).toEqual([0]);
  expect(inFile("SELECT last_used FROM token WHERE id IN ('tok_0', 'tok_3') ORDER BY id")).toEqual([
    START,
    START + 5,
  ]);
});
