import { shareOf } from "./lines.ts";

export type ProgressLine = Readonly<Record<string, unknown>>;

/** Work that takes its time, one at a time: how far it is, how it ended, and a way to stop it. */
export class LongWork<Result> {
  running = $state(false);
  /** 0 to 1; undefined when it cannot be said. */
  share = $state<number | undefined>(undefined);
  line = $state.raw<ProgressLine | undefined>(undefined);
  result = $state.raw<Result | undefined>(undefined);
  problem = $state.raw<unknown>(undefined);
  cancelled = $state(false);
  #own: AbortController | undefined;

  /** Ends what runs, if anything does. Gives what the work gave; undefined when it failed or was cancelled. */
  async run(
    work: (signal: AbortSignal, onLine: (line: ProgressLine) => void) => Promise<Result>,
  ): Promise<Result | undefined> {
    this.#own?.abort();
    const own = new AbortController();
    this.#own = own;
    this.running = true;
    this.cancelled = false;
    this.share = this.line = this.result = this.problem = undefined;
    try {
      const result = await work(own.signal, (line) => {
        if (this.#own !== own) return;
        this.line = line;
        this.share = shareOf(line) ?? this.share;
      });
      if (this.#own !== own) return undefined;
      this.result = result;
      return result;
    } catch (error) {
      if (this.#own !== own) return undefined;
      if (own.signal.aborted) this.cancelled = true;
      else this.problem = error;
      return undefined;
    } finally {
      if (this.#own === own) this.running = false;
    }
  }

  cancel(): void {
    this.#own?.abort();
  }

  /** Forgets how it ended, as when its dialog is closed. */
  clear(): void {
    this.#own?.abort();
    this.#own = undefined;
    this.running = this.cancelled = false;
    this.share = this.line = this.result = this.problem = undefined;
  }
}
