export type Output = { name: string; path: string };

export type CountUnit = "chip" | "pixel";

/** Figures of a regression's values, in its own unit. */
export type Statistics = { min: number; max: number; mean: number; std: number; unit: string | null };

/** The figures of a run, as far as its free-form metrics say. */
export type Metrics = {
  task: string | null;
  classCounts: Record<string, number>;
  countUnit: CountUnit;
  statistics: Statistics | null;
  gsdMismatch: boolean;
  outputs: Output[];
  errors: [reason: string, tiles: number][];
};

export function metricsOf(metrics: Record<string, unknown>): Metrics {
  return {
    task: typeof metrics.task === "string" ? metrics.task : null,
    countUnit: metrics.class_counts_unit === "pixel" ? "pixel" : "chip",
    statistics: statisticsOf(metrics),
    classCounts: Object.fromEntries(entriesOf(metrics.class_counts).filter(isCount)),
    gsdMismatch: metrics.gsd_mismatch === true,
    outputs: entriesOf(metrics.outputs)
      .filter((entry): entry is [string, string] => typeof entry[1] === "string")
      .map(([name, path]) => ({ name, path })),
    errors: entriesOf(metrics.errors).filter(isCount),
  };
}

function statisticsOf({ statistics, unit }: Record<string, unknown>): Statistics | null {
  const { min, max, mean, std } = Object.fromEntries(entriesOf(statistics).filter(isCount));
  if (min === undefined || max === undefined || mean === undefined || std === undefined) return null;
  return { min, max, mean, std, unit: typeof unit === "string" ? unit : null };
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}

function isCount(entry: [string, unknown]): entry is [string, number] {
  return typeof entry[1] === "number";
}
