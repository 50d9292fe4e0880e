import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseScope } from "../../src/auth/policy.ts";
import type { NewToken } from "../../src/auth/token-record.ts";
import { ensureAdmin, Tokens } from "../../src/auth/tokens.ts";
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
const reopen = (): void => {
  tokens.close();
  tokens = open();
};

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

function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
  return "nothing thrown";
}

describe("a new token", () => {
  test("is skald_ and 43 characters, and nobody else's", () => {
    const made = Array.from({ length: 50 }, () => tokens.create({ label: "ci", scopes: READ }).token);
    for (const token of made) expect(token).toMatch(/^skald_[A-Za-z0-9_-]{43}$/);
    expect(new Set(made).size).toBe(50);
  });

  test("verifies as its subject with its scopes, before and after a restart", () => {
    const { token, record } = tokens.create({ label: "ci", subject: "ann", scopes: READ });
    const principal = { id: record.id, subject: "ann", scopes: READ };
    expect(tokens.verify(token)).toEqual(principal);
    expect(tokens.verify(token)).toEqual(principal);
    reopen();
    expect(tokens.verify(token)).toEqual(principal);
  });

  test("is its own subject when it names none", () => {
    const { token, record } = tokens.create({ label: "ci", scopes: READ });
    expect(record.subject).toBe(record.id);
    expect(tokens.verify(token)?.subject).toBe(record.id);
  });

  test("is listed with everything but its text", () => {
    const scopes = ["mydb:doc.read:notes/", "*:doc.write", "mydb:doc.read:notes/"].map(parseScope);
    const { token, record } = tokens.create({
      label: "CI – büro 🏢",
      subject: "ann",
      scopes,
      expires: now + 5,
    });
    expect(tokens.list()).toEqual([record]);
    expect(record).toEqual({
      id: expect.stringMatching(/^tok_[0-9a-f]{20}$/) as string,
      label: "CI – büro 🏢",
      subject: "ann",
      scopes: scopes.slice(0, 2),
      created: START,
      expires: START + 5,
      revoked: null,
      lastUsed: null,
      maker: null,
      predecessor: null,
      successor: null,
    });
    expect(JSON.stringify(tokens.list())).not.toContain(token.slice(6));
  });

  test.each([
    "",
    " ",
    " ann",
    "ann ",
    "a\nb",
    "a\u0000",
    "a\u200bb",
    "a\u202eb",
    "a\u00a0b",
    "\ud800",
    "x".repeat(129),
  ])("is refused the subject and the label %j", (text) => {
    expect(codeOf(() => tokens.create({ label: "ci", subject: text, scopes: READ }))).toBe("NAME_INVALID");
    expect(codeOf(() => tokens.create({ label: text, scopes: READ }))).toBe("NAME_INVALID");
    expect(tokens.isEmpty()).toBe(true);
  });

  test("may have a subject of 128 characters, letters of any script and spaces within", () => {
    for (const subject of ["x".repeat(128), "𝒳".repeat(128), "Ann Ó Néill <ann@example.org>", "李明"]) {
      expect(tokens.create({ label: "ci", subject, scopes: READ }).record.subject).toBe(subject);
    }
  });

  test.each<[string, Partial<NewToken>, string]>([
    ["no scopes", { scopes: [] }, "SCOPE_INVALID"],
    [
      "too many scopes",
      { scopes: Array.from({ length: 257 }, (_, i) => parseScope(`db${i}:doc.read`)) },
      "SCOPE_INVALID",
    ],
    ["a scope that has no text", { scopes: [{ db: "a:b", action: "doc.read" }] }, "SCOPE_INVALID"],
    ["an expiry that is now", { expires: START }, "BAD_REQUEST"],
    ["an expiry in seconds", { expires: START / 1000 + 3600 }, "BAD_REQUEST"],
    ["an expiry that is no number", { expires: Number.NaN }, "BAD_REQUEST"],
    ["an expiry without end", { expires: Infinity }, "BAD_REQUEST"],
  ])("is refused %s", (_, wrong, code) => {
    expect(codeOf(() => tokens.create({ label: "ci", scopes: READ, ...wrong }))).toBe(code);
    expect(tokens.isEmpty()).toBe(true);
  });
});

describe("what is no token here", () => {
  test("does not verify", () => {
    const { token } = tokens.create({ label: "ci", scopes: READ });
    const last = token.endsWith("A") ? "B" : "A";
    for (const wrong of [
      "",
      "skald_",
      token.slice(0, -1),
      token.slice(6),
      `${token}A`,
      `${token}\n`,
      ` ${token}`,
      token.slice(0, -1) + last,
      token.toUpperCase(),
      `skald_${"A".repeat(43)}`,
      `skald_${"Ł".repeat(43)}`,
      "__proto__",
    ]) {
      expect(tokens.verify(wrong)).toBeUndefined();
    }
    expect(tokens.verify(token)).toBeDefined();
  });

  test("includes the token's hash and its id", () => {
    const { token, record } = tokens.create({ label: "ci", scopes: READ });
    expect(tokens.verify(record.id)).toBeUndefined();
    expect(tokens.verify(`skald_${createHash("sha256").update(token).digest("base64url")}`)).toBeUndefined();
  });
});

