import { writeFileSync } from "node:fs";
import path from "node:path";
import { readNote, type Note } from "../../src/backup/frames.ts";
import { decodeManifest, encodeManifest, type Manifest } from "../../src/backup/manifest.ts";
import { readPack, type PackItem } from "../../src/backup/pack.ts";
import { decodeSubscriptions, encodeSubscriptions } from "../../src/backup/subscription-rows.ts";
import { CborWriter } from "../../src/ids/cbor.ts";
import { blake3, toHex } from "../../src/ids/hash.ts";
import type { StoredSubscription } from "../../src/store/contract.ts";
import { memoryDir } from "../support/temp-dir.ts";
import type { Target } from "./harness.ts";
import { spoilt, spoiltText } from "./mutate.ts";

/** The files of a backup: whoever restores one may have got it from anywhere. */

const hash = "ab".repeat(32);
const uid = "07".repeat(16);
const commit = "bafyr4ibs6z4e4ueaxfxdpz5kfs3rkmegcqshhyxosjtzdzlgxmthn7fd2q";
const MANIFEST: Manifest = {
  format: "skald-backup",
  version: 1,
  number: 12,
  made: "2026-11-21T20:00:00.000Z",
  skald: "0.1.0",
  files: [{ name: "service.sqlite", bytes: 45_056, blocks: [hash, hash] }],
  dbs: [
    {
      db: "shop",
      uid,
      created: 1_795_291_479_042,
      actor: uid,
      taken: "2026-11-21T20:00:00.000Z",
      seq: 7,
      commit,
      lives: [{ epoch: 2, after: 3 }],
      subscriptions: hash,
      packs: [
        { hash, bytes: 900, first: 1, last: 6, up_to: 4, commit },
        { hash, bytes: 300, first: 5, last: 7, up_to: 7, commit },
      ],
    },
  ],
  failed: [{ what: "bad", code: "DB_DAMAGED", detail: "Commit 3 is missing." }],
};
const LINE = JSON.stringify(MANIFEST);

const ROWS: readonly StoredSubscription[] = [
  { name: "mailer", definition: '{"mode":"single"}', state: new Uint8Array([1, 2, 3]) },
  { name: "w", definition: "{}", state: new Uint8Array(0) },
];

function packOf(bodies: readonly Uint8Array[]): Uint8Array {
  const w = new CborWriter();
  w.text("skald.pack.1");
  w.bytes(new Uint8Array(16).fill(7));
  w.uint(5);
  bodies.forEach((body, i) => {
    w.uint(i + 1);
    w.bytes(body);
  });
  return w.take();
}

const PACKS = [
  packOf([]),
  packOf([new Uint8Array(3)]),
  packOf([new Uint8Array(300), new Uint8Array(70_000)]),
];
const file = path.join(memoryDir(), "pack");

export const backupTargets: readonly Target[] = [
  {
    name: "manifest of a backup",
    covers: ["backup/manifest.ts decodeManifest"],
    runs: 1_000,
    codes: ["BACKUP_DAMAGED"],
    make: (random) => {
      const line = random.chance(0.05) ? LINE : spoiltText(LINE, random, [LINE]);
      const sum = random.chance(0.9) ? toHex(blake3(Buffer.from(line))) : hash;
      return `${line}\nblake3 ${sum}\n`;
    },
    run: (text) => decodeManifest(text as string, "manifest"),
    holds: (_text: never, manifest: Manifest) =>
      decodeManifest(encodeManifest(manifest), "again").number === manifest.number ? undefined : "is another",
  },
  {
    name: "pack of a backup",
    covers: ["backup/pack.ts readPack"],
    runs: 200,
    codes: ["BACKUP_DAMAGED"],
    make: (random) => {
      const whole = random.pick(PACKS);
      return random.chance(0.05) ? whole : spoilt(whole, random, PACKS);
    },
    run: async (bytes) => {
      writeFileSync(file, bytes as Uint8Array);
      const items: PackItem[] = [];
      const said = { uid, hash: toHex(blake3(bytes as Uint8Array)), bytes: bytes.length };
      for await (const item of readPack(file, said)) items.push(item);
      return items;
    },
    holds: (_bytes: never, items: PackItem[]) =>
      items.every(({ first, last }, i) => last >= first && first === (items[i - 1]?.last ?? first - 1) + 1)
        ? undefined
        : "leaves commits out",
  },
  {
    name: "subscriptions of a backup",
    covers: ["backup/subscription-rows.ts decodeSubscriptions"],
    runs: 1_000,
    codes: ["BACKUP_DAMAGED"],
    make: (random) => {
      const whole = encodeSubscriptions(ROWS);
      return random.chance(0.05) ? whole : spoilt(whole, random, [whole]);
    },
    run: (bytes) => decodeSubscriptions(bytes as Uint8Array, "subscriptions"),
  },
  {
    name: "note of a server that is backed up",
    covers: ["backup/frames.ts readNote"],
    runs: 1_000,
    codes: ["BAD_CBOR"],
    make: (random) => {
      const notes = [
        `{"head":{"uid":"${uid}","actor":"${uid}","created":1,"lives":[],"subscriptions":null,"after":{"seq":0,"commit":null},"known":true,"head":{"seq":1,"commit":"${commit}"}}}`,
        `{"end":{"seq":1,"commit":"${commit}"}}`,
        '{"error":{"code":"DB_DAMAGED","detail":"no"}}',
      ];
      const note = random.pick(notes);
      return Buffer.from(random.chance(0.05) ? note : spoiltText(note, random, notes));
    },
    run: (bytes) => readNote(bytes as Uint8Array),
    holds: (bytes: Uint8Array, note: Note | undefined) =>
      (note === undefined) === (bytes[0] !== 0x7b) ? undefined : "a body for a note",
  },
];
