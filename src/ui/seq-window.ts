/**
 * Rows of a list that is far too long to load, asked for by their number: pages of neighbours are loaded when one of
 * them is looked at, a few at a time, and the latest wish first, since whoever drags the bar from one end to the other
 * does not want what lay between. Pages that are no longer near are forgotten.
 */

export type LoadPage<Row> = (first: number, count: number, signal: AbortSignal) => Promise<readonly Row[]>;

interface Page<Row> {
  readonly number: number;
  rows: readonly Row[] | undefined;
  promise: Promise<readonly Row[]>;
  begin: (() => void) | undefined;
  drop: () => void;
}

/** A wish that was passed over for later ones: whoever still shows the row asks again. */
export class PassedOver extends Error {
  constructor() {
    super("Scrolled past.");
  }
}

export interface WindowOptions {
  /** Rows of a page. */
  readonly page?: number;
  /** Pages kept. */
  readonly keep?: number;
  /** Requests at a time. */
  readonly abreast?: number;
  /** Wishes that may wait; older ones are passed over. */
  readonly waiting?: number;
}

export class SeqWindow<Row> {
  readonly #load: LoadPage<Row>;
  readonly #size: number;
  readonly #keep: number;
  readonly #abreast: number;
  readonly #most: number;
  /** In the order of their last use. */
  readonly #pages = new Map<number, Page<Row>>();
  /** Newest last. */
  #waiting: Page<Row>[] = [];
  #running = 0;
  #life = new AbortController();

  constructor(load: LoadPage<Row>, options: WindowOptions = {}) {
    this.#load = load;
    this.#size = options.page ?? 50;
    this.#keep = options.keep ?? 40;
    this.#abreast = options.abreast ?? 2;
    this.#most = options.waiting ?? 3;
  }

  /** The row if it is there now: what can be drawn without waiting. */
  peek(index: number): Row | undefined {
    return this.#pages.get(Math.floor(index / this.#size))?.rows?.[index % this.#size];
  }

  /** Undefined for a row that is not there. Rejects with `PassedOver`, or with what the loading did. */
  async row(index: number): Promise<Row | undefined> {
    const number = Math.floor(index / this.#size);
    const page = this.#pages.get(number) ?? this.#wish(number);
    this.#pages.delete(number);
    this.#pages.set(number, page);
    this.#forget();
    return (await page.promise)[index % this.#size];
  }

  /** Forgets rows from `index` on: they may be others by now. */
  reset(index = 0): void {
    if (index === 0) {
      this.#life.abort();
      this.#life = new AbortController();
    }
    for (const page of this.#pages.values()) {
      if ((page.number + 1) * this.#size > index) this.#remove(page);
    }
  }

  #wish(number: number): Page<Row> {
    const page: Page<Row> = {
      number,
      rows: undefined,
      promise: Promise.resolve([]),
      begin: undefined,
      drop: () => {},
    };
    const { signal } = this.#life;
    page.promise = new Promise<readonly Row[]>((resolve, reject) => {
      page.drop = () => reject(new PassedOver());
      page.begin = () => {
        this.#running += 1;
        page.begin = undefined;
        this.#load(number * this.#size, this.#size, signal)
          .then(
            (rows) => {
              page.rows = rows;
              resolve(rows);
            },
            (error: unknown) => {
              this.#remove(page);
              reject(error as Error);
            },
          )
          .finally(() => {
            this.#running -= 1;
            this.#next();
          });
      };
    });
    // Whoever asked may be gone by the time that it fails.
    page.promise.catch(() => {});
    this.#waiting.push(page);
    while (this.#waiting.length > this.#most) this.#remove(this.#waiting[0] as Page<Row>);
    this.#next();
    return page;
  }

  #next(): void {
    while (this.#running < this.#abreast) {
      const page = this.#waiting.pop();
      if (!page) return;
      page.begin?.();
    }
  }

  #remove(page: Page<Row>): void {
    if (this.#pages.get(page.number) === page) this.#pages.delete(page.number);
    if (page.begin) page.drop();
    this.#waiting = this.#waiting.filter((other) => other !== page);
  }

  #forget(): void {
    for (const page of this.#pages.values()) {
      if (this.#pages.size <= this.#keep) return;
      if (page.rows) this.#pages.delete(page.number);
    }
  }
}

/** Runs one at a time and the latest last: what a slider asks for while it moves. */
export class Latest {
  #current: AbortController | undefined;

  /** Undefined when a later one took its place. */
  async run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    this.#current?.abort();
    const own = new AbortController();
    this.#current = own;
    try {
      const value = await work(own.signal);
      return own.signal.aborted ? undefined : value;
    } catch (error) {
      if (own.signal.aborted) return undefined;
      throw error;
    }
  }

  stop(): void {
    this.#current?.abort();
  }
}
