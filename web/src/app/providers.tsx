"use client";

import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { ApiError } from "@/lib/api/error";
import { LiveProvider } from "@/lib/live/context";
import { keys } from "@/lib/queries/keys";

import { SignedIn } from "./signed-in";
import { Styles } from "./styles";

const RETRIES = 2;

/** Caches of answers and of styles, and the stream of events. */
export function Providers({ children }: { children: ReactNode }) {
  const [queries] = useState(newQueryClient);
  return (
    <Styles>
      <QueryClientProvider client={queries}>
        <SignedIn>
          <LiveProvider>{children}</LiveProvider>
        </SignedIn>
      </QueryClientProvider>
    </Styles>
  );
}

/**
 * A refusal stays a refusal; only what may pass is asked again. Where one is not known any more, the
 * session is asked for again, and it tells whether to sign in.
 */
function newQueryClient(): QueryClient {
  const queryCache = new QueryCache({
    onError: (error, query) => {
      const isUnknown = error instanceof ApiError && error.isUnauthenticated;
      if (isUnknown && query.queryKey[0] !== keys.session[0]) {
        void queries.invalidateQueries({ queryKey: keys.session });
      }
    },
  });
  const queries: QueryClient = new QueryClient({
    queryCache,
    defaultOptions: {
      queries: {
        staleTime: 1_000,
        retry: (failures, error) => failures < RETRIES && (!(error instanceof ApiError) || error.isPassing),
      },
    },
  });
  return queries;
}
