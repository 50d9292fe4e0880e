import type { CatalogTable, LogStorage, StoredRecord } from "../../src/store/contract.ts";
import type { Machine } from "./server.ts";
import { over } from "./storage.ts";

/** Builds that break one promise each. The simulation has to find every one of them. */
export const BROKEN: Readonly<Record<string, () => Machine["broken"]>> = {
  "a storage that says durable and writes later": () => ({ storage: late }),
  "a catalog that forgets receipts": () => ({
    catalog: (inner: CatalogTable) =>
      over(inner, { write: (batch) => inner.write({ ...batch, receipts: [] }) }),
  }),
  "timers of more than a second that never run": () => ({
    world: (world) => ({
      ...world,
      timer: (ms, work) => (ms > 1000 ? () => {} : world.timer(ms, work)),
    }),
  }),
  "views that lose rows": () => {
    let count = 0;
    return {
      views: (inner) =>
        over(inner, {
          write: (rows, head) =>
            inner.write(
              rows.filter(() => (count += 1) % 5 !== 0),
              head,
            ),
        }),
    };
  },
};

/** Holds what was appended in memory until the next append or the end. */
function late(inner: LogStorage): LogStorage {
  let held: readonly StoredRecord[] = [];
  const flush = (): void => {
    const records = held;
    held = [];
    if (records.length > 0) void inner.append(records);
  };
  return over(inner, {
    append(records: readonly StoredRecord[]): Promise<void> {
      flush();
      held = records;
      return Promise.resolve();
    },
    last: () => held.at(-1)?.seq ?? inner.last(),
    read: (seq: number) => held.find((record) => record.seq === seq)?.body ?? inner.read(seq),
    page: (from: number, limit: number) =>
      [...inner.page(from, limit), ...held.filter(({ seq }) => seq >= from)].slice(0, limit),
    replace(from: number, to: number, body: Uint8Array): Promise<void> {
      flush();
      return inner.replace(from, to, body);
    },
    tidy() {
      flush();
      return inner.tidy();
    },
    close() {
      flush();
      inner.close();
    },
  });
}
