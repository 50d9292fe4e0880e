import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Ledger, addressesIn, findingsIn } from "../support/ledger.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { cleanEnv, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const PAGE = readFileSync(path.join(ROOT, "specs/20-backup.md"), "utf8");

/** The commands of the drill, exactly as an operator copies them: a block for each part. */
const blocks = [
  ...PAGE.slice(PAGE.indexOf("<!-- drill:begin -->"), PAGE.indexOf("<!-- drill:end -->")).matchAll(
    /```sh\n([\s\S]*?)```/g,
  ),
].map((match) => match[1] as string);

async function sh(script: string, env: Record<string, string>): Promise<string> {
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], {
    cwd: ROOT,
    env: cleanEnv(env),
  });
  return stdout;
}

/** Asks a server; gives the status and the JSON of the answer. */
async function ask(
  server: SkaldServer,
  token: string,
  method: string,
  at: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: Record<string, unknown> }> {
  const reply = await fetch(`${server.url}/api/v1/db/shop${at}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: reply.status, json: (await reply.json()) as Record<string, unknown> };
}

test("the drill works as written: a running server is backed up, lost and restored elsewhere", async () => {
  const dir = tempDir();
  const [files, into] = [tempDir(), path.join(tempDir(), "data")];
  const at = { BACKUP: path.join(files, "backup"), NEW: into, RECEIPTS: path.join(files, "receipts.ndjson") };
  const server = await startServer(dir);
  const token = server.token as string;
  await ask(server, token, "PUT", "");
  const ledger = new Ledger();
  let writes = 0;
  const write = async (): Promise<Record<string, unknown>> => {
    const n = (writes += 1);
    const clientTxId = `w-${n}`;
    ledger.sent({ author: "admin", clientTxId, docs: [`items/${n % 9}`] });
    const { json } = await ask(
      server,
      token,
      "PUT",
      `/docs/items/${n % 9}`,
      { n },
      { "idempotency-key": clientTxId },
    );
    const { seq, commit } = json as { seq: number; commit: string };
    ledger.acknowledged({ clientTxId, seq, commit });
    return json;
  };
  for (let n = 0; n < 40; n += 1) await write();
  expect((await ask(server, token, "PUT", "/subscriptions/mailer", {})).status).toBe(201);
  expect((await ask(server, token, "POST", "/subscriptions/mailer/ack", { seq: 12 })).status).toBe(200);
  const { cursor: early } = await write();

  let over = false;
  const writers = Promise.all(
    [1, 2, 3].map(async () => {
      while (!over) await write();
    }),
  );
  // What was acknowledged before the command began.
  const before = ledger.receipts();
  writeFileSync(at.RECEIPTS, before.map((receipt) => `${JSON.stringify(receipt)}\n`).join(""));
  const out = await sh(blocks[0] as string, { SKALD_DIR: dir, ...at });
  expect(out).toMatch(/^backup 1: 2 dbs/m);
  expect(out).toMatch(/^backup 2: 2 dbs/m);
  expect(out).toMatch(/^sound, 2 backups/m);
  const [, inFirst = ""] = /^shop: \d+ new commits, up to (\d+)/m.exec(out) ?? [];
  expect(Number(inFirst)).toBeGreaterThanOrEqual(before.length);
  over = true;
  await writers;
  const { cursor: late, seq: lost } = await write();
  await server.stop("SIGKILL");

  const said = await sh(blocks[1] as string, at);
  expect(said).toMatch(new RegExp(`^shop: sound, .*, ${before.length} receipts compared$`, "m"));
  const folder = path.join(into, "dbs", "shop");
  const addresses = addressesIn(folder, "shop");
  const all = ledger.receipts();
  // A beginning of what was acknowledged, and nothing else.
  expect(addresses.length).toBeLessThan(lost as number);
  expect(ledger.lost(addresses).every((seq) => seq > addresses.length)).toBe(true);
  expect(addresses.length).toBeGreaterThanOrEqual(before.length);
  expect(new Set(all.map(({ commit }) => commit))).toEqual(
    new Set([...addresses, ...all.filter(({ seq }) => seq > addresses.length).map(({ commit }) => commit)]),
  );
  const storage = openSqliteLog(folder, "shop", { readonly: true });
  expect(findingsIn(storage)).toEqual([]);
  storage.close();

  const restored = await startServer(into);
  expect(restored.token).toBeUndefined();
  const told = await sh(blocks[2] as string, {
    ...at,
    SERVER: restored.url,
    SKALD_TOKEN: token,
    CURSOR: late as string,
  });
  expect(told).toContain(`"seq":${addresses.length}`);
  expect(told).toContain('"code":"EPOCH_CHANGED"');
  expect(told).toContain(`"last_common_seq":${addresses.length}`);
  expect(told).toContain(`"last_common_commit":"${addresses.at(-1)}"`);
  expect(told).toMatch(/mailer/);
  const feed = await ask(restored, token, "GET", `/changes?since=${early as string}&limit=5`);
  expect([feed.status, (feed.json["events"] as unknown[]).length > 0]).toEqual([200, true]);
  const events = await ask(restored, token, "GET", "/subscriptions/mailer/events?limit=3");
  expect(events.json["events"]).toMatchObject([{ seq: 13 }, { seq: 14 }, { seq: 15 }]);
  // It goes on as a server does, and what is written again is new where it was lost.
  const again = await ask(restored, token, "PUT", "/docs/items/1", { again: true });
  expect(again.json).toMatchObject({ seq: addresses.length + 1 });
  await restored.stop();
}, 120_000);
