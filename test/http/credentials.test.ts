import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { CredentialProvider } from "../../src/auth/credential-provider.ts";
import type { Identity } from "../../src/auth/identity.ts";
import { readConfig } from "../../src/config.ts";
import { signerOf } from "../../src/ids/ed25519.ts";
import { ucanCid } from "../../src/ids/ucan.ts";
import { startService, type Service } from "../../src/service.ts";
import { READ, alice, grant, key, may, owner } from "../auth/ucan-keys.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API } from "./fixture.ts";

/** Tokens of owners, their rotation, capabilities and another provider, as clients meet them. */
const DB = `${API}/db/notes`;
const TOKENS = `${API}/admin/tokens`;
const guests = new Map<string, { alive: boolean }>();
/** Somebody else's credentials: `guest:<name>`, looked up somewhere that takes its time. */
const guestBook: CredentialProvider = {
  name: "guest",
  identify: ({ bearer }) => (bearer.startsWith("guest-") ? lookUp(bearer.slice(6)) : undefined),
};

async function lookUp(name: string): Promise<Identity | undefined> {
  await new Promise((resolve) => setImmediate(resolve));
  const guest = guests.get(name);
  if (!guest?.alive) return undefined;
  const scopes = [{ db: "notes", action: "*" }] as const;
  return {
    principal: { id: `guest:${name}`, subject: name, scopes },
    by: "provider",
    alive: () => guest.alive,
  };
}

let service: Service;
let admin: string;
let did: string;

interface Asked {
  readonly status: number;
  readonly json: Record<string, unknown>;
}

async function ask(method: string, path: string, token: string, body?: object, more = {}): Promise<Asked> {
  const reply = await fetch((service.url as string) + path, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...more },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await reply.text();
  return { status: reply.status, json: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown> };
}

const outcome = ({ status, json }: Asked): unknown =>
  status < 300 ? status : (json["reason"] ?? json["code"]);

async function made(
  by: string,
  scopes: readonly (string | object)[],
  more = {},
): Promise<Asked & { id: string; token: string }> {
  const reply = await ask("POST", TOKENS, by, { label: "t", scopes, ...more });
  return { ...reply, id: reply.json["id"] as string, token: reply.json["token"] as string };
}

beforeAll(async () => {
  const config = readConfig(
    { dir: tempDir(), port: "0", logLevel: "silent", workers: "1", queryProcesses: "1" },
    {},
  );
  service = await startService(config, { listen: true, providers: [guestBook] });
  admin = service.firstToken as string;
  for (const name of ["notes", "other"]) {
    await ask("PUT", `${API}/db/${name}`, admin);
    await ask("PUT", `${API}/db/${name}/docs/a/1`, admin, { n: 1 });
  }
  await ask("PUT", `${DB}/docs/b/1`, admin, { n: 2 });
  const known = await fetch(`${service.url as string}${API}/capabilities`);
  did = ((await known.json()) as { did: string }).did;
}, 30_000);

afterAll(() => service.stop("the tests are over"));

const listed = async (by: string): Promise<string[]> =>
  ((await ask("GET", TOKENS, by)).json["tokens"] as { id: string }[]).map(({ id }) => id);

