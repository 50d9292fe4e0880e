import { graphOf, mergesIn, type Branch } from "../../src/ui/branch-graph.ts";

function branch(
  name: string,
  id: number,
  head: number,
  from?: [string, number],
  more: Partial<Branch> = {},
): Branch {
  return {
    name,
    id,
    state: "open",
    from: from ? { branch: from[0], seq: from[1] } : null,
    head: { seq: head, commit: `c${head}` },
    merged: [],
    time: null,
    author: null,
    ...more,
  };
}
const at = (lane: number, x: number) => ({ lane, x });

test("a db that nobody has written to has nothing to draw", () => {
  expect(graphOf([branch("main", 0, 0)], [])).toEqual({ steps: 0, lines: [], nodes: [], edges: [] });
});

test("forks and heads stand in the order of their seqs, however far apart", () => {
  const graph = graphOf([branch("main", 0, 1_000_000), branch("draft", 901, 905, ["main", 3])], []);
  // 1, 3, 901, 905, 1000000
  expect(graph.steps).toBe(5);
  expect(graph.lines).toEqual([
    { lane: 0, from: 0, to: 4, open: true },
    { lane: 1, from: 2, to: 3, open: true },
  ]);
  expect(graph.edges).toEqual([{ kind: "fork", from: at(0, 1), to: at(1, 2) }]);
  expect(graph.nodes.map(({ lane, seq, kinds }) => [lane, seq, ...kinds])).toEqual([
    [0, 1, "start"],
    [0, 1_000_000, "head"],
    [1, 901, "start"],
    [1, 905, "head"],
    [0, 3, "fork"],
  ]);
});

test("a branch made of another at a point before that one began forks from whose commit it is", () => {
  const branches = [branch("main", 0, 20), branch("a", 10, 15, ["main", 8]), branch("b", 16, 16, ["a", 5])];
  const fork = graphOf(branches, []).edges[1];
  expect(fork?.from.lane).toBe(0);
  // And one at a point that the parent wrote, from the parent.
  const later = [...branches.slice(0, 2), branch("b", 16, 16, ["a", 12])];
  expect(graphOf(later, []).edges[1]?.from.lane).toBe(1);
});

test("a name that was used again is not taken for the branch that had it before", () => {
  // `a` was made at 5, deleted, and made again at 30: `b` stands on the first, which nobody lists any more.
  const branches = [branch("main", 0, 40), branch("b", 12, 14, ["a", 8]), branch("a", 30, 31, ["main", 29])];
  expect(graphOf(branches, []).edges).toEqual([
    {
      kind: "fork",
      from: expect.objectContaining({ lane: 0 }) as object,
      to: expect.objectContaining({ lane: 2 }) as object,
    },
  ]);
});

test("a merge goes from what it brought to the commit that brought it, once", () => {
  const branches = [
    branch("main", 0, 14, undefined, { merged: [{ branch: "draft", id: 10, up_to: 12 }] }),
    branch("draft", 10, 13, ["main", 9], { state: "closed" }),
  ];
  const graph = graphOf(branches, [{ into: "main", seq: 14, from: "draft", fromSeq: 12 }]);
  const merges = graph.edges.filter(({ kind }) => kind === "merge");
  expect(merges).toHaveLength(1);
  expect(merges[0]?.from).toEqual(at(1, 3));
  expect(merges[0]?.to).toEqual(at(0, 5));
  expect(graph.lines[1]).toMatchObject({ open: false });
  // Without having seen its commit, it is drawn from what the branch says it has.
  const blind = graphOf(branches, []).edges.filter(({ kind }) => kind === "merge");
  expect(blind).toHaveLength(1);
  expect(blind[0]?.from.lane).toBe(1);
  expect(blind[0]?.to.x).toBeGreaterThan(blind[0]?.from.x as number);
});

test("merges are found among commits by their second parent, those far back are asked for", async () => {
  const asked: string[] = [];
  const commits = [
    { cid: "c7", seq: 7, branch: "draft", parents: ["c6"] },
    { cid: "c8", seq: 8, branch: "main", parents: ["c5", "c7"] },
    { cid: "c9", seq: 9, branch: "main", parents: ["c8", "c2"] },
    { cid: "c10", seq: 10, branch: "main", parents: ["c9", "gone"] },
  ];
  const merges = await mergesIn(commits, (cid) => {
    asked.push(cid);
    return Promise.resolve(cid === "c2" ? { seq: 2, branch: "old" } : undefined);
  });
  expect(asked).toEqual(["c2", "gone"]);
  expect(merges).toEqual([
    { into: "main", seq: 8, from: "draft", fromSeq: 7 },
    { into: "main", seq: 9, from: "old", fromSeq: 2 },
  ]);
});
