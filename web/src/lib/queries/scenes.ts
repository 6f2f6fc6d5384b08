import { useInfiniteQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";

import { keys } from "./keys";

const PAGE_SIZE = 200;
const POLL_MS = 2_000; // no event tells of the first scene

/** Registered scenes by key, a page at a time. */
export function useScenes() {
  return useInfiniteQuery({
    queryKey: keys.scenes,
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      bodyOf(client.GET("/api/v1/scenes", { params: { query: { limit: PAGE_SIZE, cursor: pageParam } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
    refetchInterval: (query) => (query.state.data?.pages[0]?.items.length === 0 ? POLL_MS : false),
  });
}
