/**
 * The text that `GET /metrics` gives (Prometheus's exposition format, version 0.0.4), as far as a server of ours
 * writes it: comments of `TYPE`, and samples with labels. What is no sample is passed over, so that a metric of a
 * later version never empties the page.
 */

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly samples: Sample[];
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*$/;
const LABEL = /\s*([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)/gy;

export function parseMetrics(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const types = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) {
      const [, word, name, type] = line.split(/\s+/);
      if (word === "TYPE" && name !== undefined) types.set(name, type ?? "untyped");
      continue;
    }
    const [, name, labelText, valueText] = LINE.exec(line) ?? [];
    if (name === undefined) continue;
    const labels = labelText === undefined ? {} : labelsOf(labelText);
    const value = numberOf(valueText ?? "");
    if (!labels || value === undefined) continue;
    let family = families.get(name);
    if (!family) {
      family = { name, type: types.get(name) ?? "untyped", samples: [] };
      families.set(name, family);
    }
    family.samples.push({ labels, value });
  }
  return families;
}

/** Undefined when the text is not labels through and through. */
function labelsOf(text: string): Record<string, string> | undefined {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  let end = 0;
  for (let match = LABEL.exec(text); match; match = LABEL.exec(text)) {
    labels[match[1] as string] = (match[2] as string).replace(/\\(.)/g, (_, sign: string) =>
      sign === "n" ? "\n" : sign,
    );
    end = LABEL.lastIndex;
    if (end === text.length) break;
  }
  return text.slice(end).trim() === "" ? labels : undefined;
}

function numberOf(text: string): number | undefined {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? undefined : value;
}

/** All samples of a metric whose labels pass, summed; undefined when the server does not have the metric. */
export function total(
  families: ReadonlyMap<string, Family>,
  name: string,
  passes: (labels: Readonly<Record<string, string>>) => boolean = () => true,
): number | undefined {
  const family = families.get(name);
  if (!family) return undefined;
  return family.samples.reduce((sum, { labels, value }) => (passes(labels) ? sum + value : sum), 0);
}
