import fc from "fast-check";
import { MOST_HEIGHT, scrollTo, windowOf, type Seen } from "../../src/ui/window.ts";

const seen = fc.record({
  count: fc.oneof(fc.nat(50), fc.nat(100_000), fc.nat(5_000_000)),
  rowHeight: fc.integer({ min: 20, max: 60 }),
  viewHeight: fc.integer({ min: 0, max: 2000 }),
  scrollTop: fc.oneof(fc.nat(20_000_000), fc.constant(0), fc.constant(MOST_HEIGHT)),
});
const most = ({ count, rowHeight, viewHeight }: Seen): number =>
  Math.max(0, Math.min(count * rowHeight, MOST_HEIGHT) - viewHeight);

test("what is drawn covers what is seen, whatever the length of the list and the place", () => {
  fc.assert(
    fc.property(seen, (at) => {
      const { first, end, offset, height } = windowOf(at);
      const top = Math.min(at.scrollTop, most(at));
      const drawn = end - first;
      expect(height).toBe(Math.min(at.count * at.rowHeight, MOST_HEIGHT));
      expect(first).toBeGreaterThanOrEqual(0);
      expect(end).toBeLessThanOrEqual(at.count);
      // Never more than a screen and the spare rows.
      expect(drawn).toBeLessThanOrEqual(Math.ceil(at.viewHeight / at.rowHeight) + 18);
      // From the top of the view, or of the list, to its bottom, or that of the list.
      expect(offset).toBeLessThanOrEqual(top + 1e-6);
      const bottom = Math.min(top + at.viewHeight, at.count * at.rowHeight);
      expect(offset + drawn * at.rowHeight).toBeGreaterThanOrEqual(bottom - 1e-6);
    }),
  );
});

test("every row can be scrolled to, and is then whole in sight", () => {
  fc.assert(
    fc.property(seen, fc.nat(), (at, wanted) => {
      fc.pre(at.count > 0 && at.viewHeight > 2 * at.rowHeight);
      const row = wanted % at.count;
      const scrollTop = scrollTo(row, at);
      expect(scrollTop).toBeGreaterThanOrEqual(0);
      const next = { ...at, scrollTop };
      const { first, offset } = windowOf(next);
      const top = offset + (row - first) * at.rowHeight - Math.min(scrollTop, most(next));
      expect(top).toBeGreaterThanOrEqual(-1);
      expect(top + at.rowHeight).toBeLessThanOrEqual(Math.max(at.viewHeight, at.rowHeight) + 1);
    }),
  );
});

test("a list that fits is drawn whole and does not scroll", () => {
  const at = { count: 3, rowHeight: 30, viewHeight: 500, scrollTop: 0 };
  expect(windowOf(at)).toEqual({ height: 90, first: 0, end: 3, offset: 0 });
  expect(scrollTo(2, at)).toBe(0);
});
