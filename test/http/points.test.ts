import path from "node:path";
import * as A from "@automerge/automerge";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { cidToString } from "../../src/ids/cid.ts";
import { realWorld } from "../../src/world.ts";
import { copyOf, lastChange, set, type Doc } from "../log/fixture.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp, type Reply } from "./fixture.ts";

/** Dbs that are made, and points of each that every route is asked for. */
const DBS = Number(process.env["SKALD_TEST_POINTS"] ?? 2);
const POINTS = 3;
const COMMITS = 30;
const START = Date.UTC(2026, 0, 1);
const DOCS = ["c/a", "c/b", "d/ä", "d/z"];

interface Point {
  readonly seq: number;
  readonly cid: string | undefined;
  readonly time: string;
}

/** A db with whatever happens to documents, of which the older part may be in bundles. */
async function random(db: Db, next: (below: number) => number): Promise<void> {
  const copies = new Map<string, Doc[]>();
  for (let i = 0; i < COMMITS; i += 1) {
    const doc = DOCS[next(DOCS.length)] as string;
    const state = db.log.state(doc);
    const kind = next(10);
    const write =
      kind < 3
        ? { doc, edit: { kind: "put" as const, value: JSON.stringify({ n: next(5), list: [next(3)] }) } }
        : kind < 5
          ? { doc, edit: { kind: "merge-patch" as const, patch: JSON.stringify({ [`k${next(3)}`]: i }) } }
          : kind < 6 && state && !state.deleted
            ? { doc, delete: true as const }
            : changeOf(db, copies, doc, next, i);
    // What one of two clients wrote offline: concurrent heads and conflicts.
    const twins = next(4) === 0 ? [changeOf(db, copies, `${doc}2`, next, i)] : [];
    await db.tx({ author: "ann", writes: [write, ...twins] });
  }
}

function changeOf(
  db: Db,
  copies: Map<string, Doc[]>,
  doc: string,
  next: (below: number) => number,
  i: number,
): { doc: string; changes: Uint8Array[] } {
  const known = copies.get(doc) ?? ["aa", "bb"].map((byte) => copyOf(db.log, doc, byte.repeat(16)));
  const who = next(2);
  known[who] = set(known[who] as Doc, { shared: i, [`own${who}`]: i });
  copies.set(doc, known);
  return { doc, changes: [lastChange(known[who])] };
}

const seed = seedOf();
const drawn = seeded(seed);
const next = (below: number): number => Math.floor(drawn() * below);
const dir = path.join(tempDir(), "data");
const made: { dbId: string; points: Point[] }[] = [];
let now = START;
const world = { ...realWorld, now: () => (now += 1000) };
const engine = new Engine({ dir, reserve: 0, world, documents: { workers: 1 } });
for (let d = 0; d < DBS; d += 1) {
  const dbId = `db-${d}`;
  await engine.create(dbId);
  const points = await engine.use(dbId, async (db) => {
    await random(db, next);
    const { seq: head } = db.log.head();
    const seqs = [0, head, ...Array.from({ length: POINTS }, () => 1 + next(head))];
    for (const seq of new Set(seqs)) {
      // The replay: the same db with nothing after the point.
      const copy = `${dbId}-at-${seq}`;
      await engine.create(copy, db.log.identity.uid);
      const bodies = db.log.bodies(1, seq, Infinity).map(({ body }) => body);
      await engine.use(copy, async (other) => {
        if (seq > 0) await other.log.receive({ seq: 0, cid: undefined }, bodies);
      });
    }
    const points = [...new Set(seqs)].map((seq) => {
      const stored = db.log.commit(seq);
      const time = new Date(stored ? stored.commit.time + next(1000) : START - 1).toISOString();
      return { seq, cid: stored && cidToString(stored.cid), time };
    });
    if (d % 2 === 1) await db.compact({ upTo: 1 + next(head) });
    return points;
  });
  made.push({ dbId, points });
}
await engine.close();
const { ask } = await startHttp(dir);

