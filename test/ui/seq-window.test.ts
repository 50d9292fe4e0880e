import { Latest, PassedOver, SeqWindow } from "../../src/ui/seq-window.ts";

interface Asked {
  readonly first: number;
  readonly signal: AbortSignal;
  readonly answer: (rows?: readonly string[]) => void;
  readonly fail: (error: Error) => void;
}

function windowOf(options?: { keep?: number; abreast?: number; waiting?: number; length?: number }) {
  const { length = 1_000_000, ...rest } = options ?? {};
  const asked: Asked[] = [];
  const rows = new SeqWindow<string>(
    (first, count, signal) =>
      new Promise((resolve, reject) => {
        const all = Array.from(
          { length: Math.max(0, Math.min(count, length - first)) },
          (_, i) => `${first + i}`,
        );
        asked.push({ first, signal, answer: (some = all) => resolve(some), fail: reject });
      }),
    { page: 10, ...rest },
  );
  return { asked, rows };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a window onto a long list", () => {
  test("loads the page of a row once, however many of its rows are asked for", async () => {
    const { asked, rows } = windowOf();
    const some = Promise.all([rows.row(500_000), rows.row(500_009), rows.row(500_003)]);
    expect(asked.map(({ first }) => first)).toEqual([500_000]);
    expect(rows.peek(500_003)).toBeUndefined();
    asked[0]?.answer();
    expect(await some).toEqual(["500000", "500009", "500003"]);
    expect(rows.peek(500_003)).toBe("500003");
    expect(await rows.row(500_001)).toBe("500001");
    expect(asked).toHaveLength(1);
  });

  test("of many wishes the latest go first, a few at a time, and the oldest are passed over", async () => {
    const { asked, rows } = windowOf({ abreast: 2, waiting: 2 });
    const wishes = [0, 10, 20, 30, 40, 50].map((index) => rows.row(index).catch((error: unknown) => error));
    expect(asked.map(({ first }) => first)).toEqual([0, 10]);
    asked[0]?.answer();
    await turn();
    expect(asked.map(({ first }) => first)).toEqual([0, 10, 50]);
    asked[1]?.answer();
    await turn();
    asked[2]?.answer();
    await turn();
    asked[3]?.answer();
    const [first, second, third, fourth, fifth, sixth] = await Promise.all(wishes);
    expect([first, second, fifth, sixth]).toEqual(["0", "10", "40", "50"]);
    expect(third).toBeInstanceOf(PassedOver);
    expect(fourth).toBeInstanceOf(PassedOver);
    const again = rows.row(20);
    asked[4]?.answer();
    expect(await again).toBe("20");
  });

  test("keeps the pages used last and no more", async () => {
    const { asked, rows } = windowOf({ keep: 3 });
    for (const index of [0, 10, 20, 5, 30]) {
      const row = rows.row(index);
      asked.at(-1)?.answer();
      await row;
    }
    expect([0, 10, 20, 30].map((index) => rows.peek(index))).toEqual(["0", undefined, "20", "30"]);
    expect(asked).toHaveLength(4);
  });

  test("a failed page is asked for again by the next who wants it", async () => {
    const { asked, rows } = windowOf();
    const failed = rows.row(3);
    asked[0]?.fail(new Error("no network"));
    await expect(failed).rejects.toThrow("no network");
    const again = rows.row(3);
    asked[1]?.answer();
    expect(await again).toBe("3");
  });

  test("a row behind the end is undefined, and is there once the list has grown and been reset from it", async () => {
    const { asked, rows } = windowOf({ length: 14 });
    const beyond = rows.row(15);
    asked[0]?.answer();
    expect(await beyond).toBeUndefined();
    const first = rows.row(0);
    asked[1]?.answer();
    await first;
    rows.reset(14);
    expect(rows.peek(0)).toBe("0");
    const grown = rows.row(15);
    asked[2]?.answer(["10", "11", "12", "13", "14", "15"]);
    expect(await grown).toBe("15");
  });

  test("starting over ends what is under way", () => {
    const { asked, rows } = windowOf();
    void rows.row(0).catch(() => {});
    rows.reset();
    expect(asked[0]?.signal.aborted).toBe(true);
    void rows.row(0).catch(() => {});
    expect(asked[1]?.signal.aborted).toBe(false);
  });
});

describe("the latest of many", () => {
  test("is the only one that counts, also when an earlier one fails or ends after it", async () => {
    const latest = new Latest();
    const ends: ((value: string) => void)[] = [];
    const work = (signal: AbortSignal): Promise<string> =>
      new Promise((resolve, reject) => {
        ends.push(resolve);
        if (ends.length === 1) signal.addEventListener("abort", () => reject(new Error("aborted")));
      });
    const results = [latest.run(work), latest.run(work), latest.run(work)];
    ends[2]?.("third");
    ends[1]?.("second");
    expect(await Promise.all(results)).toEqual([undefined, undefined, "third"]);
    await expect(latest.run(() => Promise.reject(new Error("really")))).rejects.toThrow("really");
  });
});
