import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

const POLL_MS = 5_000;
const STEP_S = 5;

/** What a device was doing in the last so many seconds. */
export function useSamples(uuid: string, seconds: number) {
  return useQuery({
    queryKey: [...keys.gpus, uuid, "samples", seconds],
    queryFn: async ({ signal }) => {
      const params = { path: { uuid }, query: { seconds, step_s: STEP_S } };
      return (await bodyOf(client.GET("/api/v1/gpus/{uuid}/samples", { params, signal }))).items;
    },
    refetchInterval: POLL_MS,
  });
}
