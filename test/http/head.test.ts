import { decodeCheckpoint } from "../../src/ids/checkpoint.ts";
import { cidToString } from "../../src/ids/cid.ts";
import { toHex } from "../../src/ids/hash.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const HEAD = `${API}/db/notes/head`;
const JSON_TYPE = { accept: "application/json" };
await ask("PUT", `${API}/db/notes`);

const put = (n: number) => ask("PUT", `${API}/db/notes/docs/items/${n}`, { body: { n } });

test("the head of a db without commits or a key is a checkpoint that says so", async () => {
  const text = await ask("GET", HEAD);
  expect(text.status).toBe(200);
  expect(text.headers["content-type"]).toBe("text/plain; charset=utf-8");
  expect(text.text).toMatch(/^skald\.checkpoint\.1\/[0-9a-f]{32}\/main\n0\nnone\nnone\n\nunsigned\n$/);
  const { json } = await ask("GET", HEAD, { headers: JSON_TYPE });
  expect(json).toMatchObject({ branch: "main", seq: 0, commit: null, time: null, signed: null });
  expect(json["checkpoint"]).toBe(text.text);
});

test("a server makes its key when it is asked to, and signs from then on", async () => {
  const before = await put(1);
  expect((await ask("GET", `${API}/keys`)).json).toEqual({ signs: false, keys: [] });
  problem(await ask("POST", `${API}/keys/rotate`), 409, "KEY_MISSING");
  const made = await ask("POST", `${API}/keys`);
  expect(made.status).toBe(201);
  const did = made.json["did"] as string;
  expect(made.json).toMatchObject({
    did: expect.stringMatching(/^did:key:z6Mk/),
    state: "current",
    retired: null,
  });
  problem(await ask("POST", `${API}/keys`), 409, "KEY_EXISTS");
  const after = await put(2);
  const commit = async (receipt: Record<string, unknown>) =>
    (await ask("GET", `${API}/db/notes/commits/${receipt["commit"] as string}`)).json;
  expect(await commit(before.json)).not.toHaveProperty("signed");
  expect(await commit(after.json)).toMatchObject({ signed: { signer: did } });

  const text = (await ask("GET", HEAD)).text;
  const checkpoint = decodeCheckpoint(text);
  expect(checkpoint).toMatchObject({ seq: 2, branch: "main", signed: { signer: did } });
  expect(cidToString(checkpoint.commit as Uint8Array)).toBe(after.json["commit"]);
  expect(new Date(checkpoint.time ?? 0).toISOString()).toBe(after.json["time"]);
  const head = await ask("GET", HEAD, { headers: JSON_TYPE });
  expect(head.json).toMatchObject({
    uid: toHex(checkpoint.uid),
    seq: 2,
    commit: after.json["commit"],
    signed: { signer: did, signature: Buffer.from(checkpoint.signed?.signature ?? []).toString("base64") },
    checkpoint: text,
  });
  // The same head has the same text, so it can be kept and asked for again.
  expect((await ask("GET", HEAD)).text).toBe(text);
  const etag = head.headers["etag"] as string;
  const again = await ask("GET", HEAD, { headers: { ...JSON_TYPE, "if-none-match": etag } });
  expect(again.status).toBe(304);
  expect((await ask("GET", HEAD, { headers: { "if-none-match": etag } })).status).toBe(200);
  expect(await commit(after.json)).toMatchObject({ signed: { signature: expect.any(String) } });
});

test("a key is followed by another, which verify tells of", async () => {
  const { keys } = (await ask("GET", `${API}/keys`)).json as { keys: { did: string }[] };
  const from = keys[0]?.did;
  const rotated = await ask("POST", `${API}/keys/rotate`);
  const to = rotated.json["to"] as string;
  expect(rotated.json).toEqual({ from, to, dbs: ["_audit", "notes"] });
  expect((await ask("GET", `${API}/keys`)).json).toMatchObject({
    signs: true,
    keys: [
      { did: from, state: "retired", retired: expect.any(String) },
      { did: to, state: "current", retired: null },
    ],
  });
  await put(3);
  expect(decodeCheckpoint((await ask("GET", HEAD)).text).signed?.signer).toBe(to);
  const verdict = (await ask("GET", `${API}/db/notes/verify`)).text.trim().split("\n").at(-1) ?? "";
  expect(JSON.parse(verdict)).toMatchObject({
    verdict: "sound",
    signatures: { commits: 3, signers: [from, to], rotations: [{ seq: 3, from, to }] },
  });
  // A commit without documents is passed over by who reads documents, and shown by who reads the log.
  const feed = (await ask("GET", `${API}/db/notes/changes?since=0`)).json as { events?: unknown[] };
  expect(JSON.stringify(feed)).toContain("items/3");
  const log = (await ask("GET", `${API}/db/notes/commits?since=2&limit=1`)).json["commits"];
  expect(log).toMatchObject([{ author: "skald", entries: [], events: [expect.any(String)] }]);
});

test("whoever may read all of a db gets its head; keys are made by who may administer all of them", async () => {
  const reader = (await ask.token(["notes:doc.read"])).token;
  expect((await ask("GET", HEAD, { token: reader })).status).toBe(200);
  expect((await ask("GET", `${API}/keys`, { token: reader })).status).toBe(200);
  const part = (await ask.token(["notes:doc.read:items/"])).token;
  problem(await ask("GET", HEAD, { token: part }), 403, "FORBIDDEN");
  const owner = (await ask.token(["notes:*"])).token;
  problem(await ask("POST", `${API}/keys/rotate`, { token: owner }), 403, "FORBIDDEN");
  problem(await ask("GET", `${HEAD}?branch=other`), 404, "BRANCH_NOT_FOUND");
  problem(await ask("GET", `${API}/db/nothing/head`), 404, "DB_NOT_FOUND");
});
