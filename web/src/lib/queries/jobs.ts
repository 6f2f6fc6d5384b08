import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";
import type { Job, JobDetail, JobRequest } from "@/lib/api/types";

import { keys } from "./keys";
import { useFallbackInterval } from "./polling";

const PAGE_SIZE = 25;

/** Jobs, newest first, a page at a time. */
export function useJobs() {
  return useInfiniteQuery({
    queryKey: keys.jobs,
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      bodyOf(client.GET("/api/v1/jobs", { params: { query: { limit: PAGE_SIZE, cursor: pageParam } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
    refetchInterval: useFallbackInterval(),
  });
}

/** One job with its runs. */
export function useJob(id: string) {
  return useQuery({
    queryKey: keys.job(id),
    queryFn: ({ signal }) => bodyOf(client.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: id } }, signal })),
    refetchInterval: useFallbackInterval(),
  });
}

/** Submit a job. */
export function useSubmitJob() {
  const queries = useQueryClient();
  return useMutation<Job, Error, JobRequest>({
    mutationFn: (body) => bodyOf(client.POST("/api/v1/jobs", { body })),
    onSuccess: () => queries.invalidateQueries({ queryKey: keys.jobs }),
  });
}

export type JobAction = "cancel" | "retry";

/** Cancel or retry a job. */
export function useJobAction(id: string, action: JobAction) {
  const queries = useQueryClient();
  const params = { path: { job_id: id } };
  return useMutation<JobDetail>({
    mutationFn: () =>
      bodyOf(
        action === "cancel"
          ? client.POST("/api/v1/jobs/{job_id}/cancel", { params })
          : client.POST("/api/v1/jobs/{job_id}/retry", { params }),
      ),
    onSuccess: (job) => {
      queries.setQueryData(keys.job(id), job);
      return queries.invalidateQueries({ queryKey: keys.jobs });
    },
  });
}