describe("tokens of a db", () => {
  test("are made, listed, rotated and revoked by who has the db, and those of other dbs are not there", async () => {
    const mine = await made(admin, ["notes:*"], { subject: "ann" });
    const scopes = ["notes:doc.read", { db_id: "notes", action: "doc.write", resource_prefix: "a/" }];
    const reader = await made(mine.token, scopes);
    expect(reader.json).toMatchObject({
      subject: reader.id,
      scopes: ["notes:doc.read", "notes:doc.write:a/"],
      grants: [
        { db_id: "notes", action: "doc.read" },
        { db_id: "notes", action: "doc.write", resource_prefix: "a/" },
      ],
      made_by: { id: mine.id, subject: "ann" },
      predecessor: null,
      successor: null,
    });
    const both = await made(admin, ["notes:doc.read", "other:doc.read"]);
    const all = await made(admin, ["*:doc.read"]);
    expect(await listed(mine.token)).toEqual([mine.id, reader.id]);
    expect(await listed(admin)).toEqual(expect.arrayContaining([mine.id, reader.id, both.id, all.id]));
    for (const { id } of [both, all]) {
      expect(outcome(await ask("DELETE", `${TOKENS}/${id}`, mine.token))).toBe("TOKEN_NOT_FOUND");
      const body = { overlap_seconds: 0 };
      expect(outcome(await ask("POST", `${TOKENS}/${id}/rotate`, mine.token, body))).toBe("TOKEN_NOT_FOUND");
    }
    expect(outcome(await ask("DELETE", `${TOKENS}/${reader.id}`, mine.token))).toBe(204);
    expect(outcome(await ask("GET", DB, reader.token))).toBe("UNAUTHENTICATED");
  });

  test.each<[string, readonly (string | object)[], unknown]>([
    ["of its db", ["notes:doc.read:a/"], 201],
    ["of another db", ["other:doc.read"], "FORBIDDEN"],
    ["of its db and another", ["notes:doc.read", "other:doc.read"], "FORBIDDEN"],
    ["of every db", ["*:doc.read"], "FORBIDDEN"],
    ["of what it has not itself", ["notes:doc.write"], "FORBIDDEN"],
    ["of every action", [{ db_id: "notes", action: "*" }], "FORBIDDEN"],
    ["of the server", ["*:admin.token"], "FORBIDDEN"],
    ["of the server by its db", [{ db_id: "notes", action: "admin.token" }], "SCOPE_INVALID"],
    ["of a db that hides an action", [{ db_id: "notes:doc.read", action: "sync" }], "SCOPE_INVALID"],
    ["of an action that is none", [{ db_id: "notes", action: "doc.fly" }], "SCOPE_INVALID"],
    ["with an empty prefix", [{ db_id: "notes", action: "doc.read", resource_prefix: "" }], "SCOPE_INVALID"],
    ["without a prefix, said as null", [{ db_id: "notes", action: "doc.read", resource_prefix: null }], 201],
    ["of more parts", [{ db_id: "notes", action: "doc.read", branch: "x" }], "BAD_REQUEST"],
  ])("one that has db.admin and doc.read makes one %s", async (_, scopes, result) => {
    const { token } = await made(admin, ["notes:db.admin", "notes:doc.read"]);
    expect(outcome(await made(token, scopes))).toBe(result);
  });

  test("are nobody's who has neither the db nor admin.token", async () => {
    const { token, id } = await made(admin, ["notes:doc.read", "notes:db.admin:a/"]);
    expect(outcome(await made(token, ["notes:doc.read"]))).toBe("FORBIDDEN");
    expect(outcome(await ask("GET", TOKENS, token))).toBe("FORBIDDEN");
    expect(outcome(await ask("DELETE", `${TOKENS}/${id}`, token))).toBe("FORBIDDEN");
    expect(outcome(await ask("POST", `${TOKENS}/${id}/rotate`, token, { overlap_seconds: 0 }))).toBe(
      "FORBIDDEN",
    );
  });

  test("write under their own names only, unless admin.token chose another", async () => {
    const mine = await made(admin, ["notes:*"], { subject: "ann" });
    expect(outcome(await made(mine.token, ["notes:*"], { subject: "bert" }))).toBe("FORBIDDEN");
    expect(outcome(await made(mine.token, ["notes:*"], { subject: "ann" }))).toBe(201);
    expect(outcome(await made(admin, ["notes:*"], { subject: alice.did }))).toBe("NAME_INVALID");
  });
});

