import { spawnSync } from "node:child_process";
import { openSync, closeSync, writeFileSync } from "node:fs";
import path from "node:path";
import { STAGES } from "../../src/db/check.ts";
import { INVARIANTS } from "../../src/db/invariants.ts";
import { Documents } from "../../src/documents/documents.ts";
import { BROKEN_BUILDS } from "../support/broken-builds.ts";
import { workload, type Build, type Worked } from "../support/check-workload.ts";
import {
  HARNESS_INVARIANTS,
  WATCHED,
  descriptorsIn,
  filesIn,
  leaksIn,
  watchedIn,
  type HarnessFinding,
  type HarnessInvariant,
} from "../support/harness-checks.ts";
import { LEDGER_INVARIANTS } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Every invariant, and for each of them something that breaks it: both lists must be the same. */

const root = tempDir();
const documents = new Documents({ workers: 1 });
afterAll(() => documents.close());

async function findingsOf(build: Build & { after?: (worked: Worked) => void } = {}) {
  const worked = await workload(root, documents, build);
  try {
    build.after?.(worked);
    return await worked.ledger.compare(worked.db);
  } finally {
    await worked.close();
  }
}

test("a sound build breaks none of them", async () => {
  const worked = await workload(root, documents);
  expect(await worked.ledger.compare(worked.db)).toEqual([]);
  // It did everything that the broken builds break.
  expect(worked.ledger.size).toBe(worked.db.log.head().seq - 1);
  expect(worked.storage.ranges()).toEqual([{ first: 1, last: 3 }]);
  expect(worked.db.log.state("d/b")?.refused.size).toBe(1);
  expect(worked.db.log.counts()).toEqual({ documents: 3, deleted: 2 });
  expect(worked.db.log.erasures().map(({ name }) => name)).toEqual(["c/erased"]);
  expect(worked.db.log.erasing()).toEqual([]);
  expect(worked.db.views.saved("c/a")).toBeDefined();
  expect(worked.db.projection.head()).toBe(worked.db.log.head().seq);
  await worked.close();
  // Opened anew the log alone says the same.
  expect(descriptorsIn(worked.folder)).toEqual([]);
});

describe("the check finds a build that", () => {
  test.each(Object.entries(BROKEN_BUILDS).map(([name, build]) => [build.wrong, name, build] as const))(
    "%s (%s)",
    async (_, name, build) => {
      const found = await findingsOf(build);
      expect(found.map(({ what }) => what)).toContain(name);
      for (const { where } of found) expect(where).toMatch(/./);
    },
  );
});

/** Processes and files with something broken, each by the invariant that it breaks. */
const BROKEN_HARNESS: Readonly<Record<HarnessInvariant, () => HarnessFinding[]>> = {
  leaked: () => {
    const dir = path.join(root, "leak");
    const file = openSync(path.join(root, "leak.log"), "w");
    closeSync(file);
    writeFileSync(
      path.join(root, "leak.log"),
      `GET /?ticket=${Buffer.from("token-canary-1").toString("base64")}`,
    );
    return leaksIn(
      filesIn(root).filter(({ name }) => path.join(root, name).startsWith(dir)),
      ["token-canary-1"],
    );
  },
  rejection: () => watched("Promise.reject(new Error('dropped')); setTimeout(() => {}, 10)"),
  descriptor: () =>
    watched("import('node:fs').then(({ openSync }) => openSync(process.env.SKALD_WATCH_DIR + '/left', 'w'))"),
  handle: () => watched("setInterval(() => {}, 1000); setTimeout(() => process.exit(0), 50)"),
};

function watched(script: string): HarnessFinding[] {
  const env = { ...process.env, SKALD_WATCH_DIR: root };
  const { stderr } = spawnSync(process.execPath, [...WATCHED, "-e", script], { env, encoding: "utf8" });
  return watchedIn(stderr);
}

describe("the harness finds a process that breaks", () => {
  test.each(Object.keys(HARNESS_INVARIANTS) as HarnessInvariant[])("%s", (name) => {
    expect(new Set(BROKEN_HARNESS[name]().map(({ what }) => what))).toEqual(new Set([name]));
  });

  test("none of them when nothing is broken", () => {
    expect(watched("setTimeout(() => {}, 10)")).toEqual([]);
    expect(leaksIn([{ name: "log", bytes: Buffer.from("nothing of it") }], ["token-canary-1"])).toEqual([]);
  });

  test.each(["plain", "hex", "base64", "url"] as const)("a secret in %s", (form) => {
    const canary = "a token/canary?";
    const written = {
      plain: canary,
      hex: Buffer.from(canary).toString("hex"),
      base64: Buffer.from(`x${canary}yz`).toString("base64"),
      url: encodeURIComponent(canary),
    }[form];
    expect(leaksIn([{ name: "log", bytes: Buffer.from(`…${written}…`) }], [canary])).toHaveLength(1);
  });
});

describe("the lists agree", () => {
  test("each invariant has a broken build, and each broken build an invariant", () => {
    expect(Object.keys(BROKEN_BUILDS).sort()).toEqual(
      [...Object.keys(INVARIANTS), ...Object.keys(LEDGER_INVARIANTS)].sort(),
    );
    expect(Object.keys(BROKEN_HARNESS).sort()).toEqual(Object.keys(HARNESS_INVARIANTS).sort());
  });

  test("each says in a sentence what holds", () => {
    const all = { ...INVARIANTS, ...LEDGER_INVARIANTS, ...HARNESS_INVARIANTS };
    for (const sentence of Object.values(all)) expect(sentence).toMatch(/^[a-z].{20,140}[a-z0-9]$/);
    expect(new Set(STAGES).size).toBe(STAGES.length);
  });
});
