import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { tempDir } from "../support/temp-dir.ts";
import { Book, compare, messageOf } from "./ledger.mjs";
import type { LoggedCommit } from "./ledger.mjs";

const cid = (seq: number): string => `bafy${seq}`;

/** Commits 1 to n as the server lists them; each but the third is of a transaction `t<seq>`. */
const logOf = (n: number): LoggedCommit[] =>
  Array.from({ length: n }, (_, i) => ({
    seq: i + 1,
    cid: cid(i + 1),
    parents: i === 0 ? [] : [cid(i)],
    time: new Date(1_700_000_000_000 + i).toISOString(),
    author: "admin",
    ...(i === 2 ? {} : { message: messageOf(`t${i + 1}`) }),
    entries: [{ doc: "a/b" }, { doc: "a/c" }],
  }));

function bookOf(n: number): Book {
  const book = new Book({ folder: tempDir(), db: "x", uid: "00".repeat(16) });
  for (let seq = 1; seq <= n; seq += 1)
    book.acknowledged({ seq, commit: cid(seq), ...(seq === 3 ? {} : { tx: `t${seq}` }) });
  return book;
}

/** The log with commit `seq` altered. */
const altered = (seq: number, change: Partial<LoggedCommit>): LoggedCommit[] =>
  logOf(6).map((commit) => (commit.seq === seq ? { ...commit, ...change } : commit));

describe("a log beside what was acknowledged", () => {
  test("that is as it was told is sound", () => {
    expect(compare(bookOf(6), logOf(6)).wrong).toEqual([]);
  });

  test.each<[string, () => { book: Book; log: LoggedCommit[] }, RegExp]>([
    ["that lacks its end", () => ({ book: bookOf(6), log: logOf(5) }), /seq 6 .* is not there/],
    [
      "with another commit in a place",
      () => ({ book: bookOf(6), log: altered(4, { cid: "bafyother" }) }),
      /seq 4 was acknowledged as bafy4 and is bafyother/,
    ],
    [
      "of which an acknowledgement was falsified",
      () => {
        const book = bookOf(6);
        book.commits.set(2, "bafyfalse");
        return { book, log: logOf(6) };
      },
      /seq 2 was acknowledged as bafyfalse/,
    ],
    [
      "with a gap",
      () => ({ book: bookOf(6), log: logOf(6).filter(({ seq }) => seq !== 3) }),
      /seq 4 in place 3/,
    ],
    [
      "whose chain is cut",
      () => ({ book: bookOf(6), log: altered(5, { parents: ["bafyx"] }) }),
      /does not follow/,
    ],
    [
      "whose time runs back",
      () => ({ book: bookOf(6), log: altered(5, { time: "2001-01-01T00:00:00.000Z" }) }),
      /commit 5 is older/,
    ],
    [
      "with a commit that nobody sent",
      () => ({ book: bookOf(5), log: logOf(6) }),
      /t6 is there .* nobody was told/,
    ],
    [
      "with a commit without a name that nobody sent",
      () => {
        const book = bookOf(6);
        book.commits.delete(3);
        return { book, log: logOf(6) };
      },
      /1 commits that nobody was told of/,
    ],
    [
      "with one transaction twice",
      () => ({ book: bookOf(6), log: altered(6, { message: messageOf("t5") }) }),
      /t5 is there twice, as seq 5 and 6/,
    ],
    [
      "with a transaction that was refused",
      () => {
        const book = bookOf(5);
        book.refusedFor("t6");
        return { book, log: logOf(6) };
      },
      /t6 was refused and is there as seq 6/,
    ],
    [
      "with half of a transaction whose answer was lost",
      () => {
        const book = bookOf(5);
        book.lost({ tx: "t6", docs: ["a/b", "a/c", "a/d"], named: true });
        return { book, log: logOf(6) };
      },
      /t6 is there in part/,
    ],
  ])("%s is found out", (_, make, wrong) => {
    const { book, log } = make();
    expect(compare(book, log).wrong).toContainEqual(expect.stringMatching(wrong));
  });

  test("may hold what was sent and never answered, or not", () => {
    const book = bookOf(5);
    book.lost({ tx: "t6", docs: ["a/b", "a/c"], named: true });
    book.lost({ tx: "t7", docs: ["a/b"], named: true });
    const { wrong, found } = compare(book, logOf(6));
    expect(wrong).toEqual([]);
    expect([...found]).toEqual([["t6", { seq: 6, commit: cid(6) }]]);
  });
});

describe("receipts", () => {
  test("of one client_tx_id are one", () => {
    const book = bookOf(2);
    book.acknowledged({ seq: 2, commit: cid(2), tx: "t2", duplicate: true });
    expect(book.problems).toEqual([]);
    book.acknowledged({ seq: 3, commit: cid(3), tx: "t2", duplicate: false });
    expect(book.problems).toEqual(["t2 was given seq 2 and then 3", "t2 was taken twice without a word"]);
  });

  test("of one seq name one commit", () => {
    const book = bookOf(2);
    book.acknowledged({ seq: 2, commit: "bafyother", tx: "other" });
    expect(book.problems).toEqual(["seq 2 was acknowledged as bafy2 and as bafyother"]);
  });

  test("are in a file too", () => {
    const folder = tempDir();
    const book = new Book({ folder, db: "x", uid: "ab".repeat(16) });
    book.acknowledged({ seq: 1, commit: cid(1), tx: "t1" });
    book.lost({ tx: "t2", docs: ["a/b"], named: true });
    book.flush();
    const [file] = readdirSync(folder);
    expect(
      readFileSync(path.join(folder, file ?? ""), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { seq: 1, commit: cid(1), tx: "t1" },
      { unknown: "t2", docs: ["a/b"] },
    ]);
    book.close();
    expect(readdirSync(folder)).toEqual([]);
  });
});
