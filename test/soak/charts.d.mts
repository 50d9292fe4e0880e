export function lineChart<S extends { readonly t: number; readonly life: number }>(chart: {
  title: string;
  unit: string;
  series: readonly { name: string; of: (sample: S) => number | undefined }[];
  samples: readonly S[];
  marks?: readonly { t: number; kind: string }[];
}): string | undefined;
