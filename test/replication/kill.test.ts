import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import { seedOf, seeded } from "../support/fault-process.ts";
import { BIN, cleanEnv, runSkald, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/**
 * Two servers and the commands between them, as processes: any of the three is killed at any moment of a clone, a
 * pull, a push or a merge, while both are written. Afterwards they become equal, and what either acknowledged is there.
 */
jest.setTimeout(900_000);
const seed = seedOf();
const random = seeded(seed);
const CYCLES = Number(process.env["SKALD_TEST_KILLS"] ?? 1);
const DB = "shop";
const files = tempDir();
const dirs = { a: tempDir(), b: tempDir() };
const servers: { a?: SkaldServer; b?: SkaldServer } = {};
const tokens: { a?: string; b?: string } = {};
const receipts: { seq: number; commit: string }[] = [];
let count = 0;

async function up(side: "a" | "b"): Promise<SkaldServer> {
  const server = await startServer(dirs[side], side === "a" && portOfA ? { args: ["--port", portOfA] } : {});
  servers[side] = server;
  tokens[side] ??= server.token as string;
  if (side === "a") portOfA ??= new URL(server.url).port;
  return server;
}
/** The copy remembers where it came from. */
let portOfA: string | undefined;

/** Writes until it is acknowledged, or the server is gone. */
async function write(side: "a" | "b"): Promise<void> {
  const id = ++count;
  const url = `${servers[side]?.url}/api/v1/db/${DB}/docs/items/${id % 5}`;
  try {
    const reply = await fetch(url, {
      method: "PATCH",
      headers: {
        authorization: `Bearer ${tokens[side]}`,
        "content-type": "application/merge-patch+json",
        "idempotency-key": `w-${id}`,
      },
      body: JSON.stringify({ [`${side}${id}`]: id }),
    });
    if (reply.ok) receipts.push((await reply.json()) as { seq: number; commit: string });
  } catch {
    // Killed: nothing was acknowledged.
  }
}

const skald = (...args: string[]) =>
  runSkald([...args, "--dir", dirs.b], { env: { SKALD_TOKEN: tokens.a as string } });

test(`copies whose servers and commands are killed become equal (seed ${seed})`, async () => {
  const a = await up("a");
  await fetch(`${a.url}/api/v1/db/${DB}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${tokens.a}` },
  });
  for (let n = 0; n < 20; n += 1) await write("a");
  expect((await skald("clone", a.url, DB, "--quiet")).code).toBe(0);
  await up("b");
  const tally: Record<string, number> = {};
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    for (let n = 0; n < 3; n += 1) await Promise.all([write("a"), write("b")]);
    const command = random() < 0.5 ? "push" : "pull";
    const child = spawn(process.execPath, [BIN, command, DB, "--dir", dirs.b, "--quiet"], {
      stdio: "ignore",
      env: cleanEnv({ SKALD_TOKEN: tokens.a as string }),
    });
    const over = once(child, "exit");
    const writers = Promise.all([write("a"), write("b")]);
    const victim = (["a", "b", "command"] as const)[Math.floor(random() * 3)] as "a" | "b" | "command";
    await Promise.race([over, new Promise((resolve) => setTimeout(resolve, 150 + random() * 900))]);
    tally[`${command} ${victim}`] = (tally[`${command} ${victim}`] ?? 0) + 1;
    if (victim === "command") child.kill("SIGKILL");
    else {
      await servers[victim]?.stop("SIGKILL");
      // The command goes on by itself on the directory of this side, which it then holds.
      if (victim === "b") await over;
      await up(victim);
    }
    await Promise.all([over, writers]);
  }
  // Each may find that somebody was faster; nobody writes any more.
  expect(await skald("push", DB, "--quiet")).toMatchObject({ code: 0 });
  const file = path.join(files, "receipts.ndjson");
  writeFileSync(file, receipts.map((receipt) => `${JSON.stringify(receipt)}\n`).join(""));
  const heads = [];
  for (const dir of [dirs.a, dirs.b]) {
    const { code, out } = await runSkald(["verify", DB, "--receipts", file, "--dir", dir]);
    expect({ code, out }).toMatchObject({ code: 0 });
    heads.push(/head \w+/.exec(out)?.[0]);
  }
  expect(heads[0]).toBe(heads[1]);
  const again = await skald("pull", DB, "--json");
  expect(JSON.parse(again.out)).toMatchObject({ received: { commits: 0 }, ahead: 0, behind: 0 });
  if (process.env["SKALD_TEST_KILLS"])
    process.stderr.write(`${JSON.stringify({ seed, CYCLES, ...tally, receipts: receipts.length })}\n`);
});

test("commands say what they did, and what is wrong with what they were given", async () => {
  const url = servers.a?.url as string;
  const told = await skald("pull", DB);
  expect(told).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^shop: nothing to do; at commit \d+ \(bafy\w+\)\n$/),
  });
  const copy = await skald("clone", `${url}/api/v1/db/${DB}`, "--as", "other", "--json");
  expect(JSON.parse(copy.out)).toMatchObject({ db: "other", remote: `${url}/api/v1/db/${DB}`, ahead: 0 });
  const cases: [string[], number, string][] = [
    [["clone", "ftp://example.org", DB], 2, "USAGE"],
    [["clone", url], 2, "USAGE"],
    [["clone", "http://user:pass@127.0.0.1:1", DB], 2, "USAGE"],
    [["pull", url], 2, "USAGE"],
    [["pull", "nothing"], 1, "DB_NOT_FOUND"],
    [["clone", "http://127.0.0.1:1", DB], 1, "UNREACHABLE"],
    [["clone", url, "missing"], 1, "DB_NOT_FOUND"],
    [["push", url, "other", "--token", "skald_no"], 1, "UNAUTHENTICATED"],
  ];
  for (const [args, code, says] of cases) {
    const done = await skald(...args);
    expect({ args, code: done.code, err: done.err }).toEqual({
      args,
      code,
      err: expect.stringContaining(says),
    });
  }
  await runSkald(["db", "create", "another", "--dir", dirs.a]);
  await runSkald(["db", "create", "another", "--dir", dirs.b]);
  expect(await skald("pull", url, "another")).toMatchObject({
    code: 1,
    err: expect.stringContaining("SYNC_OTHER_DB"),
  });
  expect(await skald("pull", "another")).toMatchObject({
    code: 1,
    err: expect.stringContaining("NO_REMOTE"),
  });
});
