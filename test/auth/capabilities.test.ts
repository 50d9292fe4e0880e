import path from "node:path";
import { Capabilities } from "../../src/auth/capabilities.ts";
import type { Identity } from "../../src/auth/identity.ts";
import { ucanCid } from "../../src/ids/ucan.ts";
import { openSqlite } from "../../src/store/sqlite.ts";
import { realWorld } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { READ, alice, grant, may, owner, stranger } from "./ucan-keys.ts";

const START = Date.UTC(2026, 0, 1);
let file: string;
let now: number;
let ended: number;
let capabilities: Capabilities;

const open = (): Capabilities =>
  new Capabilities(file, {
    world: { ...realWorld, now: () => now },
    secret: () => new Uint8Array(32).fill(7),
    ended: () => (ended += 1),
  });

beforeEach(() => {
  file = path.join(tempDir(), "service.sqlite");
  now = START;
  ended = 0;
  capabilities = open();
  capabilities.setOwner("notes", owner.did, "tok_x");
});

afterEach(() => capabilities.close());

const here = (): { did: string } => ({ did: capabilities.did });
const ask = (bearer: string, ucans?: string): Identity | undefined =>
  capabilities.identify({ bearer, header: (name) => (name === "ucans" ? ucans : undefined) });

function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    const { code, details } = error as { code?: unknown; details?: { reason?: unknown } };
    return details?.reason ?? code;
  }
  return "nothing thrown";
}

test("who comes with a capability is its key, with what it says and no more", () => {
  const first = grant(owner, alice);
  const bearer = grant(alice, here(), may("skald/doc.read", { prefix: "a/" }), { prf: [ucanCid(first)] });
  const found = ask(bearer, first);
  expect(found?.principal).toEqual({
    id: alice.did,
    subject: alice.did,
    scopes: [{ db: "notes", action: "doc.read", prefix: "a/" }],
  });
  expect(found?.by).toBe("capability");
  // The same words without the proof are another thing, also when they were seen with it.
  expect(codeOf(() => ask(bearer))).toBe("chain");
  expect(ask(bearer, ` ${first} `)?.principal.id).toBe(alice.did);
});

test("what is of another kind is left to others", () => {
  for (const text of [`skald_${"A".repeat(43)}`, "abc", "ey", ""]) expect(ask(text)).toBeUndefined();
});

test("the server's name and what it was told are there after a restart", () => {
  const { did } = capabilities;
  const bearer = grant(owner, here());
  const other = grant(owner, here(), READ, { nnc: "2" });
  capabilities.revoke("notes", ucanCid(bearer), "tok_y");
  capabilities.close();
  capabilities = open();
  expect(capabilities.did).toBe(did);
  expect(capabilities.owner("notes")).toEqual({ did: owner.did, time: START, by: "tok_x" });
  expect(codeOf(() => ask(bearer))).toBe("revoked");
  expect(ask(other)?.principal.id).toBe(owner.did);
});

test("what is open ends by the clock, by revoking a link, by another owner, and says so", () => {
  const first = grant(owner, alice);
  const shown = (more: object = {}): Identity =>
    ask(grant(alice, here(), READ, { prf: [ucanCid(first)], ...more }), first) as Identity;
  // The proof never ends, this does.
  const short = shown({ exp: START / 1000 + 5 });
  expect(short.alive()).toBe(true);
  now += 4999;
  expect(short.alive()).toBe(true);
  now += 1;
  expect(short.alive()).toBe(false);
  const long = shown();
  const direct = ask(grant(owner, here())) as Identity;
  const before = ended;
  // For another db it says nothing.
  capabilities.revoke("more", ucanCid(first), "tok_y");
  expect(long.alive()).toBe(true);
  capabilities.revoke("notes", ucanCid(first), "tok_y");
  expect(ended).toBe(before + 2);
  expect([long.alive(), direct.alive()]).toEqual([false, true]);
  expect(codeOf(() => shown())).toBe("revoked");
  capabilities.setOwner("notes", stranger.did, "tok_x");
  expect(direct.alive()).toBe(false);
  expect(codeOf(() => ask(grant(owner, here())))).toBe("chain");
  capabilities.setOwner("notes", owner.did, "tok_x");
  expect(ask(grant(owner, here()))?.alive()).toBe(true);
  capabilities.setOwner("notes", undefined, "tok_x");
  expect(codeOf(() => ask(grant(owner, here())))).toBe("chain");
});

