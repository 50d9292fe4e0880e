/** A branch as `…/branches` lists it. */
export interface Branch {
  readonly name: string;
  /** The seq of the commit that made it; 0 of `main`. */
  readonly id: number;
  readonly state: "open" | "closed";
  readonly from: { readonly branch: string; readonly seq: number } | null;
  readonly head: { readonly seq: number; readonly commit: string | null };
  readonly merged: readonly { readonly branch: string; readonly id: number; readonly up_to: number }[];
  readonly time: string | null;
  readonly author: string | null;
  readonly message?: string;
}

/** A commit that brought another branch in, as far as it is known. */
export interface Merge {
  /** The branch that it is on, and its seq. */
  readonly into: string;
  readonly seq: number;
  /** The last commit that it brought. */
  readonly from: string;
  readonly fromSeq: number;
}

export interface GraphNode {
  readonly lane: number;
  readonly seq: number;
  readonly x: number;
  readonly kinds: readonly ("start" | "fork" | "merged" | "merge" | "head")[];
}

export interface GraphEdge {
  readonly kind: "fork" | "merge";
  readonly from: { readonly lane: number; readonly x: number };
  readonly to: { readonly lane: number; readonly x: number };
}

/** Lanes are the branches in the order they were given; x goes from 0 up to `steps` less one, one for each seq of note. */
export interface Graph {
  readonly steps: number;
  readonly lines: readonly {
    readonly lane: number;
    readonly from: number;
    readonly to: number;
    readonly open: boolean;
  }[];
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

interface Point {
  readonly lane: number;
  readonly seq: number;
}

/**
 * Where everything stands. Only seqs at which something happened to branches have a place, in their order and at
 * equal distances: between a fork and a head there may be three commits or a million.
 */
export function graphOf(branches: readonly Branch[], merges: readonly Merge[]): Graph {
  const lanes = new Map(branches.map((branch, lane) => [branch, lane]));
  const points = new Map<string, { point: Point; kinds: Set<GraphNode["kinds"][number]> }>();
  const note = (point: Point, kind?: GraphNode["kinds"][number]): Point => {
    const key = `${point.lane} ${point.seq}`;
    const known = points.get(key) ?? { point, kinds: new Set() };
    points.set(key, known);
    if (kind) known.kinds.add(kind);
    return known.point;
  };
  const edges: { kind: "fork" | "merge"; from: Point; to: Point }[] = [];
  const lines: { lane: number; from: Point; to: Point; open: boolean }[] = [];
  for (const [branch, lane] of lanes) {
    const { id, head, from, state } = branch;
    if (head.seq === 0) continue;
    const start = note({ lane, seq: id === 0 ? 1 : id }, "start");
    lines.push({ lane, from: start, to: note({ lane, seq: head.seq }, "head"), open: state === "open" });
    const owner = from && from.seq > 0 ? ownerOf(branches, branch) : undefined;
    if (from && owner)
      edges.push({
        kind: "fork",
        from: note({ lane: lanes.get(owner) as number, seq: from.seq }, "fork"),
        to: start,
      });
  }
  const placed = new Set<string>();
  for (const merge of merges) {
    const into = branchAt(branches, merge.into, merge.seq);
    const source = branchAt(branches, merge.from, merge.fromSeq);
    if (!into || !source || into === source) continue;
    placed.add(`${into.id} ${source.id} ${merge.fromSeq}`);
    edges.push({
      kind: "merge",
      from: note({ lane: lanes.get(source) as number, seq: merge.fromSeq }, "merged"),
      to: note({ lane: lanes.get(into) as number, seq: merge.seq }, "merge"),
    });
  }
  for (const [into, lane] of lanes) {
    for (const { id, up_to } of into.merged) {
      const source = branches.find((branch) => branch.id === id);
      if (!source || up_to < Math.max(1, source.id) || placed.has(`${into.id} ${id} ${up_to}`)) continue;
      // Which commit brought it lies further back than was looked: it came after what it brought.
      edges.push({
        kind: "merge",
        from: note({ lane: lanes.get(source) as number, seq: up_to }, "merged"),
        to: note({ lane, seq: Math.min(up_to + 0.5, into.head.seq) }),
      });
    }
  }
  const seqs = [...new Set(Array.from(points.values(), ({ point }) => point.seq))].sort((a, b) => a - b);
  const places = new Map(seqs.map((seq, x) => [seq, x]));
  const xOf = ({ seq }: Point): number => places.get(seq) as number;
  return {
    steps: seqs.length,
    lines: lines.map(({ lane, from, to, open }) => ({ lane, from: xOf(from), to: xOf(to), open })),
    nodes: Array.from(points.values())
      .filter(({ kinds }) => kinds.size > 0)
      .map(({ point, kinds }) => ({ ...point, x: xOf(point), kinds: [...kinds] })),
    edges: edges.map(({ kind, from, to }) => ({
      kind,
      from: { lane: from.lane, x: xOf(from) },
      to: { lane: to.lane, x: xOf(to) },
    })),
  };
}

/** The branch with this name that was there at a seq, of those that are listed. */
function branchAt(branches: readonly Branch[], name: string, seq: number): Branch | undefined {
  return branches.findLast((branch) => branch.name === name && branch.id <= seq);
}

/** Whose commit a branch forks from: its parent's, or one that the parent stands on itself. */
function ownerOf(branches: readonly Branch[], branch: Branch): Branch | undefined {
  const { seq } = branch.from as { seq: number };
  let owner: Branch | undefined = branch;
  do {
    const from: Branch["from"] = owner.from;
    const before: number = owner.id;
    owner = from ? branches.findLast(({ name, id }) => name === from.branch && id < before) : undefined;
  } while (owner && owner.id > seq);
  return owner;
}

/** What of a commit says that it is a merge. */
export interface ListedCommit {
  readonly cid: string;
  readonly seq: number;
  readonly branch: string;
  readonly parents: readonly string[];
}

/** Merges among these commits; `known` gives what a commit is that is none of them, undefined when nobody knows. */
export async function mergesIn(
  commits: readonly ListedCommit[],
  known: (cid: string) => Promise<Pick<ListedCommit, "seq" | "branch"> | undefined>,
): Promise<Merge[]> {
  const listed = new Map(commits.map((commit) => [commit.cid, commit]));
  const found = await Promise.all(
    commits.map(async ({ seq, branch, parents }): Promise<Merge | undefined> => {
      const [, cid] = parents;
      if (cid === undefined) return undefined;
      const from = listed.get(cid) ?? (await known(cid));
      return from && { into: branch, seq, from: from.branch, fromSeq: from.seq };
    }),
  );
  return found.filter((merge) => merge !== undefined);
}
