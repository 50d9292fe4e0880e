import {
  arrive,
  begin,
  decide,
  isDirty,
  mineOf,
  patchOf,
  saved,
  typed,
  type Editing,
  type Stored,
} from "../../src/ui/doc-editing.ts";

const stored = (value: Stored["value"], etag = JSON.stringify(value)): Stored => ({ value, etag });
const BASE = stored({ title: "Alien", year: 1979 });
const edit = (value: object, from: Editing = begin(BASE)): Editing => typed(from, JSON.stringify(value));

test("who has changed nothing sees what others write", () => {
  const next = arrive(begin(BASE), stored({ title: "Aliens", year: 1986 }));
  expect(mineOf(next)).toEqual({ title: "Aliens", year: 1986 });
  expect(isDirty(next)).toBe(false);
});

test("another order or spacing is no change", () => {
  expect(isDirty(edit({ year: 1979, title: "Alien" }))).toBe(false);
  expect(patchOf(edit({ year: 1979, title: "Alien" }))).toEqual([]);
});

test("changes of different places come together, and what is sent is ours alone", () => {
  const next = arrive(edit({ title: "Alien!", year: 1979 }), stored({ title: "Alien", year: 1980 }));
  expect(next.theirs).toBeUndefined();
  expect(mineOf(next)).toEqual({ title: "Alien!", year: 1980 });
  expect(patchOf(next)).toEqual([{ op: "replace", path: "/title", value: "Alien!" }]);
});

describe("changes of the same place", () => {
  const theirs = stored({ title: "ALIEN", year: 1980 });
  const mine = { title: "Alien!", year: 1979, rating: 9 };
  const clash = arrive(edit(mine), theirs);

  test("wait for a decision and leave the text as it is", () => {
    expect(clash.clashes).toEqual(["/title"]);
    expect(clash.theirs).toBe(theirs);
    expect(mineOf(clash)).toEqual(mine);
  });
  test("ours on top of theirs keeps what they changed elsewhere", () => {
    const next = decide(clash, "mine");
    expect(mineOf(next)).toEqual({ title: "Alien!", year: 1980, rating: 9 });
    expect(next.base).toBe(theirs);
    expect(next.theirs).toBeUndefined();
  });
  test("theirs keeps what we changed elsewhere", () => {
    expect(mineOf(decide(clash, "theirs"))).toEqual({ title: "ALIEN", year: 1980, rating: 9 });
  });
  test("ours can be dropped", () => {
    expect(isDirty(decide(clash, "drop"))).toBe(false);
    expect(mineOf(decide(clash, "drop"))).toEqual(theirs.value);
  });
  test("are none any more once we write what they did", () => {
    const next = edit({ title: "ALIEN", year: 1979 }, clash);
    expect(next.theirs).toBeUndefined();
    expect(next.base).toBe(theirs);
  });
});

test("while the text is no document what others write waits, and comes in once it is one", () => {
  const theirs = stored({ title: "Alien", year: 1980 });
  const broken = arrive(typed(begin(BASE), '{"title": "Alien'), theirs);
  expect(broken.theirs).toBe(theirs);
  expect(broken.text).toBe('{"title": "Alien');
  const next = typed(broken, '{"title": "Alien!", "year": 1979}');
  expect(next.theirs).toBeUndefined();
  expect(mineOf(next)).toEqual({ title: "Alien!", year: 1980 });
});

test("a document deleted by others keeps what was written here until it is dropped", () => {
  const next = arrive(edit({ title: "Alien!", year: 1979 }), null);
  expect(next.theirs).toBeNull();
  expect(isDirty(next)).toBe(true);
  // Somebody else brought it back.
  const back = arrive(next, stored({ title: "Alien", year: 1981 }));
  expect(back.theirs).toBeUndefined();
  expect(mineOf(back)).toEqual({ title: "Alien!", year: 1981 });
});

test("what is typed while a save is under way is not lost, and is what is sent next", () => {
  const sent = { title: "Alien!", year: 1979 };
  const more = edit({ title: "Alien!!", year: 1979 }, edit(sent));
  const next = saved(more, sent, '"2"');
  expect(isDirty(next)).toBe(true);
  expect(patchOf(next)).toEqual([{ op: "replace", path: "/title", value: "Alien!!" }]);
  // The event of one's own save brings nothing new.
  expect(arrive(next, stored(sent, '"2"'))).toEqual(next);
});