describe("a rotation", () => {
  const rotate = (id: string, by: string, body: object): Promise<Asked> =>
    ask("POST", `${TOKENS}/${id}/rotate`, by, body);

  test("leaves both for the overlap, names each in the other, and ends the first with its tickets", async () => {
    const old = await made(admin, ["notes:*"], { subject: "ann" });
    const ticket = async (): Promise<string> =>
      (await ask("POST", `${API}/tickets`, old.token, { db_id: "notes", action: "doc.read", reusable: true }))
        .json["ticket"] as string;
    const before = await ticket();
    const reply = await rotate(old.id, admin, { overlap_seconds: 2 });
    expect(reply).toMatchObject({
      status: 201,
      json: { subject: "ann", scopes: ["notes:*"], predecessor: old.id, expires: null },
    });
    const next = reply.json["token"] as string;
    expect(next).not.toBe(old.token);
    const entries = (await ask("GET", TOKENS, admin)).json["tokens"] as Record<string, unknown>[];
    expect(entries.find(({ id }) => id === old.id)).toMatchObject({
      successor: reply.json["id"],
      revoked: null,
    });
    expect(outcome(await ask("GET", DB, next))).toBe(200);
    // The first holds on, and what it makes ends with it.
    if (outcome(await ask("GET", DB, old.token)) === 200) await ticket();
    while (outcome(await ask("GET", DB, old.token)) === 200) await once(AbortSignal.timeout(50), "abort");
    const feed = `${service.url as string}${DB}/changes?feed=longpoll&timeout=0&ticket=${before}`;
    expect((await fetch(feed)).status).toBe(401);
    expect(outcome(await ask("GET", DB, next))).toBe(200);
    expect(outcome(await rotate(old.id, admin, { overlap_seconds: 0 }))).toBe("TOKEN_ENDED");
  });

  test("with no overlap ends the first at once; an end of the successor may be given", async () => {
    const old = await made(admin, ["notes:*"], { expires: "2999-01-01T00:00:00Z" });
    const same = await rotate(old.id, admin, { overlap_seconds: 0 });
    expect(same.json["expires"]).toBe("2999-01-01T00:00:00.000Z");
    expect(outcome(await ask("GET", DB, old.token))).toBe("UNAUTHENTICATED");
    const never = await rotate(same.json["id"] as string, admin, { overlap_seconds: 9, expires: null });
    expect(never.json["expires"]).toBeNull();
    // It is replaced already; once the successor is revoked it can be replaced anew.
    const again = (): Promise<Asked> => rotate(same.json["id"] as string, admin, { overlap_seconds: 9 });
    expect(outcome(await again())).toBe("TOKEN_ENDED");
    await ask("DELETE", `${TOKENS}/${never.json["id"] as string}`, admin);
    expect(outcome(await again())).toBe(201);
    await ask("DELETE", `${TOKENS}/${same.json["id"] as string}`, admin);
    expect(outcome(await again())).toBe("TOKEN_ENDED");
  });

  test("gives nobody more than he has", async () => {
    const mine = await made(admin, ["notes:db.admin", "notes:doc.read"]);
    const strong = await made(admin, ["notes:*"]);
    expect(outcome(await rotate(strong.id, mine.token, { overlap_seconds: 0 }))).toBe("FORBIDDEN");
    expect(outcome(await ask("GET", DB, strong.token))).toBe(200);
    expect(outcome(await rotate(mine.id, mine.token, { overlap_seconds: 5 }))).toBe(201);
    for (const body of [{}, { overlap_seconds: -1 }, { overlap_seconds: 1.5 }, { overlap_seconds: 1e9 }])
      expect(outcome(await rotate(strong.id, admin, body))).toBe("BAD_REQUEST");
    expect(
      outcome(await rotate(strong.id, admin, { overlap_seconds: 0, expires: "2020-01-01T00:00:00Z" })),
    ).toBe("BAD_REQUEST");
    expect(outcome(await ask("GET", DB, strong.token))).toBe(200);
  });
});

