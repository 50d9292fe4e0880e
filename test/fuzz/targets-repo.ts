import { decodeLooseCbor } from "../../src/ids/loose-cbor.ts";
import { parseAutomergeId, automergeIdText } from "../../src/log/automerge-ids.ts";
import { decodeRepoMessage, type RepoMessage } from "../../src/sync/repo-message.ts";
import { encode } from "cbor-x";
import type { Target } from "./harness.ts";
import { spoilt, spoiltText } from "./mutate.ts";

const senderId = "peer-1";
const documentId = "2akvofn6L1o4RMUEMQi7qzwRjKWZ";
const data = new Uint8Array(40).fill(7);
const messages = [
  {
    type: "join",
    senderId,
    peerMetadata: { storageId: "s", isEphemeral: false },
    supportedProtocolVersions: ["1"],
  },
  { type: "sync", senderId, targetId: "x", documentId, data },
  { type: "request", senderId, targetId: "x", documentId, data },
  { type: "ephemeral", senderId, targetId: "x", documentId, data, count: 2 ** 33, sessionId: "z" },
  { type: "doc-unavailable", senderId, targetId: "x", documentId },
  { type: "remote-subscription-change", senderId, add: ["a", "b"], remove: undefined },
  {
    type: "remote-heads-changed",
    senderId,
    documentId,
    newHeads: { a: { heads: ["b"], timestamp: 1.7e12 } },
  },
].map((message) => new Uint8Array(encode(message)));

const KINDS: ReadonlySet<string> = new Set([
  "join",
  "sync",
  "request",
  "ephemeral",
  "doc-unavailable",
  "remote-subscription-change",
  "remote-heads-changed",
  "leave",
  "other",
] satisfies RepoMessage["type"][]);

const message: Target = {
  name: "automerge-repo message",
  covers: ["sync/repo-message.ts decodeRepoMessage"],
  runs: 20_000,
  codes: ["BAD_CBOR"],
  make: (random) => spoilt(random.pick(messages), random, messages),
  run: (bytes) => decodeRepoMessage(bytes as Uint8Array),
  holds: (_: Uint8Array, read: RepoMessage) =>
    KINDS.has(read.type) && read.senderId.length > 0 && read.senderId.length <= 256
      ? undefined
      : "is no message",
};

const deep = (count: number, head: number): Uint8Array => new Uint8Array(count).fill(head);

const loose: Target = {
  name: "cbor item of others",
  covers: ["ids/loose-cbor.ts decodeLooseCbor"],
  runs: 40_000,
  codes: ["BAD_CBOR"],
  make: (random) =>
    random.chance(0.1) ? random.bytes(random.below(40)) : spoilt(random.pick(messages), random, messages),
  run: (bytes) => decodeLooseCbor(bytes as Uint8Array, { levels: 8, items: 4096 }),
  kept: [
    deep(1_000_000, 0x81),
    deep(1_000_000, 0xa1),
    deep(1_000_000, 0xc1),
    // A list of 2^32 items and one of as many as there are bytes.
    Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff),
    Buffer.concat([Uint8Array.of(0x9a, 0, 0x0f, 0x42, 0x40), deep(1_000_000, 0)]),
    Uint8Array.of(0xfb, 0x7f),
    Uint8Array.of(0x61, 0xff),
  ],
};

const uid = new Uint8Array(16).fill(3);
const texts = ["notes/a", "notes/b", `automerge/${documentId}`].map((doc) => automergeIdText(uid, doc));

const id: Target = {
  name: "Automerge id of a document",
  covers: ["log/automerge-ids.ts parseAutomergeId"],
  runs: 5_000,
  codes: ["NAME_INVALID"],
  make: (random) =>
    random.chance(0.02) ? random.pick(texts) : spoiltText(random.pick(texts), random, texts),
  run: (text) => parseAutomergeId(text as string),
  holds: (text: string, bytes: Uint8Array) =>
    bytes.length === 16 && automergeIdText(uid, `automerge/${text}`) === text ? undefined : "has two texts",
};

export const repoTargets: readonly Target[] = [message, loose, id];
