import Sequencer from "@jest/test-sequencer";

/**
 * On a clean clone Jest knows no times and begins with the largest files. These take longest, and whichever of
 * them came last would keep one core busy while the others have nothing left to do.
 */
const LONGEST = [
  "faults/power-cut",
  "limits",
  "faults/nth-call",
  "faults/rot",
  "fuzz/decoders-changes",
  "fuzz/decoders-records",
  "faults/kill",
  "simulation/simulation",
  "sync/schedules",
  "replication/exchange",
  "client/browser",
  "cli/commands",
  "db/model",
  "db/invariants",
  "db/check-live",
  "db/quarantine",
  "replication/kill",
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
