export interface Judged {
  readonly wrong: string[];
}
export interface MemorySample {
  readonly t: number;
  readonly life: number;
  readonly age: number;
  readonly rss: number;
}
export function leastSquares(points: readonly { x: number; y: number }[]): {
  slope: number;
  intercept: number;
  error: number;
};
export function judgeMemory(
  samples: readonly MemorySample[],
  bounds?: Readonly<Record<string, number>>,
): Judged & { readonly lives: readonly { life: number; mibPerHour: number }[] };
export function judgeStarts(points: readonly { t: number; rss: number }[], bounds?: { mib: number }): Judged;
export function judgeDescriptors(
  quiets: readonly { life: number; fds: number; base: number }[],
  bounds: { allowance: number },
): Judged;
export function judgeWal(
  samples: readonly { wal?: Readonly<Record<string, number>> }[],
  bounds?: { bound: number },
): Judged;
