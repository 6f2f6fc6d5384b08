import type { Run } from "@/lib/api/types";

/** Of runs that retried a scene the newest; `runs` are oldest first, and so is what comes back. */
export function newestRuns(runs: Run[]): Run[] {
  return [...new Map(runs.map((run) => [run.scene_id ?? run.id, run])).values()];
}
