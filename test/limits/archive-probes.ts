import { CarReader, encodeCarHeader } from "../../src/archive/car.ts";
import { CID_BYTES, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { uleb } from "../support/change-chunks.ts";
import { outcomeIn, outcomeOf, type Outcome, type ProbeSpec } from "./probe.ts";
import { DB, ask } from "./server.ts";

const SNAPSHOTS = `${DB}/snapshots`;

/** What becomes of an archive of which no more than a length has come. */
function lengthOf(before: Uint8Array, length: number): Promise<Outcome> {
  return outcomeOf(() => [...new CarReader().push(Buffer.concat([before, Uint8Array.from(uleb(length))]))]);
}

export const archiveProbes: Readonly<Record<string, ProbeSpec>> = {
  headerBytes: { cheap: true, run: (n) => lengthOf(new Uint8Array(0), n) },
  blockBytes: {
    cheap: true,
    run: (n) => lengthOf(encodeCarHeader(cidOf(CODEC_RAW, new Uint8Array(1))), CID_BYTES + n),
  },
};

const post = async (name?: string): Promise<Outcome> =>
  outcomeIn(await ask("POST", SNAPSHOTS, { body: name === undefined ? {} : { name } }));
let made = 0;

export const snapshotProbes: Readonly<Record<string, ProbeSpec>> = {
  nameCharacters: {
    cheap: true,
    run: async (n) => {
      const outcome = await post("x".repeat(n));
      await ask("DELETE", `${SNAPSHOTS}/${"x".repeat(n)}`);
      return outcome;
    },
  },
  perDb: {
    run: async (n) => {
      for (; made < n - 1; made += 1) await post(`n${made}`);
      const last = await post(`n${made}`);
      if (last === "ok") made += 1;
      return last;
    },
  },
};
