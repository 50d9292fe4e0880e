import * as A from "@automerge/automerge";
import { seedOf, seeded } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, load, refusal, tx, write } from "./fixture.ts";

const root = tempDir();
const RUNS = 150;
const MAY_REFUSE = new Set([
  "CHANGE_SEQ",
  "CHANGE_START_OP",
  "CHANGE_EQUIVOCATION",
  "CHANGE_DEPS_MISSING",
  "CHANGE_ACTOR",
  "CHANGE_MALFORMED",
]);

describe("changes that somebody forged", () => {
  // Automerge applies nearly all of these. What it makes of some of them it can save, but never load again.
  test("are refused, or leave a document that saves, loads and has the heads the log says", async () => {
    const { log, storage } = createLog(root);
    const seed = seedOf();
    const random = seeded(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
    const seen: Record<string, number> = {};
    for (let run = 0; run < RUNS; run += 1) {
      const doc = `notes/${run}`;
      const born = copyOf(log, doc, ACTORS[4]);
      const [genesis] = A.getAllChanges(born) as [Uint8Array];
      const genesisActor = A.decodeChange(genesis).actor;
      const known: { hash: string; maxOp: number }[] = [{ hash: A.getHeads(born)[0] as string, maxOp: 0 }];
      const seqs = new Map<string, number>();
      for (let step = 0; step < 14; step += 1) {
        const roll = random();
        const actor = roll < 0.04 ? genesisActor : pick(ACTORS.slice(0, 3));
        const deps =
          random() < 0.5
            ? (log.state(doc)?.heads.size ?? 0) > 0
              ? [...(log.state(doc)?.heads.keys() ?? [])]
              : [(known[0] as { hash: string }).hash]
            : [...new Set(Array.from({ length: Math.floor(random() * 3) }, () => pick(known).hash))];
        const below = Math.max(
          0,
          ...known.filter(({ hash }) => deps.includes(hash)).map(({ maxOp }) => maxOp),
        );
        const ops = Array.from({ length: Math.floor(random() * 3) }, () => ({
          action: "set" as const,
          obj: "_root",
          key: pick(["a", "b", "c"]),
          value: Math.floor(random() * 9),
          pred: [],
        }));
        const startOp = Math.max(1, below + 1 + (random() < 0.8 ? 0 : Math.floor(random() * 6) - 2));
        const seq = Math.max(1, (seqs.get(actor) ?? 0) + 1 + (random() < 0.9 ? 0 : pick([-1, 1])));
        const change = A.encodeChange({
          actor,
          seq,
          startOp,
          time: 0,
          message: null,
          deps: deps.toSorted(),
          ops,
        } as never);
        const { code } = await refusal(log.write(tx(write(doc, [random() < 0.03 ? genesis : change]))));
        seen[code] = (seen[code] ?? 0) + 1;
        if (code !== "none") {
          expect(MAY_REFUSE).toContain(code);
          continue;
        }
        const hash = A.decodeChange(change).hash as string;
        if (log.seqOfChange(doc, hash) === undefined) continue;
        known.push({ hash, maxOp: startOp + ops.length - 1 });
        seqs.set(actor, log.state(doc)?.actors.get(actor)?.seq ?? 0);
      }
      const state = log.state(doc);
      if (!state) continue;
      const applied = load(log, doc);
      const loaded = A.load<Record<string, unknown>>(A.save(applied));
      const at = `seed ${seed}, run ${run}`;
      // A document whose changes do not descend from the genesis has that as one more tip.
      const tips = (heads: string[]) =>
        heads.filter((head) => head !== (known[0] as { hash: string }).hash).sort();
      const said = tips([...state.heads.keys()]);
      expect([at, tips(A.getHeads(loaded))]).toEqual([at, said]);
      expect([at, A.toJS(loaded)]).toEqual([at, A.toJS(applied)]);
    }
    expect(findingsIn(storage)).toEqual([]);
    for (const code of ["none", "CHANGE_SEQ", "CHANGE_START_OP", "CHANGE_ACTOR"])
      expect(seen[code]).toBeGreaterThan(5);
    await log.close();
  });
});
