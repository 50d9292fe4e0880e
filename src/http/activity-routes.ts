import * as z from "zod";
import { Activity, ActivitySpan } from "../protocol/activity-wire.ts";
import { nextTurn } from "../world.ts";
import { iso } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";

const HOUR = 3_600_000;
/** How long a step of each span is, and how many there are. */
const STEPS: Readonly<Record<z.infer<typeof ActivitySpan>, readonly [ms: number, count: number]>> = {
  hour: [HOUR / 60, 60],
  day: [HOUR / 2, 48],
  week: [2 * HOUR, 84],
  month: [12 * HOUR, 60],
};

export const activityRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/activity",
    summary: "How much was written, over time",
    description:
      "Commits by the time they were made, up to now. Steps begin at whole multiples of their length.",
    tag: "dbs",
    access: "doc.read",
    partial: true,
    query: z.strictObject({ span: ActivitySpan.default("day") }),
    answers: { 200: { description: "Numbers.", types: { "application/json": Activity } } },
    handle: (call) => call.db((db) => activity(call, db.log)),
  },
];

interface Seqs {
  head(): { readonly seq: number; readonly time: number };
  seqAt(time: number): number;
}

async function activity({ services: { world }, query, signal }: Call, log: Seqs) {
  const [step, count] = STEPS[query["span"] as keyof typeof STEPS];
  const to = (Math.floor(world.now() / step) + 1) * step;
  const from = to - step * count;
  const { seq, time } = log.head();
  const commits: number[] = [];
  // Where nothing was written since, nothing needs to be looked for.
  let before = time < from ? seq : log.seqAt(from - 1);
  for (let at = from + step; at <= to; at += step) {
    const until = at === to || time < at ? seq : log.seqAt(at - 1);
    commits.push(Math.max(0, until - before));
    before = Math.max(before, until);
    if (before === seq) continue;
    // Each look reads some commits: others go first.
    await nextTurn(world);
    signal.throwIfAborted();
  }
  return json(200, { from: iso(from), to: iso(to), step_ms: step, commits, seq } satisfies z.infer<
    typeof Activity
  >);
}
