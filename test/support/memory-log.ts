import type { DbIdentity, LogStorage, SeqRange, StoredRecord } from "../../src/store/contract.ts";

/** A log's storage that lives as long as the process: for tests of what stands above it, by the thousand. */
export function memoryLog(identity: DbIdentity): LogStorage {
  const bodies = new Map<number, Uint8Array>();
  const ranges: SeqRange[] = [];
  let last = 0;
  return {
    identity,
    last: () => last,
    append(records: readonly StoredRecord[]) {
      for (const { seq, body } of records) {
        if (seq !== last + 1) return Promise.reject(new RangeError(`${seq} does not follow ${last}`));
        bodies.set(seq, Uint8Array.from(body));
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
      ranges.push({ first: from, last: to });
      return Promise.resolve();
    },
    ranges: () => ranges,
    tidy: () => {},
    bytes: () => [...bodies.values()].reduce((sum, body) => sum + body.length, 0),
    inspect: () => [],
    close: () => {},
  };
}
