/** A line that says how far a long command is: kept up to date on a terminal, else one every five seconds. */
export interface Progress {
  /** `done` is the share from 0 to 1, when it is known. */
  update(count: number, done: number | undefined): void;
  /** Takes the line away. */
  end(): void;
}

const TERMINAL_MS = 100;
const PLAIN_MS = 5_000;

/** `more` gives what else belongs into the line. */
export function startProgress(what: string, quiet: boolean, more?: () => string): Progress {
  if (quiet) return { update: () => {}, end: () => {} };
  const live = process.stderr.isTTY;
  const started = performance.now();
  const pause = live ? TERMINAL_MS : PLAIN_MS;
  let next = started + pause;
  let shown = false;
  return {
    update: (count, done) => {
      const now = performance.now();
      if (now < next) return;
      next = now + pause;
      const said = lineOf(what, count, done, (now - started) / 1000);
      const line = more ? `${said}, ${more()}` : said;
      process.stderr.write(live ? `\r\u001B[K${line}` : `${line}\n`);
      shown = live;
    },
    end: () => {
      if (shown) process.stderr.write("\r\u001B[K");
      shown = false;
    },
  };
}

export function lineOf(what: string, count: number, done: number | undefined, seconds: number): string {
  const parts = [`${count} ${what}`, `${Math.round(count / Math.max(seconds, 0.001))}/s`];
  if (done !== undefined && done > 0) {
    parts.push(`${Math.floor(done * 100)} %`, `${Math.ceil((seconds / done) * (1 - done))} s left`);
  }
  return parts.join(", ");
}
