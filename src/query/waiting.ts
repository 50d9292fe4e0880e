/** A queue that takes its principals in turns: who asks for much waits for himself. */
export class Waiting<T> {
  readonly #queues = new Map<string, T[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  of(principal: string): number {
    return this.#queues.get(principal)?.length ?? 0;
  }

  add(principal: string, item: T): void {
    const queue = this.#queues.get(principal);
    if (queue) queue.push(item);
    else this.#queues.set(principal, [item]);
    this.#size += 1;
  }

  /** In front of the principal's others. */
  addFirst(principal: string, item: T): void {
    const queue = this.#queues.get(principal);
    if (queue) queue.unshift(item);
    else this.#queues.set(principal, [item]);
    this.#size += 1;
  }

  /** The next one of those principals that are `free`; it stays where it is. */
  peek(free: (principal: string) => boolean): T | undefined {
    for (const [principal, [first]] of this.#queues) if (free(principal)) return first;
    return undefined;
  }

  /** Takes the principal's next; its turn comes again after everybody else's. */
  take(principal: string): T | undefined {
    const queue = this.#queues.get(principal);
    const item = queue?.shift();
    if (queue === undefined || item === undefined) return undefined;
    this.#queues.delete(principal);
    if (queue.length > 0) this.#queues.set(principal, queue);
    this.#size -= 1;
    return item;
  }

  remove(principal: string, item: T): void {
    const queue = this.#queues.get(principal);
    const at = queue?.indexOf(item) ?? -1;
    if (queue === undefined || at < 0) return;
    queue.splice(at, 1);
    this.#size -= 1;
    if (queue.length === 0) this.#queues.delete(principal);
  }

  drain(): T[] {
    const all = [...this.#queues.values()].flat();
    this.#queues.clear();
    this.#size = 0;
    return all;
  }
}