describe("revoking", () => {
  test("refuses a token at once, though it was in use, and after a restart", () => {
    const { token, record } = tokens.create({ label: "ci", scopes: READ });
    const other = tokens.create({ label: "other", scopes: READ });
    expect(tokens.verify(token)).toBeDefined();
    now += 10;
    tokens.revoke(record.id);
    expect(tokens.verify(token)).toBeUndefined();
    expect(tokens.verify(other.token)).toBeDefined();
    reopen();
    expect(tokens.verify(token)).toBeUndefined();
    expect(tokens.list()[0]).toMatchObject({ id: record.id, revoked: START + 10, lastUsed: START });
  });

  test("twice keeps the first time", () => {
    const { record } = tokens.create({ label: "ci", scopes: READ });
    tokens.revoke(record.id);
    now += 10;
    tokens.revoke(record.id);
    expect(tokens.list()[0]?.revoked).toBe(START);
  });

  test("an unknown id is TOKEN_NOT_FOUND, and a token's text is no id and not repeated in the error", () => {
    const { token } = tokens.create({ label: "ci", scopes: READ });
    expect(codeOf(() => tokens.revoke("tok_none"))).toBe("TOKEN_NOT_FOUND");
    let message = "";
    try {
      tokens.revoke(token);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).not.toBe("");
    expect(message).not.toContain(token.slice(6, 16));
    expect(tokens.verify(token)).toBeDefined();
  });
});

describe("expiry", () => {
  test("refuses a token from its millisecond on, though it was in use, and after a restart", () => {
    const { token } = tokens.create({ label: "ci", scopes: READ, expires: START + 1_000 });
    now = START + 999;
    expect(tokens.verify(token)).toBeDefined();
    now = START + 1_000;
    expect(tokens.verify(token)).toBeUndefined();
    reopen();
    expect(tokens.verify(token)).toBeUndefined();
    expect(tokens.list()[0]).toMatchObject({
      expires: START + 1_000,
      revoked: null,
      lastUsed: START + 999,
    });
  });
});

test("no token's text is in the folder's bytes, and its hash is", () => {
  const texts: string[] = [];
  const admin = ensureAdmin(tokens);
  if (admin !== undefined) texts.push(admin);
  for (let i = 0; i < 20; i += 1) texts.push(tokens.create({ label: `t${i}`, scopes: READ }).token);
  for (const token of texts) tokens.verify(token);
  tokens.verify(`skald_${"A".repeat(43)}`);
  const [first] = tokens.list();
  tokens.revoke(first?.id ?? "");
  tokens.audit({ principal: first?.id ?? "", action: "admin.token", detail: "revoked itself" });
  now += MINUTE;
  for (const token of texts) tokens.verify(token);
  tokens.close();
  const bytes = Buffer.concat(readdirSync(folder).map((name) => readFileSync(path.join(folder, name))));
  expect(texts).toHaveLength(21);
  expect(bytes.includes("skald_")).toBe(false);
  for (const token of texts) {
    const secret = token.slice(6);
    expect(bytes.includes(secret)).toBe(false);
    expect(bytes.includes(Buffer.from(secret, "base64url"))).toBe(false);
    expect(bytes.includes(createHash("sha256").update(token).digest())).toBe(true);
  }
});

describe("the first start", () => {
  test("makes one administrator", () => {
    const token = ensureAdmin(tokens) ?? "";
    expect(tokens.list()).toMatchObject([
      { label: "admin", subject: "admin", scopes: [{ db: "*", action: "*" }] },
    ]);
    expect(tokens.verify(token)?.subject).toBe("admin");
  });

  test("is over once any token was made, revoked or not", () => {
    ensureAdmin(tokens);
    expect(ensureAdmin(tokens)).toBeUndefined();
    tokens.revoke(tokens.list()[0]?.id ?? "");
    reopen();
    expect(ensureAdmin(tokens)).toBeUndefined();
    expect(tokens.list()).toHaveLength(1);
  });
});

test("the audit log gives the latest entries first, across a restart", () => {
  tokens.audit({ principal: "tok_1", action: "db.admin", db: "mydb", detail: "created" });
  now += 1;
  tokens.audit({ principal: "tok_2", action: "admin.token" });
  reopen();
  const second = {
    id: 2,
    time: START + 1,
    principal: "tok_2",
    action: "admin.token",
    db: null,
    detail: null,
  };
  const first = { id: 1, time: START, principal: "tok_1", action: "db.admin", db: "mydb", detail: "created" };
  expect(tokens.auditLog(10)).toEqual([second, first]);
  expect(tokens.auditLog(1)).toEqual([second]);
  expect(tokens.auditLog(-1)).toEqual([]);
});

test("a token whose stored scopes are damaged is not taken for one without limits", () => {
  const { token, record } = tokens.create({ label: "a", scopes: READ });
  const other = openSqlite(file, { kind: "service" });
  other.prepare("UPDATE token SET scopes = ?").run('["*:all"]');
  other.close();
  expect(codeOf(() => tokens.verify(token))).toBe("DB_DAMAGED");
  tokens.revoke(record.id);
  expect(tokens.verify(token)).toBeUndefined();
});

test("closing twice is harmless, and nothing verifies afterwards", () => {
  const { token } = tokens.create({ label: "a", scopes: READ });
  expect(tokens.verify(token)).toBeDefined();
  tokens.close();
  tokens.close();
  expect(() => tokens.verify(token)).toThrow();
});
