import { readFileSync, statSync, writeFileSync, cpSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import { decodeCheckpoint, encodeCheckpoint, signedCheckpoint } from "../../src/ids/checkpoint.ts";
import { signerOf } from "../../src/ids/ed25519.ts";
import { runSkald, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/** One directory with a history, copies of it that went other ways, and checkpoints of it. */
const root = tempDir();
const dir = path.join(root, "home");
const file = (name: string): string => path.join(root, name);
const skald = (...args: string[]) => runSkald([...args, "--dir", dir]);
const at = (where: string, ...args: string[]) => runSkald([...args, "--dir", where]);
let first = "";
let second = "";

async function inside(where: string, work: (engine: Engine) => Promise<unknown>): Promise<void> {
  const engine = new Engine({ dir: where, reserve: 0, documents: { workers: 1 } });
  await work(engine);
  await engine.close();
}

const put = (engine: Engine, n: number) =>
  engine.use("shop", (db) =>
    db.tx({ author: "ann", writes: [{ doc: `items/${n}`, edit: { kind: "put", value: `{"n":${n}}` } }] }),
  );

let server: SkaldServer;

beforeAll(async () => {
  await inside(dir, async (engine) => {
    first = engine.signing.create().did;
    await engine.create("shop");
    await engine.create("empty");
    await put(engine, 1);
  });
  // The same history up to here, in other places: one goes another way.
  cpSync(dir, file("other"), { recursive: true });
  cpSync(dir, file("older"), { recursive: true });
  await inside(file("other"), (engine) => put(engine, 9));
  await inside(dir, (engine) => put(engine, 2));
  server = await startServer(dir);
  await skald("checkpoint", "empty", "-o", file("empty"));
  expect((await skald("checkpoint", "shop", "-o", file("two"))).code).toBe(0);
  second = (await skald("key", "rotate")).out.trim();
  await runSkald(["doc", "put", "shop", "items/3", "--dir", dir], { input: '{"n":3}' });
  expect((await skald("checkpoint", "shop", "-o", file("four"))).code).toBe(0);
}, 120_000);

test("a key is kept where nobody else reads it, and one that was retired has no secret any more", async () => {
  const keys = path.join(dir, "signing-keys.json");
  expect(statSync(keys).mode & 0o777).toBe(0o600);
  const kept = JSON.parse(readFileSync(keys, "utf8")) as { keys: { did: string; secret?: string }[] };
  expect(kept.keys.map(({ did, secret }) => [did, secret === undefined])).toEqual([
    [first, true],
    [second, false],
  ]);
  const list = await skald("key", "list", "--json");
  expect(
    list.out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { state: string }).state),
  ).toEqual(["retired", "current"]);
  expect((await skald("key", "show")).out.trim()).toBe(second);
});

test("a later history is proved to go on from a checkpoint, whoever signs by now", async () => {
  // The first key's word leads to what the second one signed, through the log; not the other way round.
  expect(await skald("verify", "shop", "--against", file("four"), "--signer", first)).toMatchObject({
    code: 0,
  });
  expect(await skald("verify", "shop", "--against", file("two"), "--signer", second)).toMatchObject({
    code: 1,
    err: expect.stringContaining("CHECKPOINT_INVALID"),
  });
  const json = await skald("verify", "shop", "--against", file("two"), "--json", "--log-only");
  expect(json.code).toBe(0);
  expect(JSON.parse(json.out)).toMatchObject({
    verdict: "sound",
    against: { seq: 2, signer: first },
    signatures: { commits: 4, rotations: [{ from: first, to: second }] },
  });
});

test("a history that is another, or ends before, is told from it and by name", async () => {
  const other = await at(file("other"), "verify", "shop", "--against", file("two"));
  expect(other).toMatchObject({ code: 1, out: "" });
  // Both commits are named.
  expect(other.err).toMatch(/^HISTORY_REWRITTEN: Commit 2 of shop is bafy\w+; the checkpoint says bafy\w+\./);
  const older = await at(file("older"), "verify", "shop", "--against", file("two"));
  expect(older).toMatchObject({ code: 1, out: "" });
  expect(older.err).toMatch(/^HISTORY_SHORTER: .*commit 2 .*ends at commit 1 /);
});

