import type { JobDetail, Run } from "@/lib/api/types";
import { type CountUnit, metricsOf } from "@/lib/metrics";
import { paramsOf } from "@/lib/params";

import { newestRuns } from "./newest-runs";

export type ClassCount = { name: string; count: number; share: number };

/** What was counted of each class over the tiles that this job computed, most first. */
export function classCountsOf(job: JobDetail): ClassCount[] {
  const sums = new Map<string, number>();
  for (const run of countedRuns(job)) {
    for (const [name, count] of Object.entries(metricsOf(run.metrics).classCounts)) {
      sums.set(name, (sums.get(name) ?? 0) + count);
    }
  }
  const total = [...sums.values()].reduce((sum, count) => sum + count, 0);
  return [...sums]
    .map(([name, count]) => ({ name, count, share: total > 0 ? count / total : 0 }))
    .sort((one, other) => other.count - one.count);
}

/** Whether its model names whole chips or single pixels. */
export function countUnitOf(job: JobDetail): CountUnit {
  return job.runs.some((run) => metricsOf(run.metrics).countUnit === "pixel") ? "pixel" : "chip";
}

/**
 * A retry that reuses tiles counts only those it added, so every run counts. A retry that computes
 * all again replaces the run before it, so only the newest of each scene does.
 */
function countedRuns(job: JobDetail): Run[] {
  if (paramsOf(job.params).reuse) return job.runs;
  return newestRuns(job.runs);
}
