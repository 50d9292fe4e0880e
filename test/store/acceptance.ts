import type { LogStorage, StoredRecord } from "../../src/store/contract.ts";

/** Ways to one storage of one db: made once, then opened as often as wanted. */
export interface StorageFixture {
  readonly create: () => LogStorage;
  readonly open: (options?: { readonly?: boolean }) => LogStorage;
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const records = (from: number, to: number): StoredRecord[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ seq: from + i, body: bytes(`record ${from + i}`) }));
const plain = (list: readonly StoredRecord[]) =>
  list.map(({ seq, body }) => [seq, Buffer.from(body).toString()]);
const text = (body: Uint8Array | undefined) => body && Buffer.from(body).toString();

/** What every engine behind `LogStorage` must do. `fixture` gives a fresh, empty place each time. */
export function acceptsAsLogStorage(name: string, fixture: () => StorageFixture): void {
  describe(`${name} as a log storage`, () => {
    test("starts empty and says which db it is", () => {
      const { create, open } = fixture();
      const made = create();
      expect(made.last()).toBe(0);
      expect(made.page(1, 10)).toEqual([]);
      expect(made.read(1)).toBeUndefined();
      const { identity } = made;
      expect(identity.uid).toHaveLength(16);
      expect(identity.actor).toHaveLength(16);
      expect(Buffer.from(identity.uid).equals(Buffer.from(identity.actor))).toBe(false);
      made.close();
      const again = open();
      expect(again.identity.dbId).toBe(identity.dbId);
      expect(Buffer.from(again.identity.uid)).toEqual(Buffer.from(identity.uid));
      expect(Buffer.from(again.identity.actor)).toEqual(Buffer.from(identity.actor));
      expect(again.identity.created).toBe(identity.created);
      again.close();
    });

    test("gives back what was appended, in order and byte by byte, also after it was opened again", async () => {
      const { create, open } = fixture();
      const storage = create();
      await storage.append(records(1, 3));
      await storage.append([{ seq: 4, body: new Uint8Array([0, 255, 0]) }]);
      await storage.append([{ seq: 5, body: new Uint8Array(300_000).fill(7) }]);
      const check = (held: LogStorage): void => {
        expect(held.last()).toBe(5);
        expect(text(held.read(2))).toBe("record 2");
        expect([...(held.read(4) ?? [])]).toEqual([0, 255, 0]);
        expect(held.read(5)?.every((byte) => byte === 7)).toBe(true);
        expect(plain(held.page(1, 3))).toEqual(plain(records(1, 3)));
        expect(held.page(2, 100).map(({ seq }) => seq)).toEqual([2, 3, 4, 5]);
        for (const seq of [0, -1, 6, 1.5, Number.NaN, Number.MAX_SAFE_INTEGER])
          expect(held.read(seq)).toBeUndefined();
        expect(held.inspect()).toEqual([]);
      };
      check(storage);
      storage.close();
      const again = open();
      check(again);
      again.close();
    });

    test("keeps its own copy of a record", async () => {
      const storage = fixture().create();
      const body = bytes("as it was");
      await storage.append([{ seq: 1, body }]);
      body.fill(0);
      expect(text(storage.read(1))).toBe("as it was");
      storage.close();
    });

    test("appends all or nothing", async () => {
      const storage = fixture().create();
      await storage.append(records(1, 2));
      for (const wrong of [
        records(4, 4),
        records(2, 2),
        [...records(3, 3), ...records(5, 5)],
        [...records(3, 3), ...records(3, 3)],
        records(3, 4).toReversed(),
      ]) {
        await expect(storage.append(wrong)).rejects.toBeDefined();
        expect(storage.last()).toBe(2);
        expect(storage.page(1, 10)).toHaveLength(2);
      }
      await storage.append(records(3, 3));
      expect(plain(storage.page(1, 10))).toEqual(plain(records(1, 3)));
      storage.close();
    });

    test("puts one record in the place of several, and reads it under each of their seqs", async () => {
      const { create, open } = fixture();
      const storage = create();
      await storage.append(records(1, 6));
      await storage.replace(2, 4, bytes("two to four"));
      await storage.replace(6, 6, bytes("six"));
      const check = (held: LogStorage): void => {
        expect(held.last()).toBe(6);
        expect([1, 2, 3, 4, 5, 6].map((seq) => text(held.read(seq)))).toEqual([
          "record 1",
          "two to four",
          "two to four",
          "two to four",
          "record 5",
          "six",
        ]);
        expect(plain(held.page(1, 10))).toEqual([
          [1, "record 1"],
          [4, "two to four"],
          [5, "record 5"],
          [6, "six"],
        ]);
        expect(held.ranges()).toEqual([{ first: 2, last: 4 }]);
        expect(plain(held.page(3, 1))).toEqual([[4, "two to four"]]);
        expect(held.inspect()).toEqual([]);
      };
      check(storage);
      storage.close();
      const again = open();
      check(again);
      await again.append(records(7, 7));
      await again.replace(1, 5, bytes("one to five"));
      expect(plain(again.page(1, 10))).toEqual([
        [5, "one to five"],
        [6, "six"],
        [7, "record 7"],
      ]);
      again.close();
    });

    test("replaces whole records only", async () => {
      const storage = fixture().create();
      await storage.append(records(1, 6));
      await storage.replace(2, 4, bytes("two to four"));
      const before = plain(storage.page(1, 10));
      for (const [from, to] of [
        [3, 4],
        [3, 5],
        [1, 3],
        [5, 9],
        [0, 1],
        [7, 7],
        [5, 4],
      ] as const)
        await expect(storage.replace(from, to, bytes("no"))).rejects.toBeDefined();
      expect(plain(storage.page(1, 10))).toEqual(before);
      expect(storage.inspect()).toEqual([]);
      storage.close();
    });

    test("gives space back once records were replaced by smaller ones", async () => {
      const storage = fixture().create();
      const body = new Uint8Array(20_000).fill(1);
      await storage.append(Array.from({ length: 100 }, (_, i) => ({ seq: i + 1, body })));
      storage.tidy();
      const before = storage.bytes();
      expect(before).toBeGreaterThan(2_000_000);
      await storage.replace(1, 100, new Uint8Array(1000));
      storage.tidy();
      expect(storage.bytes()).toBeLessThan(before / 10);
      expect(storage.read(50)).toHaveLength(1000);
      expect(storage.inspect()).toEqual([]);
      storage.close();
    });

    test("takes a record that stands for several", async () => {
      const { create, open } = fixture();
      const storage = create();
      await storage.append([{ first: 1, seq: 5, body: bytes("one to five") }, ...records(6, 7)]);
      await expect(storage.append([{ first: 7, seq: 9, body: bytes("again") }])).rejects.toBeDefined();
      await expect(storage.append([{ first: 9, seq: 8, body: bytes("backwards") }])).rejects.toBeDefined();
      expect([storage.last(), storage.ranges()]).toEqual([7, [{ first: 1, last: 5 }]]);
      storage.close();
      const again = open();
      expect(again.inspect()).toEqual([]);
      expect([text(again.read(3)), text(again.read(5)), again.last()]).toEqual([
        "one to five",
        "one to five",
        7,
      ]);
      await again.append(records(8, 8));
      again.close();
    });

    test("stages another line beside the log, durably and without a gap, and drops it", async () => {
      const { create, open } = fixture();
      const storage = create();
      await storage.append(records(1, 5));
      expect(storage.staged()).toBeUndefined();
      await expect(storage.stage(records(7, 8))).rejects.toBeDefined();
      await storage.stage(records(3, 4));
      await expect(storage.stage(records(6, 6))).rejects.toBeDefined();
      await storage.stage(records(5, 7));
      const check = (held: LogStorage): void => {
        expect(held.staged()).toEqual({ first: 3, last: 7 });
        expect(plain(held.stagedPage(4, 2))).toEqual(plain(records(4, 5)));
        expect(held.last()).toBe(5);
        expect(plain(held.page(1, 10))).toEqual(plain(records(1, 5)));
        expect(held.inspect()).toEqual([]);
      };
      check(storage);
      storage.close();
      const again = open();
      check(again);
      await again.unstage();
      expect(again.staged()).toBeUndefined();
      await again.stage(records(1, 1));
      expect(again.staged()).toEqual({ first: 1, last: 1 });
      again.close();
    });

    test("adopts a staged line in the place of its own, which begins a life", async () => {
      const { create, open } = fixture();
      const storage = create();
      await storage.append(records(1, 6));
      await storage.replace(2, 5, bytes("two to five"));
      const line = (from: number, to: number): StoredRecord[] =>
        records(from, to).map(({ seq }) => ({ seq, body: bytes(`other ${seq}`) }));
      await storage.stage(line(4, 7));
      expect(storage.lives()).toEqual([]);
      const before = records(2, 3);
      const life = { epoch: 2, after: 3 };
      for (const wrong of [
        { from: 3, before: records(3, 3), behind: line(8, 8), life },
        { from: 2, before: records(2, 2), behind: line(8, 8), life },
        { from: 2, before, behind: line(9, 9), life },
        { from: 2, before, behind: line(8, 8), life: { epoch: 3, after: 3 } },
        { from: 2, before, behind: line(8, 8), life: { epoch: 2, after: 9 } },
      ]) {
        await expect(storage.adopt(wrong)).rejects.toBeDefined();
        expect(storage.last()).toBe(6);
        expect(storage.staged()).toEqual({ first: 4, last: 7 });
      }
      await storage.adopt({ from: 2, before, behind: line(8, 9), life });
      const check = (held: LogStorage): void => {
        expect(held.last()).toBe(9);
        expect(plain(held.page(1, 20))).toEqual(plain([...records(1, 3), ...line(4, 9)]));
        expect(held.staged()).toBeUndefined();
        expect(held.lives()).toEqual([life]);
        expect(held.ranges()).toEqual([]);
        expect(held.inspect()).toEqual([]);
      };
      check(storage);
      storage.close();
      const again = open();
      check(again);
      await again.append(records(10, 10));
      await again.adopt({ from: 10, before: [], behind: line(10, 11), life: { epoch: 3, after: 9 } });
      expect(again.last()).toBe(11);
      expect(again.lives()).toEqual([life, { epoch: 3, after: 9 }]);
      again.close();
    });

    test("reads read-only what another has open, and follows it", async () => {
      const { create, open } = fixture();
      const writer = create();
      await writer.append(records(1, 2));
      const reader = open({ readonly: true });
      expect(plain(reader.page(1, 10))).toEqual(plain(records(1, 2)));
      await expect(reader.append(records(3, 3))).rejects.toBeDefined();
      await writer.append(records(3, 3));
      expect(writer.last()).toBe(3);
      expect(reader.page(1, 10)).toHaveLength(3);
      writer.tidy();
      expect(reader.page(1, 10)).toHaveLength(3);
      expect([reader.last(), text(reader.read(3)), reader.read(4)]).toEqual([3, "record 3", undefined]);
      for (const seq of [0, -1, 1.5, Number.NaN]) expect(reader.read(seq)).toBeUndefined();
      reader.close();
      writer.close();
    });
  });
}
