import { deflateRawSync } from "node:zlib";
import * as A from "@automerge/automerge";
import { DEFAULT_CHANGE_LIMITS } from "../../src/log/guard.ts";
import { DEFAULT_SAVED_DOCUMENT_LIMITS, guardSavedDocument } from "../../src/log/saved-document.ts";
import { concat, frame, sleb, spoil, uleb } from "../support/change-chunks.ts";
import { lastChange, subjects } from "../support/change-mutations.ts";

type Refusal = { code?: string; details?: Record<string, unknown> };

function refusal(bytes: Uint8Array, limits = DEFAULT_SAVED_DOCUMENT_LIMITS): Refusal {
  try {
    guardSavedDocument(bytes, limits);
  } catch (error) {
    return { code: (error as Refusal).code as string, details: (error as Refusal).details ?? {} };
  }
  return {};
}

type Column = readonly [number, Uint8Array | readonly number[]];

/** A document chunk of no actors and no heads with these columns. */
function documentOf(changes: readonly Column[], ops: readonly Column[]): Uint8Array {
  const specs = (columns: readonly Column[]): number[] => [
    ...uleb(columns.length),
    ...columns.flatMap(([spec, data]) => [...uleb(spec), ...uleb(data.length)]),
  ];
  const data = [...changes, ...ops].map(([, bytes]) => bytes);
  return frame(concat([0, 0], specs(changes), specs(ops), ...data), 0);
}

type Doc = Record<string, unknown> & { t: string; l: unknown[] };

function longHistory(): A.Doc<Doc> {
  let doc = A.from<Doc>({ t: "", l: [] }, { actor: "05".repeat(16) });
  for (let i = 0; i < 200; i++) {
    doc = A.change(doc, { time: i, message: i % 7 ? "" : `é${i}` }, (draft) => {
      A.splice(draft, ["t"], i, 0, `x${i}`);
      draft.l.push({ i });
      draft[`k${i % 9}`] = i;
    });
  }
  return doc;
}

describe("a saved document", () => {
  test("is counted as Automerge counts it", () => {
    const docs = subjects().map(({ saved, change }) => A.applyChanges(A.load(saved), [change])[0]);
    for (const doc of [...docs, longHistory()]) {
      const { numOps, numChanges } = A.stats(doc);
      const saved = A.save(doc);
      expect(guardSavedDocument(saved)).toMatchObject({ ops: numOps, changes: numChanges });
    }
  });

  test("with deflated columns is counted in full", () => {
    const saved = A.save(longHistory());
    const { inflatedBytes } = guardSavedDocument(saved);
    expect(inflatedBytes).toBeGreaterThan(saved.length);
  });

  test("may be followed by changes and by another document", () => {
    const doc = longHistory();
    const saved = A.save(doc);
    const before = guardSavedDocument(saved);
    const later = A.change(doc, { time: 0 }, (draft) => {
      draft["later"] = 1;
    });
    expect(guardSavedDocument(concat(saved, lastChange(later)))).toMatchObject({
      ops: before.ops + 1,
      changes: before.changes + 1,
    });
    expect(guardSavedDocument(concat(saved, saved)).ops).toBe(2 * before.ops);
  });

  test("is refused when any bit differs or it is cut short", () => {
    const saved = subjects()[0]?.saved as Uint8Array;
    for (let at = 0; at < saved.length; at++) {
      const bytes = saved.slice();
      bytes[at] = (bytes[at] as number) ^ (1 << (at & 7));
      expect(refusal(bytes).code).toMatch(/^CHANGE_(MALFORMED|CHECKSUM)$/);
      expect(refusal(saved.subarray(0, at)).code).toBe("CHANGE_MALFORMED");
    }
  });

  test("is refused when run lengths stand for more operations than the limit", () => {
    const n = 10_000_000;
    const bytes = documentOf([[0x01, [0x7f, 0]]], [[0x42, [...sleb(n), 1]]]);
    expect(bytes.length).toBeLessThan(40);
    expect(refusal(bytes)).toMatchObject({ code: "CHANGE_TOO_LARGE", details: { limit: "ops", found: n } });
  });

  test("is refused when run lengths stand for more changes than the limit", () => {
    const bytes = documentOf([[0x01, [...sleb(10_000_000), 0]]], []);
    expect(refusal(bytes)).toMatchObject({ code: "CHANGE_TOO_LARGE", details: { limit: "changes" } });
  });

  test("is refused when a column that is not the counted one is the long one", () => {
    const one = [0x42, [0x7f, 1]] as const;
    const million = sleb(1_000_000);
    expect(refusal(documentOf([], [[0x34, uleb(1_000_000)], one]))).toMatchObject({
      details: { reason: "columns-differ" },
    });
    expect(refusal(documentOf([], [[0x15, [...million, 1, 0x61]], one]))).toMatchObject({
      details: { reason: "columns-differ" },
    });
    expect(refusal(documentOf([], [one, [0x80, [0x7f, ...uleb(2 ** 40)]]]))).toMatchObject({
      code: "CHANGE_TOO_LARGE",
      details: { limit: "references" },
    });
    expect(
      refusal(documentOf([], [one, [0x56, [0x7f, ...uleb(16 * 1_000_000)]], [0x57, [1]]])),
    ).toMatchObject({
      details: { reason: "value-length" },
    });
  });

  test("is refused when its operation numbers are beyond the limit, though there are few of them", () => {
    const subject = subjects().find(({ name }) => name === "one set");
    const far = spoil(subject?.change as Uint8Array, (parts) => (parts.startOp = 1_000_000));
    const saved = A.save(A.applyChanges(A.load(subject?.saved as Uint8Array), [far])[0]);
    expect(guardSavedDocument(saved).ops).toBeLessThan(100);
    const limits = { ...DEFAULT_SAVED_DOCUMENT_LIMITS, change: { ...DEFAULT_CHANGE_LIMITS, maxOp: 999_999 } };
    expect(refusal(saved, limits)).toMatchObject({ code: "CHANGE_TOO_LARGE", details: { limit: "maxOp" } });
  });

  test("is refused when its columns inflate beyond the limit, one by one or together", () => {
    const packed = deflateRawSync(new Uint8Array(40 * 1024 * 1024));
    const limits = { ...DEFAULT_SAVED_DOCUMENT_LIMITS, inflatedBytes: 32 * 1024 * 1024 };
    expect(refusal(documentOf([], [[0x5f, packed]]), limits)).toMatchObject({
      code: "CHANGE_TOO_LARGE",
      details: { limit: "inflatedBytes" },
    });
    const half = deflateRawSync(new Uint8Array(20 * 1024 * 1024));
    expect(refusal(documentOf([[0x5f, half]], [[0x5f, half]]), limits).code).toMatch(/^CHANGE_/);
  });

  test("is refused when it holds a chunk of another type, or nothing", () => {
    expect(refusal(frame(new Uint8Array([0]), 3)).details).toMatchObject({ reason: "type", type: 3 });
    expect(refusal(new Uint8Array()).code).toBe("CHANGE_MALFORMED");
  });
});