describe("every route that reads at a point", () => {
  /** Both answers, without what says which of the two dbs it is. */
  async function same(
    dbId: string,
    { seq }: Point,
    at: string,
    tail: string,
    accept?: string,
  ): Promise<Reply> {
    const query = `${tail.includes("?") ? "&" : "?"}at=${encodeURIComponent(at)}`;
    const headers = accept === undefined ? {} : { accept };
    const then = await ask("GET", `${API}/db/${dbId}${tail}${query}`, { headers });
    const replay = await ask("GET", `${API}/db/${dbId}-at-${seq}${tail}`, { headers });
    const shown = (reply: Reply): unknown => ({
      status: reply.status,
      ...Object.fromEntries(
        ["etag", "skald-seq", "skald-commit", "skald-cursor", "content-type"].map((name) => [
          name,
          reply.headers[name],
        ]),
      ),
      body: accept === "application/automerge" && reply.status === 200 ? opened(reply) : plain(reply),
    });
    try {
      expect(shown(then)).toEqual(shown(replay));
    } catch (error) {
      throw new Error(`seed ${seed}, ${dbId} at ${at} (seq ${seq}), ${tail}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    return then;
  }

  const OWN = new Set(["db", "created", "bytes", "instance", "request_id"]);
  function plain({ json, text }: Reply): unknown {
    if (json === undefined) return text;
    return "uid" in json || "code" in json
      ? Object.fromEntries(Object.entries(json).filter(([name]) => !OWN.has(name)))
      : json;
  }

  function opened({ bytes }: Reply): unknown {
    const doc = A.load<Record<string, unknown>>(bytes);
    return { value: A.toJS(doc), heads: A.getHeads(doc), changes: A.getAllChanges(doc).length };
  }

  test("gives what a replay to that point gives, by seq, commit and time", async () => {
    let found = 0;
    for (const { dbId, points } of made) {
      for (const point of points) {
        for (const at of [String(point.seq), point.cid, point.time]) {
          if (at === undefined) continue;
          const docs = DOCS.flatMap((doc) => [doc, `${doc}2`]);
          for (const doc of docs) {
            const [collection, key] = doc.split("/") as [string, string];
            const one = `/docs/${collection}/${encodeURIComponent(key)}`;
            found += (await same(dbId, point, at, one)).status === 200 ? 1 : 0;
            if (at !== String(point.seq)) continue;
            await same(dbId, point, at, `${one}?path=/shared&path=/n`);
            await same(dbId, point, at, `${one}?conflicts=1`);
            await same(dbId, point, at, one, "application/automerge");
            await same(dbId, point, at, `${one}/history`);
          }
          await same(dbId, point, at, "");
          await same(dbId, point, at, "/docs");
          await same(dbId, point, at, "/docs?values=true");
          await same(dbId, point, at, "/docs?collection=d&limit=1");
          await same(dbId, point, at, "/commits");
          await same(dbId, point, at, "/commits?since=3&limit=5");
          await same(dbId, point, at, "/changes?since=3");
          if (at !== String(point.seq)) continue;
          await same(dbId, point, at, "/changes?include=json");
          await same(dbId, point, at, "/changes?include=patch&collection=c&limit=4");
          await same(dbId, point, at, "/changes?include=changes", "application/x-ndjson");
        }
      }
    }
    expect(found).toBeGreaterThan(DBS * POINTS);
  });

  test("would be noticed if the head were given in the place of the point", async () => {
    const [{ dbId, points }] = made as [(typeof made)[number]];
    const [, head, ...past] = points as [Point, Point, ...Point[]];
    const point = past.find(({ seq }) => seq < head.seq && seq > 0) as Point;
    for (const tail of ["", "/docs", "/docs?values=true", "/commits", "/changes"])
      await expect(same(dbId, point, String(head.seq), tail)).rejects.toThrow("deep equality");
  });

  test("lists later pages of the point of the first, also while others write", async () => {
    const { dbId, points } = made[0] as (typeof made)[number];
    const { seq } = points.at(-1) as Point;
    const all = await ask("GET", `${API}/db/${dbId}/docs?at=${seq}`);
    const names: unknown[] = [];
    let link = `${API}/db/${dbId}/docs?at=${seq}&limit=1`;
    for (;;) {
      const page = await ask("GET", link);
      names.push(...(page.json["docs"] as { doc: string }[]).map(({ doc }) => doc));
      await ask("PUT", `${API}/db/${dbId}/docs/c/late-${names.length}`, { body: { late: true } });
      const next = /^<(.*)>/.exec(String(page.headers["link"] ?? ""))?.[1];
      if (next === undefined) break;
      link = next;
    }
    expect(names).toEqual((all.json["docs"] as { doc: string }[]).map(({ doc }) => doc));
  });

  test("names what is wrong with a point", async () => {
    const [{ dbId }] = made as [(typeof made)[number]];
    const other = await ask("GET", `${API}/db/${made[1]?.dbId}/commits?limit=1`);
    const foreign = (other.json["commits"] as { cid: string }[])[0]?.cid as string;
    const own = await ask("GET", `${API}/db/${dbId}/commits?limit=1`);
    const [first] = own.json["commits"] as { entries: { changes: string[] }[] }[];
    const change = first?.entries[0]?.changes[0] as string;
    const tails = ["", "/docs", "/docs/c/a", "/docs/c/a/history", "/commits", "/changes"];
    for (const tail of tails) {
      const code = async (at: string): Promise<unknown> =>
        (await ask("GET", `${API}/db/${dbId}${tail}?at=${encodeURIComponent(at)}`)).json["code"];
      expect({
        tail,
        seq: await code("1000000"),
        time: await code("9999-01-01T00:00:00Z"),
        malformed: await code("yesterday"),
        empty: await code(""),
        foreign: await code(foreign),
        change: await code(change),
        cut: await code(foreign.slice(0, -3)),
      }).toEqual({
        tail,
        seq: "POINT_IN_FUTURE",
        time: "POINT_IN_FUTURE",
        malformed: "POINT_INVALID",
        empty: "POINT_INVALID",
        foreign: "COMMIT_NOT_FOUND",
        change: "COMMIT_NOT_FOUND",
        cut: "POINT_INVALID",
      });
    }
    for (const feed of ["sse", "longpoll"]) {
      const reply = await ask("GET", `${API}/db/${dbId}/changes?at=1&feed=${feed}`);
      expect(reply.json["code"]).toBe("BAD_REQUEST");
    }
  });
});