describe("a capability", () => {
  const OWNER = `${DB}/capabilities/owner`;
  const REVOKED = `${DB}/capabilities/revocations`;
  const here = (): { did: string } => ({ did });

  beforeAll(async () => {
    expect((await ask("GET", `${DB}/capabilities`, admin)).json).toMatchObject({ owner: null, did });
    expect(outcome(await ask("GET", DB, grant(owner, here())))).toBe("chain");
    expect(outcome(await ask("PUT", OWNER, admin, { did: owner.did }))).toBe(200);
  });

  test("does what it says and nothing else, under its key's name", async () => {
    const first = grant(owner, alice, may("skald/*"));
    const cap = { "skald:notes": { "skald/doc.read": [{}], "skald/doc.write": [{ prefix: "a/" }] } };
    const bearer = grant(alice, here(), cap, { prf: [ucanCid(first)] });
    const proofs = { ucans: first };
    const put = (path: string): Promise<Asked> => ask("PUT", path, bearer, { n: 3 }, proofs);
    expect(outcome(await ask("GET", `${DB}/docs/b/1`, bearer, undefined, proofs))).toBe(200);
    const written = await put(`${DB}/docs/a/new`);
    expect(outcome(written)).toBe(201);
    const history = await ask("GET", `${DB}/docs/a/new/history`, admin);
    expect(JSON.stringify(history.json)).toContain(alice.did);
    expect(outcome(await put(`${DB}/docs/b/new`))).toBe("FORBIDDEN");
    expect(outcome(await ask("GET", `${API}/db/other`, bearer, undefined, proofs))).toBe("FORBIDDEN");
    expect(outcome(await ask("GET", DB, bearer))).toBe("chain");
  });

  test("makes nothing that outlasts it: no token, no ticket, no other owner", async () => {
    const bearer = grant(owner, here(), may("skald/*"));
    expect(outcome(await ask("GET", TOKENS, bearer))).toBe(200);
    expect(outcome(await made(bearer, ["notes:doc.read"]))).toBe("FORBIDDEN");
    expect(outcome(await ask("POST", `${API}/tickets`, bearer, { db_id: "notes", action: "sync" }))).toBe(
      "FORBIDDEN",
    );
    expect(outcome(await ask("PUT", OWNER, bearer, { did: alice.did }))).toBe("FORBIDDEN");
    expect(outcome(await ask("DELETE", OWNER, bearer))).toBe("FORBIDDEN");
  });

  test("that is revoked is refused, and its open streams end", async () => {
    const bearer = grant(owner, here(), READ, { nnc: "stream" });
    const reply = await fetch(`${service.url as string}${DB}/changes?feed=sse&since=now&heartbeat=60000`, {
      headers: { authorization: `Bearer ${bearer}` },
    });
    expect(reply.status).toBe(200);
    const cid = ucanCid(bearer);
    expect((await ask("POST", REVOKED, admin, { cid })).status).toBe(201);
    expect(await reply.text()).toContain('"code":"UNAUTHENTICATED"');
    expect(outcome(await ask("GET", DB, bearer))).toBe("revoked");
    expect((await ask("GET", REVOKED, admin)).json).toMatchObject({ revocations: [{ cid }], cursor: null });
    expect(outcome(await ask("POST", REVOKED, admin, { cid: "x" }))).toBe("BAD_REQUEST");
  });

  test("does not come back with a db of the same name: it belongs to nobody, and what was revoked stays so", async () => {
    await ask("PUT", `${API}/db/brief`, admin);
    const cap = { "skald:brief": { "*": [{}] } };
    const [kept, gone] = ["1", "2"].map((nnc) => grant(owner, here(), cap, { nnc })) as [string, string];
    const own = (): Promise<Asked> =>
      ask("PUT", `${API}/db/brief/capabilities/owner`, admin, { did: owner.did });
    await own();
    await ask("POST", `${API}/db/brief/capabilities/revocations`, admin, { cid: ucanCid(gone) });
    expect(outcome(await ask("GET", `${API}/db/brief`, kept))).toBe(200);
    await ask("DELETE", `${API}/db/brief?confirm=brief`, admin);
    await ask("PUT", `${API}/db/brief`, admin);
    expect(outcome(await ask("GET", `${API}/db/brief`, kept))).toBe("chain");
    await own();
    expect(outcome(await ask("GET", `${API}/db/brief`, kept))).toBe(200);
    expect(outcome(await ask("GET", `${API}/db/brief`, gone))).toBe("revoked");
  });

  test("made out to another server is none here", async () => {
    const other = signerOf(randomBytes(32));
    expect(outcome(await ask("GET", DB, grant(owner, other)))).toBe("audience");
    expect(outcome(await ask("GET", DB, grant(key("nobody"), here())))).toBe("chain");
  });
});

test("another provider's credentials are asked after the server's own, and end like them", async () => {
  guests.set("eve", { alive: true });
  expect(outcome(await ask("GET", DB, "guest-eve"))).toBe(200);
  expect(outcome(await ask("GET", DB, "guest-mallory"))).toBe("UNAUTHENTICATED");
  expect(outcome(await made("guest-eve", ["notes:doc.read"]))).toBe("FORBIDDEN");
  const reply = await fetch(`${service.url as string}${DB}/changes?feed=sse&since=now&heartbeat=60000`, {
    headers: { authorization: "Bearer guest-eve" },
  });
  expect(reply.status).toBe(200);
  guests.set("eve", Object.assign(guests.get("eve") as { alive: boolean }, { alive: false }));
  expect(await reply.text()).toContain('"code":"UNAUTHENTICATED"');
});
