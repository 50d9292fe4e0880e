import { sqliteFiles, type DbFiles } from "../../src/db/files.ts";
import { SkaldError } from "../../src/errors.ts";
import type { CatalogTable, LogStorage, StoredRecord } from "../../src/store/contract.ts";
import type { Views } from "../../src/store/sqlite-views.ts";
import type { Life, Scheduler } from "./scheduler.ts";

/** What the disk does. */
export interface DiskFaults {
  full: boolean;
  /** How often an append fails with its outcome unknown. */
  fails: number;
}

/** Stand-ins that break a promise: a simulation that does not notice one is worth nothing. */
export interface Broken {
  readonly storage?: (storage: LogStorage) => LogStorage;
  readonly catalog?: (catalog: CatalogTable) => CatalogTable;
  readonly views?: (views: Views) => Views;
}

/** Every call goes to `inner`, except those of `own`. */
export function over<T extends object>(inner: T, own: Partial<T>): T {
  return new Proxy(inner, {
    get(target, name) {
      const mine = (own as Record<PropertyKey, unknown>)[name];
      if (mine !== undefined) return mine;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

/** A storage whose appends take time, before they are durable and after, and which may be full or fail. */
function simulated(inner: LogStorage, scheduler: Scheduler, life: Life, faults: DiskFaults): LogStorage {
  let failed: SkaldError | undefined;
  const pause = (what: string): Promise<void> =>
    new Promise((resolve) => {
      const ms = scheduler.chance(0.03) ? scheduler.between(20, 800) : scheduler.between(0.2, 4);
      scheduler.at(ms, what, resolve, life);
    });
  const check = (): void => {
    if (failed) throw failed;
  };
  return over(inner, {
    async append(records: readonly StoredRecord[]): Promise<void> {
      check();
      await pause("disk takes");
      if (faults.full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
      const fails = scheduler.chance(faults.fails);
      if (!fails || scheduler.chance(0.5)) await inner.append(records);
      if (fails) {
        scheduler.note("disk fails");
        failed = new SkaldError("STORAGE_FAILED", "The disk failed.");
        throw failed;
      }
      await pause("disk is done");
    },
    async replace(from: number, to: number, body: Uint8Array): Promise<void> {
      check();
      if (faults.full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
      await inner.replace(from, to, body);
    },
    tidy(): boolean {
      check();
      if (faults.full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
      return inner.tidy();
    },
    close(): void {
      if (!failed) inner.close();
    },
  });
}

/** Opens files for one life of the server and knows which of them are open. */
export class SimulatedFiles implements DbFiles {
  readonly #scheduler: Scheduler;
  readonly #life: Life;
  readonly #faults: DiskFaults;
  readonly #broken: Broken;
  readonly #open = new Set<{ close(): void }>();

  constructor(scheduler: Scheduler, life: Life, faults: DiskFaults, broken: Broken) {
    this.#scheduler = scheduler;
    this.#life = life;
    this.#faults = faults;
    this.#broken = broken;
  }

  get open(): number {
    return this.#open.size;
  }

  createLog: DbFiles["createLog"] = (...args) => sqliteFiles.createLog(...args);

  openLog: DbFiles["openLog"] = (...args) => {
    const inner = this.#kept(sqliteFiles.openLog(...args));
    const broken = this.#broken.storage?.(inner) ?? inner;
    return simulated(broken, this.#scheduler, this.#life, this.#faults);
  };

  openCatalog(folder: string): CatalogTable {
    const inner = this.#kept(sqliteFiles.openCatalog(folder));
    return this.#broken.catalog?.(inner) ?? inner;
  }

  openViews(folder: string): Views {
    const inner = this.#kept(sqliteFiles.openViews(folder));
    return this.#broken.views?.(inner) ?? inner;
  }

  /** Lets go of what a dead process had open. Its files are nobody's any more. */
  abandon(): void {
    for (const file of this.#open) file.close();
  }

  #kept<T extends { close(): void }>(file: T): T {
    const kept = over(file, {
      close: () => {
        this.#open.delete(kept);
        file.close();
      },
    } as Partial<T>);
    this.#open.add(kept);
    return kept;
  }
}
