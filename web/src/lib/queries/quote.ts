import { useQuery } from "@tanstack/react-query";

import { bodyOf, client } from "@/lib/api/client";
import type { JobRequest } from "@/lib/api/types";

/** What a request would cost, or why it would be refused. Pass null while it is incomplete. */
export function useQuote(request: JobRequest | null) {
  return useQuery({
    queryKey: ["quote", request],
    enabled: request !== null,
    queryFn: ({ signal }) => {
      if (request === null) throw new Error("there is nothing to quote");
      return bodyOf(client.POST("/api/v1/jobs/quote", { body: request, signal }));
    },
  });
}
