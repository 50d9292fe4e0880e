import type { Engine } from "../../src/db/engine.ts";
import { mergedIn } from "../../src/log/merged.ts";
import type { StoredCommit } from "../../src/log/log.ts";
import { pull, push } from "../../src/replication/exchange.ts";
import { carrying, lineOf, openEngine, peerOf, put, read, wrongWith } from "./fixture.ts";

/** Servers of which some sign and some do not: whatever goes between them, each commit keeps the signature it was given. */
const side = (sign: "always" | "auto"): Engine => openEngine(undefined, undefined, sign);

const DB = "notes";

async function pair(here: Engine, there: Engine) {
  await there.create(DB);
  await put(there, "items/0", { n: 0 });
  await here.create(DB, await there.use(DB, ({ log }) => log.identity.uid));
  const both = { here: peerOf(here), there: peerOf(there) };
  await pull(both, carrying);
  return both;
}

/** Of each commit who signed it, and of a merge also those within. */
const signersOf = (engine: Engine): Promise<unknown[]> =>
  engine.use(DB, ({ log }) =>
    Array.from({ length: log.head().seq }, (_, i) => log.commit(i + 1) as StoredCommit).map((stored) => {
      const within = mergedIn(stored).map(({ commit }) => commit.signed?.signer);
      const signer = stored.commit.signed?.signer;
      return within.length > 0 ? [signer, ...within] : signer;
    }),
  );

const didOf = (engine: Engine): string | undefined => engine.signing.keys.at(-1)?.did;

test.each([
  ["signs", "does not", "always", "auto"],
  ["does not sign", "does", "auto", "always"],
  ["signs", "does too", "always", "always"],
] as const)(
  "a side that %s pulls from one that %s, merges and pushes: nothing is lost of either",
  async (_, _there, sign, signThere) => {
    const [here, there] = [side(sign), side(signThere)];
    const both = await pair(here, there);
    await put(here, "items/1", { here: 1 });
    await put(there, "items/1", { there: 1 });
    await pull(both, carrying);
    const own = didOf(here);
    const other = didOf(there);
    expect(own === undefined).toBe(sign === "auto");
    expect(await signersOf(here)).toEqual([other, other, [own, own]]);
    await push(both, carrying);
    await put(there, "items/2", { there: 2 });
    await pull(both, carrying);
    await put(here, "items/3", { here: 3 });
    await push(both, carrying);
    expect(await lineOf(there)).toEqual(await lineOf(here));
    expect(await signersOf(there)).toEqual([other, other, [own, own], other, own]);
    for (const engine of [here, there]) expect(await wrongWith(engine)).toEqual([]);
    expect(await read(there, "items/1")).toEqual({ here: 1, there: 1 });
    await here.use(DB, (db) => db.compact());
    await here.rebuild(DB);
    expect(await wrongWith(here)).toEqual([]);
  },
);

test("a key that another one follows on one side is known on the other, also through a merge", async () => {
  const [here, there] = [side("always"), side("always")];
  const both = await pair(here, there);
  await put(here, "items/1", { n: 1 });
  const first = didOf(here) as string;
  const rotated = await here.rotateKey();
  expect(rotated).toEqual({ from: first, to: didOf(here), dbs: [DB] });
  await put(there, "items/2", { n: 2 });
  await put(here, "items/3", { n: 3 });
  await pull(both, carrying);
  await push(both, carrying);
  const other = didOf(there);
  const { to } = rotated;
  expect(await signersOf(there)).toEqual([other, other, [to, first, first, to]]);
  for (const engine of [here, there]) {
    expect(await wrongWith(engine)).toEqual([]);
    await engine.rebuild(DB);
    expect(await wrongWith(engine)).toEqual([]);
  }
});

test("a copy that a key has signed nothing of is left alone when that is followed by another", async () => {
  const [here, there] = [side("always"), side("auto")];
  const both = await pair(here, there);
  const before = await lineOf(here);
  await here.create("own");
  await put(here, "items/0", { n: 0 }, { db: "own" });
  expect((await here.rotateKey()).dbs).toEqual(["own"]);
  expect(await lineOf(here)).toEqual(before);
  expect(await pull(both, carrying)).toMatchObject({ ahead: 0, behind: 0 });
});

test("a rotation that broke off goes on where it stopped, with the same key", async () => {
  const here = side("always");
  for (const db of ["a", "b", "c"]) {
    await here.create(db);
    await put(here, "items/0", { n: 0 }, { db });
  }
  const first = didOf(here);
  let left = 2;
  const use = here.use.bind(here);
  // The disk fails at the second db.
  here.use = ((db: string, work: never) =>
    --left < 0 ? Promise.reject(new Error("no")) : use(db, work)) as typeof here.use;
  await expect(here.rotateKey()).rejects.toThrow("no");
  here.use = use;
  expect(here.signing.keys.map(({ retired }) => retired)).toEqual([undefined, undefined]);
  const next = didOf(here);
  await put(here, "items/1", { n: 1 }, { db: "a" });
  await put(here, "items/1", { n: 1 }, { db: "c" });
  const lastSigner = (db: string): Promise<string | undefined> =>
    here.use(db, ({ log }) => log.commit(log.head().seq)?.commit.signed?.signer);
  expect([await lastSigner("a"), await lastSigner("c")]).toEqual([next, first]);
  expect(await here.rotateKey()).toEqual({ from: first, to: next, dbs: ["a", "b", "c"] });
  await put(here, "items/2", { n: 2 }, { db: "c" });
  expect(await lastSigner("c")).toBe(next);
  for (const db of ["a", "b", "c"]) expect(await wrongWith(here, db)).toEqual([]);
  expect(here.signing.keys.map(({ secret }) => secret === undefined)).toEqual([true, false]);
});
