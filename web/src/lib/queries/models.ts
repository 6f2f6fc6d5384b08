import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

/** Registered models. */
export function useModels() {
  return useQuery({
    queryKey: keys.models,
    queryFn: async ({ signal }) => (await bodyOf(client.GET("/api/v1/models", { signal }))).items,
  });
}