test("a checkpoint that was changed, is of another db or by nobody of that name proves nothing", async () => {
  const text = readFileSync(file("two"), "utf8");
  const { uid: _, ...rest } = decodeCheckpoint(text);
  const mallory = signerOf(new Uint8Array(32).fill(9));
  const bad: Record<string, string> = {
    changed: text.replace("\n2\n", "\n1\n"),
    "of another db": encodeCheckpoint(signedCheckpoint({ ...rest, uid: new Uint8Array(16) }, mallory)),
  };
  for (const [name, wrong] of Object.entries(bad)) {
    writeFileSync(file("bad"), wrong);
    const done = await skald("verify", "shop", "--against", file("bad"));
    expect([name, done.code, done.err]).toEqual([name, 1, expect.stringContaining("CHECKPOINT_INVALID")]);
  }
  // Right in every way, and by somebody else.
  writeFileSync(file("bad"), encodeCheckpoint(signedCheckpoint(decodeCheckpoint(text), mallory)));
  expect(await skald("verify", "shop", "--against", file("bad"), "--signer", first)).toMatchObject({
    code: 1,
  });
  expect(await skald("verify", "shop", "--signer", first)).toMatchObject({ code: 2 });
  expect(await skald("verify", "shop", "--against", file("two"), "--signer", "me")).toMatchObject({
    code: 2,
  });
});

test("it works the same from afar, and with the URL of a checkpoint", async () => {
  const env = { SKALD_TOKEN: server.token ?? "" };
  const remote = (...args: string[]) => runSkald([...args, "--url", server.url], { env });
  const done = await remote("verify", "shop", "--against", file("two"), "--signer", first);
  expect(done).toMatchObject({ code: 0 });
  const head = `${server.url}/api/v1/db/shop/head`;
  const against = ["verify", "shop", "--against", head, "--url", server.url];
  expect(await runSkald([...against, "--against-token", server.token ?? ""], { env })).toMatchObject({
    code: 0,
  });
  // A token of the one side goes nowhere else.
  expect(await runSkald(against, { env })).toMatchObject({
    code: 1,
    err: expect.stringContaining("UNAUTHENTICATED"),
  });
  const input = (await remote("checkpoint", "shop")).out;
  const piped = await runSkald(["verify", "shop", "--against", "-", "--url", server.url], { env, input });
  expect(piped).toMatchObject({ code: 0 });
  expect(await skald("verify", "empty", "--against", file("empty"))).toMatchObject({ code: 0 });
  // As an old head of a server without a key.
  const { signed: _, ...rest } = decodeCheckpoint(readFileSync(file("two"), "utf8"));
  writeFileSync(file("unsigned"), encodeCheckpoint(signedCheckpoint(rest, undefined)));
  expect(await skald("verify", "shop", "--against", file("unsigned"), "--signer", first)).toMatchObject({
    code: 1,
    err: expect.stringContaining("not signed"),
  });
});

test("a server that is told to sign makes its key, and one that is told not to leaves it alone", async () => {
  const own = file("always");
  const signing = await startServer(own, { args: ["--sign", "always"] });
  const show = await at(own, "key", "show");
  expect(show.out).toMatch(/^did:key:z6Mk/);
  await signing.stop();
  const silent = await startServer(own, { env: { SKALD_SIGN: "never" } });
  await at(own, "db", "create", "shop");
  const stdin = { input: "{}" };
  expect(await runSkald(["doc", "put", "shop", "items/1", "--dir", own], stdin)).toMatchObject({ code: 0 });
  expect(await at(own, "verify", "shop", "--log-only")).toMatchObject({
    code: 0,
    out: expect.not.stringContaining("signed"),
  });
  expect(await at(own, "key", "show")).toMatchObject({
    out: show.out,
    err: expect.stringContaining("--sign never"),
  });
  await silent.stop();
  const wrong = await runSkald(["serve", "--dir", own, "--sign", "perhaps"]);
  expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining("--sign") });
});

test("a file of keys that rotted is no reason to go on without", async () => {
  const keys = path.join(file("older"), "signing-keys.json");
  const text = readFileSync(keys, "utf8");
  const secret = /"secret": "(.)/.exec(text)?.[1] as string;
  writeFileSync(keys, text.replace(`"secret": "${secret}`, `"secret": "${secret === "A" ? "B" : "A"}`));
  const done = await at(file("older"), "db", "list");
  expect(done).toMatchObject({ code: 1, err: expect.stringContaining("KEYS_DAMAGED") });
});
