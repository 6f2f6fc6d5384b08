import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

const POLL_MS = 2_000; // no event tells that the dispatcher has registered the first one

/** Registered models. */
export function useModels() {
  return useQuery({
    queryKey: keys.models,
    queryFn: async ({ signal }) => (await bodyOf(client.GET("/api/v1/models", { signal }))).items,
    refetchInterval: (query) => (query.state.data?.length === 0 ? POLL_MS : false),
  });
}