test("a capability that lost one proof holds again by another when it is shown again", () => {
  const proofs = ["1", "2"].map((nnc) => grant(owner, alice, READ, { nnc }));
  const bearer = grant(alice, here(), READ, { prf: proofs.map(ucanCid) });
  expect(ask(bearer, proofs.join(", "))?.alive()).toBe(true);
  capabilities.revoke("notes", ucanCid(proofs[0] as string), "tok_y");
  expect(ask(bearer, proofs.join(", "))?.principal.id).toBe(alice.did);
  capabilities.revoke("notes", ucanCid(proofs[1] as string), "tok_y");
  expect(codeOf(() => ask(bearer, proofs.join(", ")))).toBe("revoked");
});

test("a capability that was refused is taken once there is what it lacked", () => {
  capabilities.setOwner("notes", undefined, "tok_x");
  const bearer = grant(owner, here());
  for (let i = 0; i < 3; i += 1) expect(codeOf(() => ask(bearer))).toBe("chain");
  capabilities.setOwner("notes", owner.did, "tok_x");
  expect(ask(bearer)?.principal.id).toBe(owner.did);
  const later = grant(owner, here(), READ, { nbf: START / 1000 + 10 });
  expect(codeOf(() => ask(later))).toBe("not_yet");
  now += 10_000;
  expect(ask(later)?.principal.id).toBe(owner.did);
});

test("thousands of capabilities are all known, however few of them are remembered", () => {
  const texts = Array.from({ length: 300 }, (_, i) =>
    grant(owner, here(), READ, { nnc: "x".repeat(4000 + i) }),
  );
  // 5.5 KiB each, in letters: more than is kept of all together would be 760 of them.
  for (const text of [...texts, ...texts, ...texts]) expect(ask(text)?.alive()).toBe(true);
  capabilities.revoke("notes", ucanCid(texts[0] as string), "tok_y");
  expect(codeOf(() => ask(texts[0] as string))).toBe("revoked");
  expect(ask(texts[299] as string)?.alive()).toBe(true);
});

test("revoking twice keeps the first time, and nothing that is no address is revoked", () => {
  const cid = ucanCid(grant(owner, alice));
  capabilities.revoke("notes", cid, "tok_y");
  now += 5;
  expect(capabilities.revoke("notes", cid, "tok_z")).toEqual({ cid, time: START, by: "tok_y" });
  expect(capabilities.revocations("notes", "", 10)).toEqual([{ cid, time: START, by: "tok_y" }]);
  for (const text of ["", "x", cid.slice(0, -1), `${cid}a`, cid.toUpperCase(), cid.slice(0, -1) + "b"])
    expect(codeOf(() => capabilities.revoke("notes", text, "tok_y"))).toBe("BAD_REQUEST");
  for (const did of ["", "did:web:x", owner.did.slice(0, -1)])
    expect(codeOf(() => capabilities.setOwner("notes", did, "tok_y"))).toBe("BAD_REQUEST");
});

test.each([
  ["owner's key", "UPDATE capability_owner SET did = ?", stranger.did],
  ["revoked address", "UPDATE capability_revocation SET cid = ?", ucanCid("another")],
])("a flipped bit in an %s gives nobody a right", (_, sql, value) => {
  const bearer = grant(owner, here());
  capabilities.revoke("notes", ucanCid(bearer), "tok_y");
  capabilities.close();
  const other = openSqlite(file, { kind: "service" });
  other.prepare(sql).run(value);
  other.close();
  capabilities = open();
  for (const text of [bearer, grant(stranger, here()), grant(owner, here(), READ, { nnc: "2" })])
    expect(codeOf(() => ask(text))).toBe(text === bearer && sql.includes("owner") ? "revoked" : "DB_DAMAGED");
});
