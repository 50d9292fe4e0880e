import type { DbIdentity, Life, LogStorage, SeqRange, StoredRecord } from "../../src/store/contract.ts";

/** A log's storage that lives as long as the process: for tests of what stands above it, by the thousand. */
export function memoryLog(identity: DbIdentity): LogStorage {
  const bodies = new Map<number, Uint8Array>();
  const ranges: SeqRange[] = [];
  const lives: Life[] = [];
  let incoming: StoredRecord[] = [];
  let last = 0;
  return {
    identity,
    last: () => last,
    append(records: readonly StoredRecord[]) {
      for (const { seq, body, first = seq } of records) {
        if (first !== last + 1) return Promise.reject(new RangeError(`${seq} does not follow ${last}`));
        bodies.set(seq, Uint8Array.from(body));
        if (first < seq) ranges.push({ first, last: seq });
        last = seq;
      }
      // The real one answers later, too: a group is open meanwhile.
      return new Promise((resolve) => setImmediate(resolve));
    },
    read: (seq) => bodies.get(ranges.find(({ first, last: end }) => first <= seq && seq <= end)?.last ?? seq),
    page(from, limit) {
      const found: StoredRecord[] = [];
      for (let seq = from; seq <= last && found.length < limit; seq += 1) {
        const body = bodies.get(seq);
        if (body) found.push({ seq, body });
      }
      return found;
    },
    replace(from, to, body) {
      for (let seq = from; seq <= to; seq += 1) bodies.delete(seq);
      bodies.set(to, Uint8Array.from(body));
      const kept = ranges.filter(({ first, last: end }) => first < from || end > to);
      if (from < to) kept.push({ first: from, last: to });
      ranges.splice(0, ranges.length, ...kept.sort((a, b) => a.last - b.last));
      return Promise.resolve();
    },
    ranges: () => ranges,
    lives: () => lives,
    staged: () => {
      const [first, end] = [incoming[0], incoming.at(-1)];
      return first && end ? { first: first.seq, last: end.seq } : undefined;
    },
    stagedPage: (from, limit) => incoming.filter(({ seq }) => seq >= from).slice(0, limit),
    stage(records) {
      incoming.push(...records.map(({ seq, body }) => ({ seq, body: Uint8Array.from(body) })));
      return Promise.resolve();
    },
    unstage() {
      incoming = [];
      return Promise.resolve();
    },
    adopt({ from, before, behind, life }) {
      for (let seq = from; seq <= last; seq += 1) bodies.delete(seq);
      while ((ranges.at(-1)?.last ?? 0) >= from) ranges.pop();
      last = from - 1;
      for (const { seq, body } of [...before, ...incoming, ...behind]) {
        bodies.set(seq, Uint8Array.from(body));
        last = seq;
      }
      incoming = [];
      lives.push(life);
      return Promise.resolve();
    },
    tidy: () => true,
    bytes: () => [...bodies.values()].reduce((sum, body) => sum + body.length, 0),
    inspect: () => [],
    close: () => {},
  };
}
