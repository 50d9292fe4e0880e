import Sequencer from "@jest/test-sequencer";

/**
 * On a clean clone Jest knows no times and begins with the largest files. These take longest, and whichever of
 * them came last would keep one core busy while the others have nothing left to do.
 */
const LONGEST = [
  "limits",
  "faults/power-cut",
  "e2e/dashboard",
  "faults/kill",
  "faults/nth-call",
  "sync/schedules",
  "simulation/simulation",
  "replication/exchange",
  "faults/rot",
  "fuzz/decoders-records",
  "client/browser",
  "fuzz/decoders-changes",
  "replication/kill",
  "cli/commands",
  "db/model",
  "db/invariants",
  "db/check-live",
  "db/quarantine",
].map((name) => `/test/${name}.test.ts`);

export default class LongestFirst extends Sequencer {
  sort(tests) {
    const place = ({ path }) => {
      const at = LONGEST.findIndex((name) => path.endsWith(name));
      return at < 0 ? LONGEST.length : at;
    };
    return [...super.sort(tests)].sort((a, b) => place(a) - place(b));
  }
}
