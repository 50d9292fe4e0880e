import * as A from "@automerge/automerge";
import fc from "fast-check";
import { openDocuments } from "./fixture.ts";

const { documents, newLog } = openDocuments();

describe("a JSON value put into a document", () => {
  test("reads back as it was, whatever its keys and values", async () => {
    const log = newLog();
    const text =
      '{"":{"":[]},"__proto__":{"__proto__":1,"a":[{"__proto__":"x"}]},"constructor":{"prototype":null},' +
      '"empty":{},"floats":[0.1,-0,1e+21,-1.5e-300,9.007199254740992e+15],"ints":[0,-7,9007199254740991],' +
      '"list":[[],[[]],{},null,true,false],"text":"tab\\t nul\\u0000 é 日本 😀 \\"q\\"","toString":"own","é":1,"￮":2,"😀":3}';
    await log.put(text);
    expect(await log.json()).toBe(text);
  });

  test("has its keys in code point order, digits included", async () => {
    const log = newLog();
    await log.put('{"b":1,"10":1,"9":1,"a":{"2":1,"1":1,"01":1}}');
    expect(await log.json()).toBe('{"10":1,"9":1,"a":{"01":1,"1":1,"2":1},"b":1}');
  });

  test("is refused for an integer that JSON numbers cannot carry, with a pointer to it", async () => {
    const log = newLog();
    await expect(log.put('{"a":{"b/c":[1,9007199254740993]}}')).rejects.toMatchObject({
      code: "VALUE_INVALID",
      details: { errors: [{ pointer: "/a/b~1c/1" }] },
    });
    await expect(log.put('{"n":-12345678901234567890}')).rejects.toMatchObject({ code: "VALUE_INVALID" });
    await expect(log.put('{"n":1e400}')).rejects.toMatchObject({ code: "VALUE_INVALID" });
    await log.put('{"id":"12345678901234567890","n":12345678901234567890.5}');
    expect(await log.value()).toEqual({ id: "12345678901234567890", n: 12345678901234567000 });
  });

  test("is refused for half a surrogate pair, in a string or a key", async () => {
    const log = newLog();
    await expect(log.put('{"a":["ok","\\ud800"],"\\udc00":1}')).rejects.toMatchObject({
      code: "VALUE_INVALID",
      details: { errors: [{ pointer: "/a/1" }, { pointer: "" }] },
    });
    await log.put('{"a":"\\ud83d\\ude00"}');
    expect(await log.value()).toEqual({ a: "😀" });
  });

  test("is refused below 64 levels and when its root is not an object", async () => {
    const log = newLog();
    const nested = (levels: number) => '{"a":'.repeat(levels) + "1" + "}".repeat(levels);
    await log.put(nested(64));
    expect(await log.json()).toBe(nested(64));
    await expect(log.put(nested(65))).rejects.toMatchObject({ code: "VALUE_INVALID" });
    await expect(log.put("[".repeat(200_000) + "]".repeat(200_000))).rejects.toMatchObject({
      code: "VALUE_INVALID",
    });
    for (const root of ["[]", "1", "null", '"x"']) {
      await expect(log.put(root)).rejects.toMatchObject({ code: "VALUE_INVALID" });
    }
    await expect(log.put("{")).rejects.toMatchObject({ code: "BAD_JSON" });
  });
});

describe("a document written by another Automerge client", () => {
  type Foreign = Record<string, unknown>;
  const foreign = A.change(A.init<Foreign>({ actor: "ee".repeat(16) }), { time: 1 }, (doc) => {
    doc["bytes"] = new Uint8Array([251, 255, 0]);
    doc["date"] = new Date(Date.UTC(2024, 1, 29));
    doc["counter"] = new A.Counter(5);
    doc["raw"] = new A.ImmutableString("raw");
    doc["big"] = 2n ** 63n - 1n;
    doc["uint"] = new A.Uint(7);
    doc["nan"] = Number.NaN;
    doc["list"] = [new A.Counter(1), new Date(0)];
  });

  function foreignLog() {
    const log = newLog();
    log.changes.push(...A.getAllChanges(foreign));
    log.heads = A.getHeads(foreign);
    return log;
  }

  test("has a JSON form for every type", async () => {
    expect(await foreignLog().json()).toBe(
      '{"big":9223372036854775807,"bytes":{"/":{"bytes":"+/8A"}},"counter":5,"date":"2024-02-29T00:00:00.000Z",' +
        '"list":[1,"1970-01-01T00:00:00.000Z"],"nan":null,"raw":"raw","uint":7}',
    );
  });

  test("is not changed by putting back what was read", async () => {
    const log = foreignLog();
    expect((await log.put(await log.json())).change).toBeUndefined();
  });

  test("keeps its types where another value of the same kind is put", async () => {
    const log = foreignLog();
    const value = (await log.json())
      .replace('"counter":5', '"counter":8')
      .replace("2024-02-29", "2025-01-01")
      .replace('"raw":"raw"', '"raw":"cooked"')
      .replace("+/8A", "AAAA");
    await log.put(value);
    expect(await log.json()).toBe(value);
    const loaded = A.applyChanges(A.init<Foreign>(), log.changes)[0];
    expect(loaded["counter"]).toBeInstanceOf(A.Counter);
    expect(A.isImmutableString(loaded["raw"])).toBe(true);
    expect(Object.prototype.toString.call(loaded["date"])).toBe("[object Date]");
    expect(ArrayBuffer.isView(loaded["bytes"])).toBe(true);
    const last = A.decodeChange(log.changes.at(-1) as Uint8Array);
    expect(last.ops.map((op) => op.action).sort()).toEqual(["inc", "set", "set", "set"]);
  });
});

describe("any two JSON objects", () => {
  const json = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom(null, true, false),
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.string({ unit: "grapheme", maxLength: 12 }),
      fc.array(tie("value"), { maxLength: 6 }),
      tie("object"),
    ),
    object: fc.dictionary(
      fc.oneof(fc.constantFrom("a", "b", "c", "__proto__", "toString", "1"), fc.string({ maxLength: 3 })),
      tie("value"),
      { maxKeys: 6, noNullPrototype: true },
    ),
  }));

  /** As the service writes it, so that -0 and floats beyond 2^53 are told apart. */
  function exact(value: unknown): string {
    if (typeof value === "number") {
      if (Object.is(value, -0)) return "-0";
      return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : String(value);
    }
    if (typeof value !== "object" || value === null) return JSON.stringify(value);
    if (Array.isArray(value)) return `[${value.map(exact).join(",")}]`;
    const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${keys.map((key) => `${JSON.stringify(key)}:${exact((value as Record<string, unknown>)[key])}`).join(",")}}`;
  }

  test("put one after the other read as the second, and the diff between them is exact", async () => {
    await fc.assert(
      fc.asyncProperty(json.object, json.object, async (first, second) => {
        const log = newLog();
        await log.put(exact(first));
        const before = log.heads;
        expect(await log.json()).toBe(exact(first));
        const written = await log.put(exact(second));
        expect(written.json).toBe(exact(second));
        expect(await log.json()).toBe(exact(second));
        expect(await log.json(before)).toBe(exact(first));
        const { patch } = await documents.diff({ ...log.at(), from: before, to: log.heads });
        const back = await log.edit({ kind: "json-patch", patch }, { heads: before });
        expect(back.json).toBe(exact(second));
      }),
      { numRuns: 100 },
    );
  });
});
