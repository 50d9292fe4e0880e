import fc from "fast-check";
import { auditQuery, exportName, NO_FILTERS } from "../../src/ui/audit.ts";
import { shareOf } from "../../src/ui/lines.ts";
import { dbPoints, docPoints, placeIn, shareAt, summary, ticks } from "../../src/ui/timeline.ts";

describe("the points that are compared", () => {
  test("a commit is compared with its first parent, since the seq before may be another branch's", () => {
    const commit = { branch: "draft", seq: 9, parents: ["bafyparent", "bafyother"] };
    expect(dbPoints(commit, "before")).toEqual({ from: "draft@bafyparent", to: "draft@9" });
    expect(dbPoints(commit, "now")).toEqual({ from: "draft@9", to: "draft@" });
    expect(dbPoints({ branch: "main", seq: 1, parents: [] }, "before")).toEqual({
      from: "main@0",
      to: "main@1",
    });
  });

  test("a document is compared with the commit before that touched it, the first one with nothing", () => {
    const touches = [{ seq: 9 }, { seq: 4 }, { seq: 2 }];
    expect(docPoints(touches, 0, "before")).toEqual({ from: 4, to: 9 });
    expect(docPoints(touches, 2, "before")).toEqual({ from: 0, to: 2 });
    expect(docPoints(touches, 1, "now")).toEqual({ from: 4, to: undefined });
  });

  test("a commit is summed up by what it touched", () => {
    const entries = [
      { doc: "a/1", changes: [] },
      { doc: "a/2", changes: [], deleted: true },
    ];
    expect(summary({ entries, events: ["e"] })).toEqual({ docs: 2, deleted: 1, first: "a/1", events: 1 });
  });
});

describe("the line of commits", () => {
  test("has round places in order, its ends among them, and never too many", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_000_000 }), fc.integer({ min: 2, max: 12 }), (last, most) => {
        const places = ticks(last, most);
        expect(places[0]).toBe(1);
        expect(places.at(-1)).toBe(last);
        expect(places).toEqual([...new Set(places)].toSorted((a, b) => a - b));
        expect(places.length).toBeLessThanOrEqual(most + 1);
        expect(places.every((place) => Number.isInteger(place))).toBe(true);
      }),
    );
    expect(ticks(1_000_000, 6)).toEqual([1, 200_000, 400_000, 600_000, 800_000, 1_000_000]);
    expect(ticks(0, 5)).toEqual([]);
  });

  test("a place on it is a share of its length, and a typed one is brought within", () => {
    expect(shareAt(1, 1, 101)).toBe(0);
    expect(shareAt(51, 1, 101)).toBe(0.5);
    expect(shareAt(7, 1, 1)).toBe(1);
    expect(placeIn("#12,345", 20_000)).toBe(12_345);
    expect(placeIn(" 99 ", 20)).toBe(20);
    expect(placeIn("0", 20)).toBe(1);
    expect(placeIn("bafy12", 20)).toBeUndefined();
    expect(placeIn("", 20)).toBeUndefined();
  });
});

describe("lines of long work", () => {
  test("say how far it is", () => {
    expect(shareOf({ done: 1, of: 4 })).toBe(0.25);
    expect(shareOf({ checked: 4, of: 4, stage: "log" })).toBe(1);
    expect(shareOf({ done: 0, of: 0 })).toBe(1);
    expect(shareOf({ bytes: 10 })).toBeUndefined();
  });
});

describe("the filters of the audit", () => {
  test("become a query of those that are set, with local times as instants", () => {
    expect(auditQuery(NO_FILTERS)).toBe("");
    expect(auditQuery({ ...NO_FILTERS, db: " movies ", action: "token.create" }, { limit: "50" })).toBe(
      "?db=movies&action=token.create&limit=50",
    );
    const local = "2026-01-02T03:04";
    expect(auditQuery({ ...NO_FILTERS, since: local, until: "nonsense" })).toBe(
      `?since=${encodeURIComponent(new Date(local).toISOString())}`,
    );
  });

  test("and a file that is named after its time", () => {
    expect(exportName("csv", new Date("2026-01-02T03:04:05.678Z"))).toBe("skald-audit-2026-01-02T030405.csv");
  });
});
