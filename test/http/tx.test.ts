import * as A from "@automerge/automerge";
import { changeOf, sleb, spoil, uleb } from "../support/change-chunks.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, TX, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;

beforeAll(async () => {
  await ask("PUT", DB);
});

const tx = (body: object | string, more: Ask = {}, path = TX): Promise<Reply> =>
  ask("POST", path, { headers: { "content-type": "application/json" }, body, ...more });
const read = async (doc: string): Promise<unknown> => (await ask("GET", `${DB}/docs/${doc}`)).json;
const seqNow = async (): Promise<unknown> => (await ask("GET", DB)).json["seq"];

/** Changes of a new document by one actor, each on the one before. */
function changesOf(actor: string, count: number): { bytes: Uint8Array; base64: string; hash: string }[] {
  let doc = A.init<Record<string, unknown>>({ actor });
  return Array.from({ length: count }, (_, n) => {
    doc = A.change(doc, { time: 0 }, (draft) => {
      draft[`k${n}`] = n;
    });
    const bytes = A.getLastLocalChange(doc) as Uint8Array;
    return { bytes, base64: Buffer.from(bytes).toString("base64"), hash: A.decodeChange(bytes).hash };
  });
}

describe("a transaction", () => {
  test("says what became of each document when it is asked", async () => {
    const put = (doc: string, value: object) => ({ doc, value });
    const gone = { doc: "o/gone", delete: true };
    await tx({ writes: [put("o/same", { n: 1 }), put("o/other", { n: 1 }), put("o/gone", { n: 1 })] });
    await tx({ writes: [gone, put("o/leaves", {})] });
    const writes = [
      put("o/new", { n: 1 }),
      put("o/same", { n: 1 }),
      put("o/other", { n: 2 }),
      put("o/gone", {}),
      { doc: "o/leaves", delete: true },
    ];
    const path = `${TX}?outcomes=true`;
    const first = await tx({ writes }, {}, path);
    expect(first.json["outcomes"]).toEqual({
      "o/new": "created",
      "o/same": "unchanged",
      "o/other": "changed",
      "o/gone": "created",
      "o/leaves": "deleted",
    });
    const values = writes.slice(0, -1);
    const again = await tx({ writes: values }, {}, path);
    expect(again.json).toMatchObject({ duplicate: true, seq: first.json["seq"] });
    expect(new Set(Object.values(again.json["outcomes"] as object))).toEqual(new Set(["unchanged"]));
    expect((await tx({ writes: values })).json).not.toHaveProperty("outcomes");
  });

  test("writes several documents in one commit, by changes, value, patch and deletion", async () => {
    await tx({
      writes: [
        { doc: "m/gone", value: { n: 1 } },
        { doc: "m/patched", value: { a: 1, b: 2 } },
      ],
    });
    const [change] = changesOf("a1".repeat(16), 1);
    const reply = await tx({
      message: "four at once",
      writes: [
        { doc: "m/changed", changes: [change?.base64] },
        { doc: "m/put", value: { list: [1] } },
        { doc: "m/patched", patch: { a: null, c: 3 } },
        { doc: "m/gone", delete: true },
      ],
    });
    expect(reply.status).toBe(200);
    expect(Object.keys(reply.json["heads"] as object)).toEqual(["m/changed", "m/put", "m/patched", "m/gone"]);
    expect((reply.json["heads"] as Record<string, unknown>)["m/changed"]).toEqual([change?.hash]);
    expect(await Promise.all(["m/changed", "m/put", "m/patched"].map(read))).toEqual([
      { k0: 0 },
      { list: [1] },
      { b: 2, c: 3 },
    ]);
    problem(await ask("GET", `${DB}/docs/m/gone`), 404, "DOC_NOT_FOUND");
    const commit = await ask("GET", `${DB}/commits/${reply.json["commit"] as string}`);
    expect(commit.json).toMatchObject({ seq: reply.json["seq"], message: "four at once", author: "admin" });
    expect(commit.json["entries"]).toHaveLength(4);
  });

  test("is kept whole or not at all", async () => {
    const before = await seqNow();
    const refused = await tx({
      writes: [
        { doc: "whole/a", value: { n: 1 } },
        { doc: "whole/b", value: { n: 1 }, base_heads: ["ab".repeat(32)] },
      ],
    });
    expect(problem(refused, 409, "HEADS_CONFLICT")).toMatchObject({ doc: "whole/b", current_heads: [] });
    problem(await ask("GET", `${DB}/docs/whole/a`), 404, "DOC_NOT_FOUND");
    expect(await seqNow()).toBe(before);
  });

  test("is refused when a document is not at the heads it names, and told where it is", async () => {
    const first = await tx({ writes: [{ doc: "base/a", base_heads: [], value: { n: 1 } }] });
    const heads = (first.json["heads"] as Record<string, string[]>)["base/a"];
    const second = await tx({ writes: [{ doc: "base/a", base_heads: heads, value: { n: 2 } }] });
    expect(second.status).toBe(200);
    const late = await tx({ writes: [{ doc: "base/a", base_heads: heads, value: { n: 3 } }] });
    expect(problem(late, 409, "HEADS_CONFLICT")["current_heads"]).toEqual(
      (second.json["heads"] as Record<string, unknown>)["base/a"],
    );
    expect(await read("base/a")).toEqual({ n: 2 });
  });

  test("checks what it has read and the seq it expects", async () => {
    const first = await tx({ writes: [{ doc: "reads/a", value: { n: 1 } }] });
    const heads = (first.json["heads"] as Record<string, string[]>)["reads/a"] ?? [];
    const write = [{ doc: "reads/b", value: { n: 1 } }];
    expect(
      (
        await tx({
          reads: [
            { doc: "reads/a", heads },
            { doc: "reads/none", heads: [] },
          ],
          writes: write,
        })
      ).status,
    ).toBe(200);
    problem(await tx({ reads: [{ doc: "reads/a", heads: [] }], writes: write }), 409, "HEADS_CONFLICT");
    problem(await tx({ reads: [{ doc: "nothing", heads: [] }], writes: write }), 400, "NAME_INVALID");
    const seq = (await seqNow()) as number;
    expect(
      problem(
        await tx({ expect_seq: seq - 1, writes: [{ doc: "reads/c", value: {} }] }),
        409,
        "SEQ_CONFLICT",
      )["seq"],
    ).toBe(seq);
    expect((await tx({ expect_seq: seq, writes: [{ doc: "reads/c", value: {} }] })).status).toBe(200);
  });

  test.each(["client_tx_id", "Idempotency-Key"])(
    "repeated under one %s gets the first receipt and writes nothing",
    async (way) => {
      const id = `repeat-${way.length}`;
      const send = (writes: object[]): Promise<Reply> =>
        way === "client_tx_id"
          ? tx({ client_tx_id: id, writes })
          : tx({ writes }, { headers: { "content-type": "application/json", "idempotency-key": id } });
      const doc = `idem/${way}`;
      const first = await send([{ doc, value: { n: 1 }, base_heads: [] }]);
      await tx({ writes: [{ doc, value: { n: 2 } }] });
      const again = await send([{ doc, value: { n: 1 }, base_heads: [] }]);
      expect([again.status, again.json]).toEqual([200, { ...first.json, duplicate: true }]);
      problem(await send([{ doc: "idem/other", value: {} }]), 409, "TX_ID_REUSED");
      // Another principal's ids are its own.
      const { token } = await ask.token(["notes:doc.write"], { subject: `somebody ${way.length}` });
      const other = await tx({ client_tx_id: id, writes: [{ doc, value: { n: 3 } }] }, { token });
      expect(other.json["duplicate"]).toBe(false);
    },
  );

  test("of many with one client_tx_id at once, one is written", async () => {
    const before = (await seqNow()) as number;
    const body = { client_tx_id: "burst", writes: [{ doc: "idem/burst", value: { n: 1 } }] };
    const replies = await Promise.all(Array.from({ length: 16 }, () => tx(body)));
    expect(new Set(replies.map(({ json }) => json["commit"])).size).toBe(1);
    expect(replies.filter(({ json }) => json["duplicate"] === false)).toHaveLength(1);
    expect(await seqNow()).toBe(before + 1);
  });

  test("a change that is here already is no error and no new commit", async () => {
    const [change] = changesOf("b2".repeat(16), 1);
    const body = { writes: [{ doc: "known/a", changes: [change?.base64] }] };
    const first = await tx(body);
    expect((await tx(body)).json).toEqual({ ...first.json, duplicate: true });
  });

  test("a dry run gives the receipt and keeps nothing", async () => {
    const before = await seqNow();
    const dry = await tx({ writes: [{ doc: "dry/a", value: { n: 1 } }] }, {}, `${TX}?dry_run=true`);
    expect([dry.status, dry.json["seq"]]).toEqual([200, (before as number) + 1]);
    expect(await seqNow()).toBe(before);
  });

  test("values arrive as the client wrote them", async () => {
    const value = '{ "e" : 1e21, "z": -0.0, "q\\u0022}": ["]", "}\\\\"], "\\u006f": {"deep": [[], {}]} }';
    await tx(`{"\\u0077rites": [ {"value":{"not":"this one"}, "doc" :"raw/a", "value" : ${value}} ]}`);
    const { text } = await ask("GET", `${DB}/docs/raw/a`);
    expect(text).toBe('{"e":1e+21,"o":{"deep":[[],{}]},"q\\"}":["]","}\\\\"],"z":-0}');
    await ask("PUT", `${DB}/docs/raw/b`, { headers: { "content-type": "application/json" }, body: value });
    expect((await ask("GET", `${DB}/docs/raw/b`)).text).toBe(text);
  });
});

