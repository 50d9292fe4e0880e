import UPlot from "uplot";

export interface Series {
  readonly label: string;
  readonly values: readonly (number | null)[];
}

export interface PlotOptions {
  readonly parent: HTMLElement;
  readonly width: number;
  readonly height: number;
  /** Seconds since 1970, or any numbers with `time` false. */
  readonly x: readonly number[];
  readonly series: readonly Series[];
  readonly time: boolean;
  readonly format: (value: number) => string;
  /** Points at which it is drawn as columns. */
  readonly bars: boolean;
}

export interface Plot {
  set(x: readonly number[], series: readonly Series[]): void;
  resize(width: number, height: number): void;
  destroy(): void;
}

const COLOURS = ["--accent", "--info", "--warn", "--danger", "--ok", "--dim"];

/** A chart on a canvas. Its colours are those of the page when it is made. */
export function openPlot(options: PlotOptions): Plot {
  const { parent, width, height, series, time, format, bars } = options;
  const colour = (name: string): string => resolved(parent, `var(${name})`);
  const text = colour("--dim");
  const line = colour("--line");
  const axis = {
    stroke: text,
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: FONT,
  };
  const plot = new UPlot(
    {
      width,
      height,
      // One line needs no key to it.
      legend: { show: series.length > 1, live: true },
      cursor: { y: false, points: { size: 6 } },
      scales: {
        x: { time },
        y: {
          range: (_, least, most) => [Math.min(0, least * 1.1), most > 0 ? most * 1.1 : least < 0 ? 0 : 1],
        },
      },
      axes: [
        // A year is no number of things: no commas at the foot.
        { ...axis, size: 28, ...(time ? {} : { values: (_, splits) => splits.map(String) }) },
        { ...axis, size: 58, values: (_, splits) => splits.map(format) },
      ],
      series: [
        {},
        ...series.map(({ label }, i): UPlot.Series => {
          const own = colour(COLOURS[i % COLOURS.length] as string);
          return {
            label,
            stroke: own,
            width: 1.5,
            value: (_, value) => (value === null || value === undefined ? "" : format(value)),
            points: { show: false },
            ...(bars && UPlot.paths.bars
              ? { paths: UPlot.paths.bars({ size: [0.7, 40] }), fill: own }
              : series.length === 1
                ? { fill: resolved(parent, `color-mix(in srgb, var(${COLOURS[0]}), transparent 85%)`) }
                : {}),
          };
        }),
      ],
    },
    dataOf(options.x, series),
    parent,
  );
  return {
    set: (x, next) => plot.setData(dataOf(x, next)),
    resize: (w, h) => plot.setSize({ width: w, height: h }),
    destroy: () => plot.destroy(),
  };
}

const FONT = "11px system-ui, sans-serif";

function dataOf(x: readonly number[], series: readonly Series[]): UPlot.AlignedData {
  return [[...x], ...series.map(({ values }) => [...values])] as UPlot.AlignedData;
}

/** A canvas knows no variables: what the page makes of the colour. */
function resolved(parent: HTMLElement, colour: string): string {
  const probe = document.createElement("i");
  probe.style.color = colour;
  parent.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
