import { encode as encodeX } from "cbor-x";
import { cbor as cbor20 } from "automerge-repo-2.0";
import { cbor as cbor25 } from "automerge-repo-2.5";
import { LIMITS } from "../../src/limits.ts";
import {
  addressed,
  decodeRepoMessage,
  ephemeralMessage,
  errorMessage,
  headsMessage,
  peerMessage,
  refusedMessage,
  syncMessage,
  unavailableMessage,
} from "../../src/sync/repo-message.ts";

const BOTH = [
  ["2.0", cbor20],
  ["2.5", cbor25],
] as const;
const data = new Uint8Array([0x42, 1, 2, 3]);
const senderId = "peer-a";
const targetId = "server";
const documentId = "2akvofn6L1o4RMUEMQi7qzwRjKWZ";
const of = (fields: object): Uint8Array => encodeX(fields);
const refused = (bytes: Uint8Array): unknown => {
  try {
    return decodeRepoMessage(bytes);
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};

describe.each(BOTH)("a message of automerge-repo %s", (_version, cbor) => {
  test.each<[string, object, object]>([
    [
      "join",
      {
        type: "join",
        senderId,
        peerMetadata: { storageId: "s", isEphemeral: false },
        supportedProtocolVersions: ["1"],
      },
      { type: "join", senderId, storageId: "s", versions: ["1"] },
    ],
    [
      "join of a peer without a storage",
      { type: "join", senderId, peerMetadata: { storageId: undefined, isEphemeral: true } },
      { type: "join", senderId, storageId: undefined, versions: [] },
    ],
    [
      "request",
      { type: "request", senderId, targetId, documentId, data },
      { type: "request", senderId, documentId, data },
    ],
    [
      "sync",
      { type: "sync", senderId, targetId, documentId, data },
      { type: "sync", senderId, documentId, data },
    ],
    [
      "ephemeral",
      { type: "ephemeral", senderId, targetId, documentId, data, count: 2 ** 40, sessionId: "x" },
      { type: "ephemeral", senderId, documentId, data, count: 2 ** 40, sessionId: "x" },
    ],
    [
      "doc-unavailable",
      { type: "doc-unavailable", senderId, documentId },
      { type: "doc-unavailable", senderId, documentId },
    ],
    [
      "remote-subscription-change",
      { type: "remote-subscription-change", senderId, targetId, add: ["s1"], remove: undefined },
      { type: "remote-subscription-change", senderId, add: ["s1"], remove: [] },
    ],
    [
      "remote-heads-changed",
      {
        type: "remote-heads-changed",
        senderId,
        documentId,
        newHeads: { s1: { heads: ["h"], timestamp: 1.7e12 } },
      },
      {
        type: "remote-heads-changed",
        senderId,
        documentId,
        newHeads: [{ storageId: "s1", heads: ["h"], timestamp: 1.7e12 }],
      },
    ],
    ["leave", { type: "leave", senderId }, { type: "leave", senderId }],
    ["a kind that is not known", { type: "next-year", senderId, x: [{}] }, { type: "other", senderId }],
  ])("is read: %s", (_name, sent, read) => {
    expect(decodeRepoMessage(cbor.encode(sent))).toEqual(read);
  });

  test.each<[string, Uint8Array, object]>([
    [
      "peer",
      peerMessage("me", "store"),
      {
        type: "peer",
        senderId: "me",
        targetId: "you",
        peerMetadata: { storageId: "store", isEphemeral: false },
        selectedProtocolVersion: "1",
      },
    ],
    ["error", errorMessage("me", "no"), { type: "error", senderId: "me", targetId: "you", message: "no" }],
    [
      "sync",
      syncMessage("me", documentId, data),
      { type: "sync", senderId: "me", targetId: "you", documentId, data },
    ],
    [
      "doc-unavailable",
      unavailableMessage("me", documentId),
      { type: "doc-unavailable", senderId: "me", targetId: "you", documentId },
    ],
    [
      "ephemeral",
      ephemeralMessage({ type: "ephemeral", senderId, documentId, sessionId: "x", count: 7, data }),
      { type: "ephemeral", senderId, targetId: "you", documentId, sessionId: "x", count: 7, data },
    ],
    [
      "remote-heads-changed",
      headsMessage("me", documentId, { storageId: "s", heads: ["h1", "h2"], timestamp: 1_700_000_000_000 }),
      {
        type: "remote-heads-changed",
        senderId: "me",
        targetId: "you",
        documentId,
        newHeads: { s: { heads: ["h1", "h2"], timestamp: 1_700_000_000_000 } },
      },
    ],
    [
      "skald-refused",
      refusedMessage("me", documentId, { code: "CHANGE_ACTOR", message: "m", hint: "h" }),
      {
        type: "skald-refused",
        senderId: "me",
        targetId: "you",
        documentId,
        code: "CHANGE_ACTOR",
        detail: "m",
        hint: "h",
      },
    ],
  ])("is understood by it: %s", (_name, message, meant) => {
    const bytes = addressed(message, "you");
    const read = cbor.decode(bytes) as Record<string, unknown>;
    expect(JSON.stringify(read["data"] ?? null)).toBe(
      JSON.stringify((meant as { data?: unknown }).data ?? null),
    );
    expect({ ...read, data: undefined }).toEqual({ ...meant, data: undefined });
  });
});

describe("what is no message", () => {
  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["bytes that end within the map", of({ type: "sync", senderId, documentId, data }).subarray(0, 30)],
    ["two messages", Buffer.concat([of({ type: "leave", senderId }), of({ type: "leave", senderId })])],
    ["a list", of([1])],
    ["no type", of({ senderId })],
    ["a type that is no text", of({ type: 1, senderId })],
    ["no sender", of({ type: "leave" })],
    ["an empty sender", of({ type: "leave", senderId: "" })],
    ["a sync without data", of({ type: "sync", senderId, documentId })],
    ["a sync whose data is a text", of({ type: "sync", senderId, documentId, data: "x" })],
    ["a sync without a document", of({ type: "sync", senderId, data })],
    ["an ephemeral without a count", of({ type: "ephemeral", senderId, documentId, sessionId: "x", data })],
    ["heads that are no map", of({ type: "remote-heads-changed", senderId, documentId, newHeads: [] })],
    ["a text that is not UTF-8", Buffer.from("a164747970656180".replace("6180", "61ff"), "hex")],
    ["a list of 2^32 items", Buffer.from("9b0000000100000000", "hex")],
    ["an indefinite map", Buffer.from("bf6474797065656c65617665ff", "hex")],
    ["a key that is a number", Buffer.from("a10102", "hex")],
  ])("is refused: %s", (_name, bytes) => {
    expect(refused(bytes)).toBe("BAD_CBOR");
  });

  test("a `__proto__` is a field like another", () => {
    const bytes = Buffer.concat([
      Buffer.from("a3", "hex"),
      Buffer.from("6474797065656c65617665", "hex"),
      Buffer.from("6873656e6465724964", "hex"),
      Buffer.from("6161", "hex"),
      Buffer.from("695f5f70726f746f5f5fa16474797065647379 6e63".replaceAll(" ", ""), "hex"),
    ]);
    expect(decodeRepoMessage(bytes)).toEqual({ type: "leave", senderId: "a" });
    expect(({} as Record<string, unknown>)["type"]).toBeUndefined();
  });

  test("byte strings may carry the tag that cbor-x gives typed arrays", () => {
    const tagged = Buffer.from("d84044010203ff".replace("44010203ff", "43010203"), "hex");
    const head = Buffer.from(of({ type: "sync", senderId, documentId }));
    head[head.indexOf(0xb9) + 2] = 4;
    const bytes = Buffer.concat([head, Buffer.from("6464617461", "hex"), tagged]);
    expect(decodeRepoMessage(bytes)).toMatchObject({ type: "sync", data: new Uint8Array([1, 2, 3]) });
  });

  test("more storages than are followed are left out", () => {
    const newHeads = Object.fromEntries(
      Array.from({ length: 100 }, (_, n) => [`s${n}`, { heads: [], timestamp: 1 }]),
    );
    const read = decodeRepoMessage(of({ type: "remote-heads-changed", senderId, documentId, newHeads }));
    expect((read as unknown as { newHeads: unknown[] }).newHeads).toHaveLength(LIMITS.repo.storages.value);
  });
});
