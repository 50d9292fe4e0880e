import { decodeSyncMessage } from "../../src/sync/sync-message.ts";
import { readChunks } from "../../src/sync/parts.ts";
import { seeded } from "../support/fault-process.ts";
import {
  A2,
  A3,
  LogNode,
  StockNode,
  openShared,
  type End,
  type MakeSync,
  type Node,
  type SharedLog,
} from "./nodes.ts";

/**
 * Seeded schedules: three to five peers, some of them stock clients, some ours, edit and talk over connections
 * that lose, repeat and reorder messages, break, and whose ends crash and come back, some from older saves. Then
 * all is well for at most five rounds, each a new connection everywhere, and everybody must have everything.
 */
export interface Outcome {
  readonly rounds: number;
  readonly messages: number;
  readonly changes: number;
  readonly restores: number;
  /** What does not hold. */
  readonly wrong: string | undefined;
}

interface Link {
  readonly ends: readonly [number, number];
  /** Undefined while there is no connection. */
  sides: [End, End] | undefined;
  kept: [Uint8Array | undefined, Uint8Array | undefined];
  /** What is on its way to each end. */
  readonly queues: [Uint8Array[], Uint8Array[]];
}

const ROUNDS = 5;
/** Messages of a round after which nobody will be quiet any more. */
const ENDLESS = 2000;

