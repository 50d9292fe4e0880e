import { writeFileSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { openSource } from "../../src/cli/import-source.ts";
import { SETTINGS, readConfig } from "../../src/config.ts";
import { Engine } from "../../src/db/engine.ts";
import { Documents } from "../../src/documents/documents.ts";
import { LIMITS } from "../../src/limits.ts";
import { readChange } from "../../src/log/change.ts";
import { concat, frame, uleb } from "../support/change-chunks.ts";
import { tempDir } from "../support/temp-dir.ts";
import { createLog, type OpenLog } from "../log/fixture.ts";
import { outcomeIn, outcomeOf, type ProbeSpec } from "./probe.ts";
import { CHANGE, apart } from "./request-probes.ts";
import { DB, ask } from "./server.ts";

const patch = (body: unknown) =>
  ask("PATCH", `${DB}/docs/k/patched?dry_run=true`, {
    body: JSON.stringify(body),
    headers: { "content-type": "application/json-patch+json" },
  });

let patched: Promise<unknown> | undefined;
const withList = (): Promise<unknown> =>
  (patched ??= ask("PUT", `${DB}/docs/k/patched`, { body: { list: Array<number>(999).fill(1), one: 1 } }));

const pools: Documents[] = [];
afterAll(() => Promise.all(pools.map((pool) => pool.close())));
function pool(options: ConstructorParameters<typeof Documents>[0]): Documents {
  const made = new Documents({ workers: 1, ...options });
  pools.push(made);
  return made;
}

/** What follows a change's startOp: 10 bytes before its contents, then deps, actor, seq and startOp. */
const AFTER_START_OP = CHANGE.subarray(10 + 1 + 17 + 1 + 1);

let many: { log: OpenLog["log"]; actors: number; deps: Uint8Array[] } | undefined;
/** One actor after the other, so that there is one head; through HTTP it would be seven requests. */
function growTo(actors: number): Promise<unknown> {
  const doc = (many ??= { log: createLog(tempDir()).log, actors: 0, deps: [] });
  const changes = Array.from({ length: actors - doc.actors }, (_, i) => {
    const actor = new Uint8Array(16).fill(0x32);
    new DataView(actor.buffer).setUint32(0, doc.actors + i);
    // By hand: taking a change apart for each of them takes six times as long.
    const change = readChange(
      frame(
        concat([doc.deps.length], ...doc.deps, [16], actor, [1], uleb(doc.actors + i + 1), AFTER_START_OP),
      ),
    );
    doc.deps = [Buffer.from(change.hash, "hex")];
    return change;
  });
  doc.actors = actors;
  return doc.log.write({ author: "a", clientTxId: "", writes: [{ doc: "a/b", changes }] });
}

const SMALL = A.save(A.from({ t: "x" }));
/** Takes a thread longer than a millisecond to take apart. */
const LARGE = A.save(A.from({ l: Array<number>(20_000).fill(1) }));

export const documentProbes: Readonly<Record<string, ProbeSpec>> = {
  levels: {
    cheap: true,
    run: async (n) => {
      const text = `${'{"a":'.repeat(n - 1)}{}${"}".repeat(n - 1)}`;
      const headers = { "content-type": "application/json" };
      return outcomeIn(await ask("PUT", `${DB}/docs/k/deep?dry_run=true`, { body: text, headers }));
    },
  },
  patchOperations: {
    run: async (n) => {
      await withList();
      return outcomeIn(await patch(Array(n).fill({ op: "test", path: "/one", value: 1 })));
    },
  },
  copiedValues: {
    run: async (n) => {
      await withList();
      const lists = Array(Math.floor(n / 1000)).fill({ op: "copy", from: "/list", path: "/copy" });
      const ones = Array(n % 1000).fill({ op: "copy", from: "/one", path: "/two" });
      return outcomeIn(await patch([...lists, ...ones]));
    },
  },
  heads: {
    run: async (n) =>
      outcomeIn(
        await ask("PATCH", `${DB}/docs/h/${n}`, {
          body: Buffer.concat(apart(n)),
          headers: { "content-type": "application/automerge" },
        }),
      ),
  },
  actors: {
    run: (n) => outcomeOf(() => growTo(n)),
  },
  // A time has no "one beyond": the same work in ample time and in too little.
  jobMs: {
    made: 60_000,
    run: (ms) => {
      const documents = pool({ deadlineMs: ms > 60_000 ? 1 : ms });
      return outcomeOf(() => documents.split({ bytes: LARGE }));
    },
  },
  // The server gives this time to one job at a time and has no setting for it.
  longJobMs: {
    run: async (ms) => {
      const within = ms <= LIMITS.document.longJobMs.value;
      const documents = pool({});
      let outcome = "ok";
      // A process that is busy looks at the clock late, and by then the job may be done.
      for (let tries = within ? 1 : 10; outcome === "ok" && tries > 0; tries -= 1)
        outcome = await outcomeOf(() => documents.split({ bytes: LARGE, deadlineMs: within ? ms : 1 }));
      return outcome;
    },
  },
  queuedJobs: {
    run: async (n) => {
      // One more than wait is the one that the thread is at.
      const documents = pool({});
      const bytes = SMALL;
      const jobs = Array.from({ length: n + 1 }, () => outcomeOf(() => documents.split({ bytes })));
      return [...new Set(await Promise.all(jobs))].filter((outcome) => outcome !== "ok").join() || "ok";
    },
  },
  threadBytes: {
    run: async (n) => {
      const most = LIMITS.document.threadBytes.value;
      const documents = pool({ maxWorkerMemory: n > most ? 1 : n });
      for (let i = 0; i < 3; i++) await documents.split({ bytes: SMALL });
      return documents.stats().restarts > 0 ? "replaced" : "ok";
    },
  },
};

export const dbProbes: Readonly<Record<string, ProbeSpec>> = {
  inUse: {
    made: 3,
    cheap: true,
    run: (n) =>
      outcomeOf(async () => {
        const engine = new Engine({ dir: tempDir(), openDbs: 1, dbsInUse: 3, reserve: 0 });
        const held: { release(): void }[] = [];
        try {
          for (let i = 0; i < n; i++) {
            await engine.create(`db${i}`);
            const db = engine.hold(`db${i}`);
            if (db) held.push(db);
          }
        } finally {
          for (const db of held) db.release();
          await engine.close();
        }
      }),
  },
};

async function imported(name: string, content: string | Uint8Array): Promise<string> {
  const file = path.join(tempDir(), name);
  writeFileSync(file, content);
  const source = await openSource(file, {
    collection: "c",
    doc: name === "file" ? "c/a" : undefined,
  } as never);
  return outcomeOf(async () => {
    for await (const _item of source.items) continue;
  });
}

export const cliProbes: Readonly<Record<string, ProbeSpec>> = {
  recordBytes: { run: (n) => imported("records.ndjson", `${'{"id":1}'.padEnd(n)}\n{"id":2}\n`) },
  fileBytes: {
    run: (n) => {
      const bytes = new Uint8Array(n);
      bytes.set([0x85, 0x6f, 0x4a, 0x83]);
      return imported("file", bytes);
    },
  },
};

const LISTS: Readonly<Record<string, string>> = { corsOrigin: "https://a", audience: "did:web:a" };

export const settingProbes: Readonly<Record<string, ProbeSpec>> = Object.fromEntries(
  Object.keys(LIMITS.setting).map((name): [string, ProbeSpec] => [
    name,
    {
      cheap: true,
      run: (n) =>
        outcomeOf(() => {
          // One that is a list counts its items.
          const item = LISTS[name];
          const text = item === undefined ? String(n) : Array.from({ length: n }, (_, i) => item + i).join();
          const flags = readConfig({ [name]: text }, {});
          const setting = SETTINGS.find((candidate) => candidate.name === name);
          return [flags, readConfig({}, { [setting?.env ?? ""]: text })];
        }),
    },
  ]),
);
