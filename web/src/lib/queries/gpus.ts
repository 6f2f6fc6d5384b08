import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

const POLL_MS = 5_000; // whether a worker lives, and what a device does, is told by no event here

/** Every device that was ever seen. */
export function useGpus() {
  return useQuery({
    queryKey: keys.gpus,
    queryFn: async ({ signal }) => (await bodyOf(client.GET("/api/v1/gpus", { signal }))).items,
    refetchInterval: POLL_MS,
  });
}
