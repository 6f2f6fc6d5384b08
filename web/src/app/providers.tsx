"use client";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { ApiError } from "@/lib/api/error";
import { LiveProvider } from "@/lib/live/context";

import { Styles } from "./styles";

const RETRIES = 2;

/** Caches of answers and of styles, and the stream of events. */
export function Providers({ children }: { children: ReactNode }) {
  const [queries] = useState(newQueryClient);
  return (
    <Styles>
      <QueryClientProvider client={queries}>
        <LiveProvider>{children}</LiveProvider>
      </QueryClientProvider>
    </Styles>
  );
}

/** A refusal stays a refusal; only what may pass is asked again. */
function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 1_000,
        retry: (failures, error) => failures < RETRIES && (!(error instanceof ApiError) || error.isPassing),
      },
    },
  });
}
