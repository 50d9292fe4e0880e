import { blake3, toHex } from "../ids/hash.ts";
import { partOf, type DocPart } from "./doc-part.ts";
import { beyond } from "./invalid.ts";
import { reasonsOf, type Reason } from "./reasons.ts";
import type { WalkedDoc } from "./places.ts";
import type { Walk } from "./walk.ts";
import { MAYBE, NO, YES, type Truth } from "./truth.ts";

export type Verdict = "yes" | "no" | "maybe exceeded depth";

const VERDICTS: Readonly<Record<Truth, Verdict>> = {
  [NO]: "no",
  [MAYBE]: "maybe exceeded depth",
  [YES]: "yes",
};

/** What a walk found, ready to be written. */
export interface GraphAnswer {
  readonly verdict: Verdict;
  /** Of the verdict, what was selected, touched and missing; the same wherever that is the same. */
  readonly hash: string;
  /** JSON of everything but the point: fields with commas between them. */
  readonly text: string;
}

/** Keeps what it said of documents, so that a further answer costs what changed and the length of its text. */
export class Answers {
  readonly #walk: Walk;
  readonly #parts = new Map<WalkedDoc, DocPart>();
  /** Documents whose part was worked out. */
  parts = 0;

  constructor(walk: Walk) {
    this.#walk = walk;
  }

  /** Gives way to others between two documents. Throws QUERY_LIMIT. */
  async answer(): Promise<GraphAnswer> {
    const { docs, bounds, verdict } = this.#walk;
    for (const doc of this.#parts.keys()) if (docs.get(doc.name) !== doc) this.#parts.delete(doc);
    const found = [...docs.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    let size = 0;
    const spend = (characters: number): void => {
      size += characters;
      if (size > bounds.answerCharacters)
        throw beyond("answerCharacters", bounds.answerCharacters, "characters selected");
    };
    const parts: DocPart[] = [];
    for (const doc of found) {
      const wait = this.#walk.turn();
      if (wait) await wait;
      parts.push(this.#part(doc, spend));
    }
    const word = VERDICTS[verdict];
    const hash = toHex(blake3(Buffer.from(`${word}\n${parts.map((part) => part.hash).join("\n")}`)));
    const text = [
      `"verdict":${JSON.stringify(word)}`,
      `"result_hash":"${hash}"`,
      `"docs":[${parts.flatMap((part) => part.docs).join()}]`,
      listed("touched", found, parts, bounds.touched, (part) => part.touched.map((path) => ({ path }))),
      listed("missing", found, parts, bounds.touched, (part) => part.missing),
      `"links":${JSON.stringify({
        followed: sum(parts, ({ followed }) => followed),
        exceeded: sum(parts, ({ exceeded }) => exceeded.length),
      })}`,
      `"reasons":${JSON.stringify(verdict === YES ? [] : this.#reasons())}`,
    ].join();
    return { verdict: word, hash, text };
  }

  #part(doc: WalkedDoc, spend: (characters: number) => void): DocPart {
    let part = doc.stale ? undefined : this.#parts.get(doc);
    if (part) spend(part.size);
    else {
      part = partOf(doc, this.#walk.start, spend);
      this.parts += 1;
      this.#parts.set(doc, part);
      doc.stale = false;
    }
    return part;
  }

  #reasons(): Reason[] {
    return reasonsOf(this.#walk.start, this.#walk.bounds.reasons);
  }
}

function listed(
  name: string,
  docs: readonly WalkedDoc[],
  parts: readonly DocPart[],
  most: number,
  of: (part: DocPart) => readonly object[],
): string {
  const texts: string[] = [];
  let total = 0;
  for (const [i, part] of parts.entries()) {
    const items = of(part);
    total += items.length;
    const doc = (docs[i] as WalkedDoc).name;
    for (const item of items.slice(0, Math.max(0, most - texts.length)))
      texts.push(JSON.stringify({ doc, ...item }));
  }
  return `"${name}":[${texts.join()}],"${name}_total":${total}`;
}

function sum(parts: readonly DocPart[], of: (part: DocPart) => number): number {
  return parts.reduce((total, part) => total + of(part), 0);
}
