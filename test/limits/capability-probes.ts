import { proveChain } from "../../src/auth/capability-chain.ts";
import { ucanCid } from "../../src/ids/ucan.ts";
import { CLAIMS, HEADER, READ, alice, grant, key, may, owner, server, signed } from "../auth/ucan-keys.ts";
import { outcomeOf, type ProbeSpec } from "./probe.ts";

const prove = (bearer: string, others: readonly string[] = []) =>
  outcomeOf(() =>
    proveChain(bearer, others, {
      audiences: new Set([server.did]),
      owner: () => owner.did,
      isRevoked: () => false,
      now: 0,
    }),
  );

/** A token of so many characters: what fills its payload cannot be of every length, so its header gives some. */
function sized(n: number): string {
  for (const x of ["", "x", "xx"]) {
    const header = x === "" ? HEADER : { ...HEADER, x };
    const empty = signed(header, { ...CLAIMS, iss: owner.did, nnc: "" }, owner).length;
    for (let fill = Math.floor(((n - empty) * 3) / 4) - 3; fill < n - empty; fill += 1) {
      const text = signed(header, { ...CLAIMS, iss: owner.did, nnc: "x".repeat(fill) }, owner);
      if (text.length === n) return text;
      if (text.length > n) break;
    }
  }
  throw new Error(`no token has ${n} characters`);
}

export const capabilityProbes: Readonly<Record<string, ProbeSpec>> = {
  characters: { cheap: true, run: (n) => prove(sized(n)) },
  tokens: {
    cheap: true,
    run: (n) =>
      prove(
        grant(owner, server),
        Array.from({ length: n - 1 }, (_, i) => `${i}`),
      ),
  },
  depth: {
    cheap: true,
    run: (n) => {
      const texts = [grant(owner, n === 1 ? server : key("d1"))];
      for (let i = 1; i < n; i += 1)
        texts.push(
          grant(key(`d${i}`), i === n - 1 ? server : key(`d${i + 1}`), READ, {
            prf: [ucanCid(texts.at(-1) as string)],
          }),
        );
      return prove(texts.pop() as string, texts);
    },
  },
  uses: {
    cheap: true,
    run: (n) =>
      prove(
        grant(
          owner,
          server,
          may("skald/doc.read", ...Array.from({ length: n }, (_, i) => ({ prefix: `${i}` }))),
        ),
      ),
  },
  proofs: {
    cheap: true,
    run: (n) => {
      const first = grant(owner, alice);
      const prf = [...Array.from({ length: n - 1 }, (_, i) => ucanCid(`${i}`)), ucanCid(first)];
      return prove(grant(alice, server, READ, { prf }), [first]);
    },
  },
};
