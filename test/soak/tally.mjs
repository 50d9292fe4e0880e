/** Requests, answers and times of a run: totals, and windows between two looks. */
export class Tally {
  /** kind → answer → how many. */
  answers = {};
  commits = 0;
  #window = { requests: 0, commits: 0, ms: [] };

  add(kind, answer, ms) {
    const of = (this.answers[kind] ??= {});
    of[answer] = (of[answer] ?? 0) + 1;
    this.#window.requests += 1;
    // Enough for a 99th percentile; a flood of answers must not fill the memory of who counts them.
    if (ms !== undefined && this.#window.ms.length < 20_000) this.#window.ms.push(ms);
  }

  committed() {
    this.commits += 1;
    this.#window.commits += 1;
  }

  /** What happened since the last call. */
  take() {
    const { requests, commits, ms } = this.#window;
    this.#window = { requests: 0, commits: 0, ms: [] };
    ms.sort((a, b) => a - b);
    const at = (share) =>
      ms.length === 0 ? undefined : ms[Math.min(ms.length - 1, Math.floor(ms.length * share))];
    return { requests, commits, p50: at(0.5), p99: at(0.99) };
  }

  get requests() {
    return Object.values(this.answers)
      .flatMap((of) => Object.values(of))
      .reduce((sum, n) => sum + n, 0);
  }
}
