import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Tokens } from "../../src/auth/tokens.ts";
import type { Principal } from "../../src/auth/policy.ts";
import { Engine } from "../../src/db/engine.ts";
import { DbTable, SERVICE_FILE } from "../../src/store/sqlite-registry.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 30);
const DBS = ["notes-0", "notes-1", "notes-2", "notes-3"];
const SCOPES = ["notes-0:doc.read", "notes-1:doc.write:pages/", "*:doc.read"];

const open = (dir: string): Engine =>
  new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError: () => {} });

/** A closed directory with dbs, tokens of which one is revoked, and what every token may do. */
async function aDirectory(dir: string): Promise<Map<string, Principal | undefined>> {
  const engine = open(dir);
  for (const db of DBS) await engine.create(db);
  const tokens = new Tokens(path.join(dir, SERVICE_FILE));
  const texts = SCOPES.map((scope) => {
    const [db, action, prefix] = scope.split(":") as [string, string, string | undefined];
    const one = { db, action: action as "doc.read", ...(prefix === undefined ? {} : { prefix }) };
    return tokens.create({ label: scope, scopes: [one] });
  });
  tokens.revoke(texts[2]?.record.id as string);
  const known = new Map(texts.map(({ token }) => [token, tokens.verify(token)]));
  tokens.close();
  await engine.close();
  return known;
}

const folderOf = (dir: string, db: string): string => path.join(dir, "dbs", db);

describe("a bit that flipped in service.sqlite", () => {
  test("gives nobody a right, takes no db away and names no other one", async () => {
    const dir = path.join(root, "sound");
    const known = await aDirectory(dir);
    expect([...known.values()].map((principal) => principal?.scopes.length)).toEqual([1, 1, undefined]);
    expect(DBS.every((db) => existsSync(folderOf(dir, db)))).toBe(true);
    const sound = readFileSync(path.join(dir, SERVICE_FILE));
    // Half of the flips hit rows: from where the first to where the last of their texts stands.
    const places = [...DBS, "skald", "doc.read", "ready"].flatMap((text) => {
      const found: number[] = [];
      for (let at = sound.indexOf(text); at >= 0; at = sound.indexOf(text, at + 1)) found.push(at);
      return found;
    });

    const seed = seedOf();
    const random = seeded(seed);
    const tally: Record<string, number> = {};
    const note = (what: string): void => void (tally[what] = (tally[what] ?? 0) + 1);
    const wrong: string[] = [];
    const hit = path.join(root, "hit");
    for (let flip = 0; flip < FLIPS; flip += 1) {
      rmSync(hit, { recursive: true, force: true });
      mkdirSync(hit);
      if (flip % 10 === 0) cpSync(path.join(dir, "dbs"), path.join(hit, "dbs"), { recursive: true });
      copyFileSync(path.join(dir, "lock.sqlite"), path.join(hit, "lock.sqlite"));
      const bytes = Buffer.from(sound);
      const at =
        flip % 2 === 0
          ? Math.floor(random() * bytes.length)
          : Math.min(
              bytes.length - 1,
              (places[Math.floor(random() * places.length)] as number) + Math.floor(random() * 100) - 50,
            );
      const bit = Math.floor(random() * 8);
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      writeFileSync(path.join(hit, SERVICE_FILE), bytes);
      const say = (what: string): void =>
        void wrong.push(`seed ${seed}, flip ${flip}, bit ${bit} of ${at}: ${what}`);
      const tried = <T>(work: () => T): T | undefined => {
        try {
          return work();
        } catch (error) {
          const code = String((error as { code?: unknown }).code);
          if (!/^(DB_DAMAGED|DB_FOREIGN|DB_NEWER|DB_NOT_FOUND|DB_MISSING)$/.test(code)) say(String(error));
          note(code);
          return undefined;
        }
      };
      // Opening dbs takes longest; what the engine makes of a damaged list is seen in a tenth of the flips.
      const engine = flip % 10 === 0 ? tried(() => open(hit)) : undefined;
      const list = tried(() => new DbTable(hit));
      if (list) {
        for (const db of DBS) {
          const row = tried(() => list.get(db));
          if (row && (row.dbId !== db || row.folder !== db || row.state !== "ready"))
            say(JSON.stringify(row));
        }
        const removed = tried(() => list.unfinished());
        if (removed && removed.length > 0) say(`would remove ${JSON.stringify(removed)}`);
        tried(() => list.close());
      }
      if (engine) {
        for (const db of DBS) {
          const id = tried(() => {
            const held = engine.hold(db);
            try {
              return held?.db.id;
            } finally {
              held?.release();
            }
          });
          if (id !== undefined && id !== db) say(`${db} is answered by ${id}`);
        }
        const listed = tried(() => engine.list("", 10).map(({ dbId }) => dbId)) ?? [];
        if (listed.some((db) => !DBS.includes(db))) say(`lists ${listed.join(", ")}`);
      }
      const tokens = tried(() => new Tokens(path.join(hit, SERVICE_FILE)));
      if (tokens) {
        for (const [text, principal] of known) {
          const now = tried(() => tokens.verify(text));
          // Not known any more is a refusal; anything else must be what it was.
          if (now !== undefined && JSON.stringify(now) !== JSON.stringify(principal))
            say(`${JSON.stringify(principal)} became ${JSON.stringify(now)}`);
          if (now !== undefined) note("granted as before");
        }
        tried(() => tokens.close());
      }
      await engine?.close();
      for (const db of DBS) if (engine && !existsSync(folderOf(hit, db))) say(`the folder of ${db} is gone`);
    }
    if (process.env["SKALD_TEST_FLIPS"]) process.stderr.write(`${JSON.stringify(tally)}\n`);
    expect(wrong).toEqual([]);
    expect(tally["DB_DAMAGED"]).toBeGreaterThan(FLIPS / 20);
    expect(tally["granted as before"]).toBeGreaterThan(FLIPS / 2);
  });
});