const ITEMS = 1_000_000;
const MILLION = changeOf([
  [0x01, [0, 1, ...sleb(ITEMS), 0]],
  [0x02, [0, 1, ...sleb(ITEMS), 1]],
  [0x11, [0, 2, ...sleb(ITEMS - 1), 0]],
  [0x13, [0, 1, 0x7e, 0, 2, ...sleb(ITEMS - 2), 1]],
  [0x15, [0x7f, 1, 0x6c, 0, ...uleb(ITEMS)]],
  [0x34, [1, ...uleb(ITEMS)]],
  [0x42, [0x7f, 2, ...sleb(ITEMS), 1]],
  [0x56, [...sleb(ITEMS + 1), 0]],
  [0x70, [...sleb(ITEMS + 1), 0]],
]);

describe("refuses", () => {
  const value = (text: string): string => `{"writes":[{"doc":"no/a","value":${text}}]}`;
  const good = changesOf("c3".repeat(16), 1)[0] as { bytes: Uint8Array };
  const changes = (bytes: Uint8Array): string =>
    JSON.stringify({ writes: [{ doc: "no/a", changes: [Buffer.from(bytes).toString("base64")] }] });
  const write = (fields: object): string => JSON.stringify({ writes: [{ doc: "no/a", ...fields }] });

  test.each<[string, string | Uint8Array, number, string]>([
    ["no JSON", "{", 400, "BAD_JSON"],
    ["nothing", "", 400, "BAD_JSON"],
    ["invalid UTF-8", Buffer.from(value('{"a":"\xff"}'), "latin1"), 400, "BAD_JSON"],
    ["a list", "[]", 400, "BAD_REQUEST"],
    ["no writes", "{}", 400, "BAD_REQUEST"],
    ["an empty list of writes", '{"writes":[]}', 400, "BAD_REQUEST"],
    ["an unknown field", '{"writes":[{"doc":"no/a","value":{}}],"x":1}', 400, "BAD_REQUEST"],
    ["an unknown field of a write", write({ value: {}, x: 1 }), 400, "BAD_REQUEST"],
    ["two kinds of write in one", write({ value: {}, delete: true }), 400, "BAD_REQUEST"],
    ["delete: false", write({ delete: false }), 400, "BAD_REQUEST"],
    ["heads that are no hashes", write({ value: {}, base_heads: ["x"] }), 400, "BAD_REQUEST"],
    ["a __proto__ field", '{"writes":[{"doc":"no/a","value":{}}],"__proto__":{}}', 400, "BAD_REQUEST"],
    [
      "one document twice",
      '{"writes":[{"doc":"no/a","value":{}},{"doc":"no/a","value":{}}]}',
      400,
      "BAD_REQUEST",
    ],
    [
      "1001 writes",
      JSON.stringify({ writes: Array.from({ length: 1001 }, (_, n) => ({ doc: `no/${n}`, value: {} })) }),
      413,
      "TOO_LARGE",
    ],
    ["a name without a collection", '{"writes":[{"doc":"noname","value":{}}]}', 400, "NAME_INVALID"],
    [
      "a client_tx_id with a space",
      '{"client_tx_id":"a b","writes":[{"doc":"no/a","value":{}}]}',
      400,
      "NAME_INVALID",
    ],
    [
      "half a surrogate pair in the message",
      '{"message":"\\ud800","writes":[{"doc":"no/a","value":{}}]}',
      400,
      "BAD_REQUEST",
    ],
    ["a __proto__ key in a value", value('{"__proto__":{"x":1}}'), 422, "VALUE_INVALID"],
    ["a number beyond a double", value('{"a":1e400}'), 422, "VALUE_INVALID"],
    ["an integer beyond 2^53", value('{"a":9007199254740993}'), 422, "VALUE_INVALID"],
    ["half a surrogate pair", value('{"a":"\\udc00"}'), 422, "VALUE_INVALID"],
    ["10,000 levels", value(`${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`), 422, "VALUE_INVALID"],
    [
      "a million lists in a patch",
      write({ patch: {} }).replace("{}", `{"a":${"[".repeat(1e6)}${"]".repeat(1e6)}}`),
      422,
      "VALUE_INVALID",
    ],
    ["a million lists instead of a request", `${"[".repeat(1e6)}${"]".repeat(1e6)}`, 400, "BAD_REQUEST"],
    ["changes that are not base64", write({ changes: ["%%%"] }), 400, "BAD_REQUEST"],
    ["half a base64 group", write({ changes: ["AAAAA"] }), 400, "BAD_REQUEST"],
    ["an empty change", write({ changes: [""] }), 400, "BAD_REQUEST"],
    ["no changes", write({ changes: [] }), 400, "BAD_REQUEST"],
    [
      "bytes that are no change",
      write({ changes: [Buffer.from("nonsense, long enough for a chunk").toString("base64")] }),
      400,
      "CHANGE_MALFORMED",
    ],
    [
      "a flipped bit",
      changes(good.bytes.map((byte, i) => (i === good.bytes.length - 1 ? byte ^ 1 : byte))),
      400,
      "CHANGE_CHECKSUM",
    ],
    [
      "a missing dependency",
      changes(spoil(good.bytes, (parts) => (parts.deps = [new Uint8Array(32).fill(7)]))),
      422,
      "CHANGE_DEPS_MISSING",
    ],
    ["a seq that leaves a gap", changes(spoil(good.bytes, (parts) => (parts.seq = 5))), 422, "CHANGE_SEQ"],
    [
      "a startOp beyond the next",
      changes(spoil(good.bytes, (parts) => (parts.startOp = 1000))),
      422,
      "CHANGE_START_OP",
    ],
    ["a hundred bytes that are a million list items", changes(MILLION), 413, "CHANGE_TOO_LARGE"],
  ])("%s", async (_what, body, status, code) => {
    const before = await seqNow();
    problem(await ask("POST", TX, { headers: { "content-type": "application/json" }, body }), status, code);
    expect(await seqNow()).toBe(before);
  });

  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
    "application/json5",
    "__proto__",
    "constructor",
  ])("the content type %j", async (type) => {
    const wrong = await ask("POST", TX, { headers: { "content-type": type }, body: value("{}") });
    expect(problem(wrong, 415, "UNSUPPORTED_MEDIA_TYPE")["accept"]).toEqual(["application/json"]);
  });

  test("a content encoding, and takes parameters of the content type", async () => {
    const headers = { "content-type": "Application/JSON; charset=utf-8" };
    problem(
      await tx(value("{}"), { headers: { ...headers, "content-encoding": "gzip" } }),
      415,
      "UNSUPPORTED_MEDIA_TYPE",
    );
    expect((await tx('{"writes":[{"doc":"yes/a","value":{}}]}', { headers })).status).toBe(200);
  });

  test("another branch, another db, another method", async () => {
    problem(await tx(value("{}"), {}, `${DB}/branches/draft/tx`), 404, "BRANCH_NOT_FOUND");
    problem(await tx(value("{}"), {}, `${API}/db/none/branches/main/tx`), 404, "DB_NOT_FOUND");
    problem(await tx(value("{}"), {}, `${API}/db/../branches/main/tx`), 400, "NAME_INVALID");
    problem(await ask("GET", TX), 405, "METHOD_NOT_ALLOWED");
  });

  test("changes of an actor that is another principal's, or the server's own", async () => {
    const [first, second] = changesOf("d4".repeat(16), 2);
    const { token } = await ask.token(["notes:doc.write"], { subject: "ann" });
    const { token: other } = await ask.token(["notes:doc.write"], { subject: "bob" });
    await tx({ writes: [{ doc: "actor/a", changes: [first?.base64] }] }, { token });
    problem(
      await tx({ writes: [{ doc: "actor/a", changes: [second?.base64] }] }, { token: other }),
      403,
      "CHANGE_ACTOR",
    );
    // Whoever administers the db may bring in what others made.
    expect((await tx({ writes: [{ doc: "actor/a", changes: [second?.base64] }] })).status).toBe(200);
  });
});
