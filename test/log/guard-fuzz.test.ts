import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readChange } from "../../src/log/change.ts";
import { seedOf } from "../support/fault-process.ts";
import { mutate, seeded, subjects } from "../support/change-mutations.ts";

/** Changes spoilt at random, in bytes and in meaning, and what Automerge makes of those the guard lets through. */

const PROBE = fileURLToPath(new URL("../support/automerge-probe.mjs", import.meta.url));
// `SKALD_TEST_FUZZ` times the figure of CI; then each run has a seed of its own.
const FACTOR = Number(process.env["SKALD_TEST_FUZZ"] ?? 0.3);
const CASES = 2_000 * Math.max(1, FACTOR);
const SEED = FACTOR > 1 ? seedOf() : 20_260;
const DEADLINE_MS = 30_000;

interface Answer {
  outcome: string;
  error?: string;
}

describe("spoilt changes that pass the guard", () => {
  let child: ChildProcess;

  const start = (): void => {
    child = fork(PROBE, {
      serialization: "advanced",
      execArgv: [],
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
  };
  const stop = (): void => {
    child.removeAllListeners();
    child.kill("SIGKILL");
  };

  function ask(base: Uint8Array, change: Uint8Array, hash: string): Promise<Answer> {
    return new Promise((resolve) => {
      const settle = (answer: Answer): void => {
        clearTimeout(timer);
        child.removeAllListeners();
        resolve(answer);
      };
      const timer = setTimeout(() => settle({ outcome: "hang" }), DEADLINE_MS);
      child.once("message", (answer) => settle(answer as Answer));
      child.once("exit", () => settle({ outcome: "died" }));
      // One that has died says so by its exit.
      child.send({ id: 0, base, change, hash }, () => {});
    });
  }

  beforeAll(start);
  afterAll(stop);

  test(`never end Automerge's process, hang it, or come back from a saved document in another form (seed ${SEED})`, async () => {
    const random = seeded(SEED);
    const all = subjects();
    const counts: Record<string, number> = {};
    const worst: unknown[] = [];
    let alone = 0;
    for (let i = 0; i < CASES; i++) {
      const subject = all[Math.floor(random() * all.length)];
      const mutation = subject === undefined ? null : mutate(subject, random);
      if (subject === undefined || mutation === null || Buffer.compare(mutation.bytes, subject.change) === 0)
        continue;
      let hash: string;
      try {
        hash = readChange(mutation.bytes).hash;
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^CHANGE_(MALFORMED|TOO_LARGE)$/);
        counts["guard"] = (counts["guard"] ?? 0) + 1;
        continue;
      }
      const { outcome, error } = await ask(subject.saved, mutation.bytes, hash);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      // These three need the document to tell: the change names an operation that is not there, or is
      // not what the change takes it for.
      const known = ["fine", "refused", "error-read", "error-load"];
      if (!known.includes(outcome))
        worst.push({ i, subject: subject.name, kind: mutation.kind, outcome, error });
      // A change on an empty document has nothing outside itself to be wrong about, but its header.
      if (subject.name.startsWith("alone") && mutation.kind !== "header") {
        alone++;
        if (outcome !== "fine") worst.push({ i, subject: subject.name, kind: mutation.kind, outcome, error });
      }
    }
    expect(worst).toEqual([]);
    expect(alone).toBeGreaterThan(10);
    const passed = CASES - (counts["guard"] ?? 0);
    const broken = (counts["error-read"] ?? 0) + (counts["error-load"] ?? 0);
    expect(counts["guard"]).toBeGreaterThan(CASES / 2);
    expect(broken).toBeLessThan(passed / 4);
  }, 300_000);
});
