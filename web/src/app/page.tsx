"use client";

import { Columns, Hidden, Page, Stack } from "@/components/layout";
import { DevicesCard } from "@/features/devices/devices-card";
import { JobsCard } from "@/features/jobs/jobs-card";
import { SubmitCard } from "@/features/jobs/submit-card";

export default function HomePage() {
  return (
    <Page>
      <Hidden as="h1">Jobs and devices</Hidden>
      <Columns>
        <JobsCard />
        <Stack>
          <DevicesCard />
          <SubmitCard />
        </Stack>
      </Columns>
    </Page>
  );
}
