import type { QueryKey } from "@tanstack/react-query";

import { keys } from "@/lib/queries/keys";

import type { LiveEvent } from "./envelope";

/** The cached answers that an event makes old. Runs take and free devices. */
export function staleAfter(event: LiveEvent): QueryKey[] {
  const stale: QueryKey[] = [keys.jobs];
  if (event.job_id !== null) stale.push(keys.job(event.job_id));
  if (event.type.startsWith("run.")) stale.push(keys.gpus);
  return stale;
}
