"use client";

import type { ReactNode } from "react";

import { messageOf } from "@/lib/api/error";

import { Button } from "./button";
import { Stack } from "./layout";
import { Notice } from "./notice";

type Query<Data> = {
  data: Data | undefined;
  error: Error | null;
  refetch: () => unknown;
};

type LoadedProps<Data> = {
  query: Query<Data>;
  loading: ReactNode;
  children: (data: Data) => ReactNode;
};

/** An answer once it is there; what was known last, and why it may be old, when asking again failed. */
export function Loaded<Data>({ query, loading, children }: LoadedProps<Data>) {
  if (query.data !== undefined) {
    return (
      <>
        {query.error && <Padded error={query.error} prefix="What you see may be old. " />}
        {children(query.data)}
      </>
    );
  }
  if (query.error === null) return loading;
  return <Padded error={query.error} retry={() => void query.refetch()} />;
}

function Padded({ error, prefix = "", retry }: { error: Error; prefix?: string; retry?: () => void }) {
  return (
    <Stack gap={12} style={{ padding: 18, alignItems: "flex-start" }}>
      <Notice tone="bad" assertive>
        {prefix}
        {messageOf(error)}
      </Notice>
      {retry && <Button onClick={retry}>Try again</Button>}
    </Stack>
  );
}
