"use client";

import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, use, useEffect, useState } from "react";

import { keys } from "@/lib/queries/keys";

import { Gatherer } from "./gatherer";
import { staleAfter } from "./hints";
import { LiveStream, type LiveState } from "./stream";

const LiveContext = createContext<LiveState>("connecting");

/** Whether events reach this page. */
export function useLiveState(): LiveState {
  return use(LiveContext);
}

/** Keeps every query below it up to date by the stream of events. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const [state, setState] = useState<LiveState>("connecting");
  useEffect(() => follow(queries, setState), [queries]);
  return <LiveContext value={state}>{children}</LiveContext>;
}

/** Events say what is stale; what they did not say while the socket was away is asked on opening. */
function follow(queries: QueryClient, onState: (state: LiveState) => void): () => void {
  const gatherer = new Gatherer((stale) =>
    Promise.all(stale.map((queryKey) => queries.invalidateQueries({ queryKey }))),
  );
  const stream = new LiveStream({
    onState,
    onOpen: () => void queries.invalidateQueries(),
    onEvent: (event) => gatherer.add(staleAfter(event)),
    onSignedOut: () => void queries.invalidateQueries({ queryKey: keys.session }),
  });
  return () => {
    stream.close();
    gatherer.stop();
  };
}
