import { blake3, toHex } from "../ids/hash.ts";
import { sortedKeys } from "../documents/json-value.ts";
import { writeValue } from "./json.ts";
import { NOWHERE } from "./look.ts";
import { NO } from "./truth.ts";
import type { Pair, Absence, Place, WalkedDoc } from "./places.ts";

/** What an answer says of one document; kept for as long as nothing of it changes. */
export interface DocPart {
  /** JSON objects `{doc, path, seq, heads, value}`, one for each path on which the walk came in. */
  readonly docs: readonly string[];
  /** Pointers of the places looked at, in the order of their steps. */
  readonly touched: readonly string[];
  readonly missing: readonly { readonly path: string; readonly reason: Absence | "path" | "link" }[];
  readonly followed: number;
  /** Links that were too many to follow. */
  readonly exceeded: readonly string[];
  /** Characters of what was selected, and of the places' pointers. */
  readonly size: number;
  /** In hex: blake3 of what was selected, touched and missing; see specs/26-graph.md. */
  readonly hash: string;
}

/** Works a document's part out. `spend` hears of the length of what is selected and of each place. */
export function partOf(doc: WalkedDoc, start: Pair, spend: (characters: number) => void): DocPart {
  const { loaded } = doc;
  const touched: string[] = [];
  const missing: DocPart["missing"][number][] = [];
  const exceeded: string[] = [];
  const docs: string[] = [];
  const values: string[] = [];
  let followed = 0;
  let size = 0;
  const write = (characters: number): void => {
    size += characters;
    spend(characters);
  };
  for (const [place, path] of placesOf(doc.root)) {
    const pairs = [...place.pairs.values()];
    if (pairs.length === 0) continue;
    write(path.length);
    const isEntry = pairs.some((pair) => pair === start || [...pair.in].some(({ link }) => link));
    if (place.value === undefined) {
      missing.push({ path, reason: loaded ? "path" : (doc.state as Absence) });
      continue;
    }
    touched.push(path);
    if (pairs.some((pair) => pair.lost)) missing.push({ path, reason: "link" });
    if (pairs.some((pair) => pair.followed && !pair.lost)) followed += 1;
    if (pairs.some((pair) => pair.isLink && !pair.followed && pair.truth !== NO)) exceeded.push(path);
    if (!isEntry || !loaded) continue;
    const text = selected(place, write);
    values.push(`${JSON.stringify(path)}:${text}`);
    const { seq, heads } = loaded;
    docs.push(`${JSON.stringify({ doc: doc.name, path, seq, heads }).slice(0, -1)},"value":${text}}`);
  }
  const told = JSON.stringify({ doc: doc.name, touched, missing });
  const hash = toHex(blake3(Buffer.from(`${told.slice(0, -1)},"selected":{${values.join()}}}`)));
  return { docs, touched, missing, followed, exceeded, size, hash };
}

/** The places of a document with their pointers: each before those below it, in the order of their steps. */
function* placesOf(root: Place): Generator<[Place, string]> {
  const todo: [Place, string][] = [[root, ""]];
  for (let next = todo.pop(); next; next = todo.pop()) {
    const [place, path] = next;
    yield next;
    if (place.kids.size === 0) continue;
    const isLost = [...place.pairs.values()].some(({ lost }) => lost);
    const kids = inOrder(place).filter(({ step }) => !(isLost && step === NOWHERE));
    for (let i = kids.length - 1; i >= 0; i -= 1) {
      const kid = kids[i] as Place;
      todo.push([kid, `${path}/${kid.step.replaceAll("~", "~0").replaceAll("/", "~1")}`]);
    }
  }
}

function inOrder(place: Place): Place[] {
  if (Array.isArray(place.value))
    return [...place.kids.values()].sort((a, b) => Number(a.step) - Number(b.step));
  return sortedKeys(Object.fromEntries([...place.kids.keys()].map((step) => [step, 0]))).map(
    (step) => place.kids.get(step) as Place,
  );
}

/** JSON of what is looked at below a place: of lists and maps only what some sub-schema goes into. */
function selected(at: Place, spend: (characters: number) => void): string {
  return writeValue<Place>(
    at.value as never,
    at,
    (_value, place) => {
      const pairs = [...place.pairs.values()];
      if (pairs.some(({ isLink, schema }) => isLink || schema.whole)) return "whole";
      const kids = inOrder(place).filter((kid) => kid.pairs.size > 0 && kid.value !== undefined);
      return {
        steps: kids.map(({ step }) => step),
        of: (step) => place.kids.get(step) as Place,
      };
    },
    spend,
  );
}
