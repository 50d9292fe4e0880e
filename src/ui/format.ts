/** Numbers and times as people read them. English, like everything here. */
const NUMBER = new Intl.NumberFormat("en");

export function number(value: number): string {
  return NUMBER.format(value);
}

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

/** 1,024-based, three digits: `1.25 MB`. */
export function bytes(value: number): string {
  let unit = 0;
  let left = value;
  while (left >= 1023.5 && unit < UNITS.length - 1) {
    left /= 1024;
    unit++;
  }
  const digits = unit === 0 || left >= 99.95 ? 0 : left >= 9.995 ? 1 : 2;
  return `${left.toFixed(digits)} ${UNITS[unit]}`;
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const STEPS: readonly (readonly [unit: Intl.RelativeTimeFormatUnit, ms: number])[] = [
  ["year", 31_557_600_000],
  ["month", 2_629_800_000],
  ["week", 604_800_000],
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
];

/** `3 minutes ago`, `in 2 days`; below five seconds `now`. */
export function relative(time: number, now: number): string {
  const away = time - now;
  if (Math.abs(away) < 5000) return "now";
  const [unit, ms] = STEPS.find((step) => Math.abs(away) >= step[1]) ?? ["second", 1000];
  return RELATIVE.format(Math.trunc(away / ms), unit);
}

const EXACT = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "medium",
});

/** In the zone of whoever reads it. */
export function exact(time: number): string {
  return EXACT.format(time);
}

/** `1 h 4 min`, `12.3 s`, `450 ms`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}
