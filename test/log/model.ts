import { DEFAULT_CHANGE_LIMITS } from "../../src/log/guard.ts";
import { readChange, type ChangeHeader } from "../../src/log/change.ts";
import { putTogether } from "../support/change-chunks.ts";

/**
 * What a log should do, as simply as it can be said: all changes in a map, every question answered by
 * walking the graph. Slow, and without any of the log's shortcuts.
 */

/** How a change is made from what the model has: mostly right, each part now and then not. */
export interface ChangePlan {
  readonly actor: number;
  /** What it builds on: all heads, one of them, its actor's last, the genesis, an older one, nobody knows what. */
  readonly on: "heads" | "one" | "own" | "genesis" | "older" | "missing";
  readonly seqOff: number;
  readonly opOff: number;
  readonly tag: number;
  /** Sends a change again that is there. */
  readonly again: boolean;
}

export interface WritePlan {
  readonly doc: number;
  readonly changes: readonly ChangePlan[];
  readonly base: "none" | "right" | "wrong";
  readonly deleted: boolean;
}

export interface TxPlan {
  readonly author: string;
  readonly id: string;
  readonly expect: "none" | "right" | "wrong";
  readonly read: "none" | "right" | "wrong";
  readonly writes: readonly WritePlan[];
}

export interface Change {
  readonly header: ChangeHeader;
  readonly principal: string;
}

export interface ModelDoc {
  readonly changes: Map<string, Change>;
  readonly refused: Set<string>;
  deleted: boolean;
  last: number;
}

export interface ModelEntry {
  readonly doc: string;
  readonly heads: readonly string[];
  readonly changes: readonly string[];
  readonly deleted: boolean;
}

export const ACTOR_BYTES = [0x1a, 0x2b, 0x3c];
const hexOf = (actor: number): string => (ACTOR_BYTES[actor] as number).toString(16).repeat(16);

export class LogModel {
  readonly docs = new Map<string, ModelDoc>();
  readonly receipts = new Map<string, number>();
  /** Entries of each commit made here, by seq. */
  readonly commits = new Map<number, readonly ModelEntry[]>();
  readonly first: number;
  readonly genesis: (doc: string) => ChangeHeader;
  seq: number;

  constructor(seq: number, genesis: (doc: string) => ChangeHeader) {
    this.first = seq;
    this.seq = seq;
    this.genesis = genesis;
  }

  doc(name: string): ModelDoc {
    return this.docs.get(name) ?? { changes: new Map(), refused: new Set(), deleted: false, last: 0 };
  }

  /** Of what was not set aside, whatever nothing builds on. */
  heads({ changes, refused }: ModelDoc): string[] {
    const left = [...changes.keys()].filter((hash) => !refused.has(hash));
    const tips = new Set(left);
    for (const hash of left) for (const dep of changes.get(hash)?.header.deps ?? []) tips.delete(dep);
    return [...tips].sort();
  }

  actorLast(doc: ModelDoc, actor: string): Change | undefined {
    const own = [...doc.changes.values()].filter(({ header }) => header.actor === actor);
    return own.sort((a, b) => b.header.seq - a.header.seq)[0];
  }

  /** The change that a plan asks for. */
  make(name: string, plan: ChangePlan, doc: ModelDoc): ChangeHeader {
    const known = [...doc.changes.values()];
    const actor = hexOf(plan.actor);
    const own = this.actorLast(doc, actor);
    if (plan.again && known.length > 0) return (known[plan.tag % known.length] as Change).header;
    const heads = this.heads(doc);
    const genesis = this.genesis(name).hash;
    const older = known[plan.tag % Math.max(1, known.length)]?.header.hash ?? genesis;
    const deps = {
      heads: heads.length > 0 ? heads : [genesis],
      one: [heads[plan.tag % Math.max(1, heads.length)] ?? genesis],
      own: [own?.header.hash ?? genesis],
      genesis: [genesis],
      older: [older],
      missing: ["ee".repeat(32)],
    }[plan.on];
    const from = Math.max(0, ...deps.map((dep) => doc.changes.get(dep)?.header.maxOp ?? 0));
    const bytes = putTogether({
      deps: deps.map((dep) => new Uint8Array(Buffer.from(dep, "hex"))),
      actor: new Uint8Array(16).fill(ACTOR_BYTES[plan.actor] as number),
      seq: Math.max(1, (own?.header.seq ?? 0) + 1 + plan.seqOff),
      startOp: Math.max(1, from + 1 + plan.opOff),
      time: new Uint8Array([0]),
      message: new Uint8Array([0x61 + plan.tag]),
      others: [],
      // One operation that sets `n` to null.
      columns: [
        { spec: 0x15, data: [0x7f, 1, 0x6e] },
        { spec: 0x34, data: [1] },
        { spec: 0x42, data: [0x7f, 1] },
        { spec: 0x56, data: [0x7f, 0] },
        { spec: 0x70, data: [0x7f, 0] },
      ],
      extra: new Uint8Array(),
    });
    return readChange(bytes, DEFAULT_CHANGE_LIMITS);
  }

  /** The code that refuses a change on `doc`, or undefined; "here" when it is there already. */
  refusal(
    name: string,
    change: ChangeHeader,
    doc: ModelDoc,
    author: string,
    before: ModelDoc,
  ): string | undefined {
    const genesis = this.genesis(name);
    if (doc.changes.has(change.hash)) return "here";
    if (change.hash === genesis.hash && doc.changes.size > 0) return "here";
    const own = this.actorLast(doc, change.actor);
    if (change.seq <= (own?.header.seq ?? 0)) return "CHANGE_EQUIVOCATION";
    const owner = this.actorLast(before, change.actor)?.principal;
    if (owner !== undefined && owner !== author) return "CHANGE_ACTOR";
    // An actor of which a change was set aside has come to its end.
    const ended = [...doc.refused].some((hash) => doc.changes.get(hash)?.header.actor === change.actor);
    if (ended || change.deps.some((dep) => doc.refused.has(dep))) return "CHANGE_REFUSED";
    if (!change.deps.every((dep) => doc.changes.has(dep) || dep === genesis.hash))
      return "CHANGE_DEPS_MISSING";
    if (change.seq > (own?.header.seq ?? 0) + 1) return "CHANGE_SEQ";
    if (own && !this.reaches(change.deps, own.header.hash, doc)) return "CHANGE_SEQ";
    const below = Math.max(0, ...change.deps.map((dep) => doc.changes.get(dep)?.header.maxOp ?? 0));
    const most = Math.max(0, ...[...doc.changes.values()].map(({ header }) => header.maxOp));
    return change.startOp > below && change.startOp <= most + 1 ? undefined : "CHANGE_START_OP";
  }

  reaches(from: readonly string[], goal: string, doc: ModelDoc): boolean {
    return from.some(
      (hash) => hash === goal || this.reaches(doc.changes.get(hash)?.header.deps ?? [], goal, doc),
    );
  }

  /** What hangs on these changes, they included. */
  above(hashes: readonly string[], doc: ModelDoc): string[] {
    return [...doc.changes.keys()].filter((hash) => hashes.some((goal) => this.reaches([hash], goal, doc)));
  }
}
