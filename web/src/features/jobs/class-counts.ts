import type { JobDetail, Run } from "@/lib/api/types";
import { metricsOf } from "@/lib/metrics";
import { paramsOf } from "@/lib/params";

import { newestRuns } from "./newest-runs";

export type ClassCount = { name: string; chips: number; share: number };

/** Chips by class over the tiles that this job computed, most first. */
export function classCountsOf(job: JobDetail): ClassCount[] {
  const sums = new Map<string, number>();
  for (const run of countedRuns(job)) {
    for (const [name, chips] of Object.entries(metricsOf(run.metrics).classCounts)) {
      sums.set(name, (sums.get(name) ?? 0) + chips);
    }
  }
  const total = [...sums.values()].reduce((sum, chips) => sum + chips, 0);
  return [...sums]
    .map(([name, chips]) => ({ name, chips, share: total > 0 ? chips / total : 0 }))
    .sort((one, other) => other.chips - one.chips);
}

/**
 * A retry that reuses tiles counts only those it added, so every run counts. A retry that computes
 * all again replaces the run before it, so only the newest of each scene does.
 */
function countedRuns(job: JobDetail): Run[] {
  if (paramsOf(job.params).reuse) return job.runs;
  return newestRuns(job.runs);
}
