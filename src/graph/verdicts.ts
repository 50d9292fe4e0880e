import { MAYBE, YES, type Operator } from "./truth.ts";
import type { Edge, Pair } from "./places.ts";

/**
 * Works out the truth of pairs. Invariant: afterwards the truth of every pair of the graph is the one that working out
 * all of them from nothing would give. So whoever looks, however far around, at what changed is worked out again.
 *
 * Pairs that look at each other in a circle are assumed to hold, and do unless something denies it: the greatest
 * solution. Where the circle goes through `not` or `oneOf` there may be none that is greatest. Then what follows
 * without an assumption stands; the rest holds if it does when all of it is assumed to, and is undecided otherwise.
 */
const DENIES: ReadonlySet<Operator> = new Set(["not", "one"]);

export interface Work {
  /** Called once for each pair worked out; waits when others have waited long enough. */
  step(): Promise<void> | undefined;
}

/** `changed` are those whose groups or own assertions are others now. */
export async function settle(changed: Iterable<Pair>, round: number, work: Work): Promise<void> {
  const affected = new Set(changed);
  for (const pair of affected) for (const { from } of pair.in) affected.add(from);
  // Nothing may be seen half done: the counts hold at each wait, but truths are old ones in part.
  for (const circle of circlesOf(affected, round)) {
    const waits = work.step();
    if (waits) await waits;
    const first = circle[0] as Pair;
    if (circle.length === 1 && !first.out.some(({ to }) => to === first)) first.become(first.due());
    else solve(new Set(circle));
  }
}

function solve(circle: ReadonlySet<Pair>): void {
  const denies = ({ from, to, group }: Edge): boolean =>
    circle.has(to) && DENIES.has((from.groups[group] as { operator: Operator }).operator);
  const mixed = [...circle].some(({ out }) => out.some(denies));
  const start = mixed ? MAYBE : YES;
  for (const pair of circle) pair.become(start);
  const todo = [...circle];
  for (let pair = todo.pop(); pair; pair = todo.pop()) {
    const truth = pair.due();
    if (truth === pair.truth) continue;
    pair.become(truth);
    for (const { from } of pair.in) if (circle.has(from)) todo.push(from);
  }
  if (!mixed) return;
  const open = [...circle].filter(({ truth }) => truth === MAYBE);
  for (const pair of open) pair.become(YES);
  if (open.every((pair) => pair.due() === YES)) return;
  for (const pair of open) pair.become(MAYBE);
}

/** The strongly connected parts among some pairs, each after those that it looks at (Tarjan 1972, without recursion). */
function* circlesOf(pairs: ReadonlySet<Pair>, round: number): Generator<Pair[]> {
  let next = 1;
  const stack: Pair[] = [];
  const open = new Set<Pair>();
  const frames: { readonly pair: Pair; at: number }[] = [];
  const enter = (pair: Pair): void => {
    pair.round = round;
    pair.index = pair.low = next;
    next += 1;
    stack.push(pair);
    open.add(pair);
    frames.push({ pair, at: 0 });
  };
  for (const start of pairs) {
    if (start.round === round) continue;
    enter(start);
    for (let frame = frames.at(-1); frame; frame = frames.at(-1)) {
      const { pair } = frame;
      const edge = pair.out[frame.at];
      if (edge) {
        frame.at += 1;
        const { to } = edge;
        if (!pairs.has(to)) continue;
        if (to.round !== round) enter(to);
        else if (open.has(to)) pair.low = Math.min(pair.low, to.index);
        continue;
      }
      frames.pop();
      const above = frames.at(-1)?.pair;
      if (above) above.low = Math.min(above.low, pair.low);
      if (pair.low !== pair.index) continue;
      const circle: Pair[] = [];
      for (let member = stack.pop(); member; member = stack.pop()) {
        open.delete(member);
        circle.push(member);
        if (member === pair) break;
      }
      yield circle;
    }
  }
}
