import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

const POLL_MS = 10_000; // whether a worker lives is told by no event

/** Every device that was ever seen. */
export function useGpus() {
  return useQuery({
    queryKey: keys.gpus,
    queryFn: async ({ signal }) => (await bodyOf(client.GET("/api/v1/gpus", { signal }))).items,
    refetchInterval: POLL_MS,
  });
}
