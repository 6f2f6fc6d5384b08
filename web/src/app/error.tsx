"use client";

import { Button } from "@/components/button";
import { Page, Stack } from "@/components/layout";
import { Notice } from "@/components/notice";

export default function ErrorPage({ error, reset }: { error: Error; reset: () => void }) {
  return (
    <Page>
      <Stack gap={16} style={{ alignItems: "flex-start" }}>
        <Notice tone="bad" assertive>
          This page broke: {error.message}
        </Notice>
        <Button onClick={reset}>Show it again</Button>
      </Stack>
    </Page>
  );
}
