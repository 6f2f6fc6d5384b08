export type Output = { name: string; path: string };

/** The figures of a run, as far as its free-form metrics say. Classes are counted in chips. */
export type Metrics = {
  classCounts: Record<string, number>;
  gsdMismatch: boolean;
  outputs: Output[];
  errors: [reason: string, tiles: number][];
};

export function metricsOf(metrics: Record<string, unknown>): Metrics {
  return {
    classCounts: Object.fromEntries(entriesOf(metrics.class_counts).filter(isCount)),
    gsdMismatch: metrics.gsd_mismatch === true,
    outputs: entriesOf(metrics.outputs)
      .filter((entry): entry is [string, string] => typeof entry[1] === "string")
      .map(([name, path]) => ({ name, path })),
    errors: entriesOf(metrics.errors).filter(isCount),
  };
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}

function isCount(entry: [string, unknown]): entry is [string, number] {
  return typeof entry[1] === "number";
}