export async function runSchedule(
  seed: number,
  pool: readonly SharedLog[],
  make: MakeSync,
): Promise<Outcome> {
  const random = seeded(seed);
  const below = (n: number): number => Math.floor(random() * n);
  const chance = (share: number): boolean => random() < share;
  const restores = chance(0.3);
  const count = 3 + below(3);
  const doc = `automerge/s${seed}`;
  let shared = 0;
  const nodes: Node[] = Array.from({ length: count }, (_, i) => {
    // At least one of ours, and never two on one log.
    if (i > 0 && (chance(0.6) || shared === pool.length)) {
      return new StockNode(`stock${i}`, chance(0.5) ? A3 : A2);
    }
    const log = restores ? openShared(LogNode.root) : (pool[shared++] as SharedLog);
    if (restores) shared += 1;
    return new LogNode(`ours${i}`, doc, log, make);
  });
  const links: Link[] = [];
  for (let b = 1; b < count; b += 1) {
    // A star around ours mostly, a line or anything else now and then.
    const a = chance(0.7) ? 0 : below(b);
    links.push(newLink(a, b));
    if (chance(0.2) && a !== 0) links.push(newLink(0, b));
  }
  const loss = chance(0.5) ? random() * 0.3 : 0;
  const mess = chance(0.5) ? random() * 0.3 : 0;
  let messages = 0;
  let edits = 0;
  let gone = 0;

  const speak = async (link: Link, end: 0 | 1): Promise<void> => {
    const message = await link.sides?.[end].generate();
    if (message) link.queues[end === 0 ? 1 : 0].push(message);
  };
  const tell = async (node: number): Promise<void> => {
    for (const link of links) {
      if (link.ends[0] === node) await speak(link, 0);
      if (link.ends[1] === node) await speak(link, 1);
    }
  };
  const cut = (link: Link): void => {
    if (!link.sides) return;
    link.kept = [link.sides[0].encode(), link.sides[1].encode()];
    link.sides = undefined;
    link.queues[0].length = 0;
    link.queues[1].length = 0;
  };
  const join = async (link: Link, speakBoth: boolean): Promise<void> => {
    cut(link);
    const [a, b] = link.ends;
    link.sides = [(nodes[a] as Node).connect(link.kept[0]), (nodes[b] as Node).connect(link.kept[1])];
    // As automerge-repo does it the client speaks first, and the other side waits for that.
    await speak(link, 1);
    if (speakBoth) await speak(link, 0);
  };
  const deliver = async (link: Link, end: 0 | 1, at: number, keep: boolean): Promise<void> => {
    const queue = link.queues[end];
    const [message] = keep ? [queue[at]] : queue.splice(at, 1);
    if (!message || !link.sides) return;
    messages += 1;
    const node = link.ends[end];
    const before = (nodes[node] as Node).heads().join();
    await link.sides[end].receive(message);
    if ((nodes[node] as Node).heads().join() === before) await speak(link, end);
    else await tell(node);
  };

  const saves: (() => void)[][] = nodes.map(() => []);
  const steps = 10 + below(30);
  for (let step = 0; step < steps; step += 1) {
    const node = below(count);
    const link = links[below(links.length)] as Link;
    const end = chance(0.5) ? 0 : 1;
    switch (below(12)) {
      case 0:
      case 1:
      case 2: {
        const burst = chance(0.1) ? 1 + below(30) : 1 + below(2);
        for (let i = 0; i < burst; i += 1) await (nodes[node] as Node).edit((edits += 1));
        await tell(node);
        break;
      }
      case 3:
        if (link.sides) cut(link);
        else await join(link, chance(0.5));
        break;
      case 4:
        if (!link.sides) await join(link, chance(0.5));
        else await (nodes[node] as Node).tidy(chance(0.05));
        break;
      case 5:
        if (restores || nodes[node] instanceof StockNode)
          (saves[node] as (() => void)[]).push((nodes[node] as Node).save());
        break;
      case 6: {
        // A crash: connections end, and some come back as they were a while ago. What is kept of the state of
        // sync may be newer than the copy.
        for (const broken of links.filter(({ ends }) => ends.includes(node))) cut(broken);
        const save = restores && chance(0.7) ? (saves[node] as (() => void)[]).at(below(3) - 3) : undefined;
        if (save) {
          save();
          gone += 1;
        }
        break;
      }
      default: {
        const queue = link.queues[end];
        if (queue.length === 0) break;
        if (chance(loss)) {
          queue.shift();
          break;
        }
        const at = chance(mess) ? below(queue.length) : 0;
        await deliver(link, end, at, chance(mess));
      }
    }
  }

  // What anybody has now is never lost again, and what was acknowledged was not lost before.
  const everything = new Set(nodes.flatMap((node) => [...node.hashes()]));
  const acknowledged = gone > 0 ? [] : nodes.flatMap((node) => [...node.acknowledged]);
  const missing = acknowledged.find((hash) => !everything.has(hash));
  const outcome = (rounds: number, wrong: string | undefined): Outcome => ({
    rounds,
    messages,
    changes: everything.size,
    restores: gone,
    wrong,
  });
  if (missing !== undefined) return outcome(0, `the acknowledged change ${missing} is nowhere`);
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const link of links) await join(link, chance(0.5));
    for (let moved = true, sent = 0; moved;) {
      moved = false;
      for (const link of links) {
        for (const end of [0, 1] as const) {
          while (link.queues[end].length > 0) {
            moved = true;
            sent += 1;
            if (sent > ENDLESS) return outcome(round, "they talk without end");
            await deliver(link, end, 0, false);
          }
        }
      }
    }
    // Heads vouch for everything before them.
    if (new Set(nodes.map((node) => node.heads().join())).size === 1) {
      if (!same((nodes[0] as Node).hashes(), everything)) return outcome(round, "all lack the same");
      // Once more: nobody has anything to say but hello.
      return outcome(round, chance(0.2) ? await hello(links, join, deliver) : undefined);
    }
  }
  const lacking = nodes
    .filter((node) => !same(node.hashes(), everything))
    .map((node) => `${node.name} has ${node.hashes().size} of ${everything.size}`);
  return outcome(ROUNDS, lacking.join(", "));
}

/** In a new connection of two that are equal no change is sent. */
async function hello(
  links: readonly Link[],
  join: (link: Link, both: boolean) => Promise<void>,
  deliver: (link: Link, end: 0 | 1, at: number, keep: boolean) => Promise<void>,
): Promise<string | undefined> {
  for (const link of links) {
    await join(link, true);
    for (let i = 0; link.queues[0].length + link.queues[1].length > 0; i += 1) {
      if (i > 10) return "two that are equal have more than ten messages for each other";
      for (const end of [0, 1] as const) {
        const message = link.queues[end][0];
        if (message && readChunks(decodeSyncMessage(message).parts).length > 0)
          return "a change is sent to a peer that has it";
        await deliver(link, end, 0, false);
      }
    }
  }
  return undefined;
}

function newLink(a: number, b: number): Link {
  return { ends: [a, b], sides: undefined, kept: [undefined, undefined], queues: [[], []] };
}

function same(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((hash) => b.has(hash));
}
