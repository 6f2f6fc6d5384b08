import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

/** The release, and where Dagster's pages are. */
export function useAbout() {
  return useQuery({
    queryKey: keys.about,
    queryFn: ({ signal }) => bodyOf(client.GET("/api/v1/about", { signal })),
    staleTime: Infinity,
  });
}
