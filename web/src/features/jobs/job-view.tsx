"use client";

import Link from "next/link";
import { useEffect } from "react";

import { Card } from "@/components/card";
import { Columns, Small, Stack } from "@/components/layout";
import { Loaded } from "@/components/loaded";
import { Notice } from "@/components/notice";
import { Skeleton } from "@/components/skeleton";
import type { JobDetail } from "@/lib/api/types";
import { metricsOf } from "@/lib/metrics";
import { useJob } from "@/lib/queries/jobs";

import { ClassCard } from "./class-card";
import { JobFacts } from "./job-facts";
import { JobHeader } from "./job-header";
import { LogCard } from "./log-card";
import { newestRuns } from "./newest-runs";
import { RunsCard } from "./runs-card";
import { TilesCard } from "./tiles-card";

/** One job in full. */
export function JobView({ id }: { id: string }) {
  const query = useJob(id);
  const name = query.data?.name;
  useEffect(() => {
    if (name !== undefined) document.title = `${name} · Constellation`;
  }, [name]);
  const loading = (
    <Card title="Job">
      <Skeleton rows={5} heightPx={64} />
    </Card>
  );
  return (
    <Stack gap={20}>
      <Small>
        <Link href="/">Jobs</Link> / {name ?? id}
      </Small>
      <Loaded query={query} loading={loading}>
        {(job) => <Found job={job} />}
      </Loaded>
    </Stack>
  );
}

const WITHOUT_CLASSES = ["regression", "similarity-search"];

/** A run says what its model does once it has ended; until then there may be classes. */
function findsClasses(job: JobDetail): boolean {
  return !job.runs.some((run) => WITHOUT_CLASSES.includes(metricsOf(run.metrics).task ?? ""));
}

function Found({ job }: { job: JobDetail }) {
  const mismatched = newestRuns(job.runs).filter((run) => metricsOf(run.metrics).gsdMismatch);
  const keys = mismatched.map((run) => run.scene_key).join(", ");
  return (
    <Stack gap={20}>
      <JobHeader job={job} />
      {job.error !== null && (
        <Notice tone="bad" assertive>
          {job.error}
        </Notice>
      )}
      {mismatched.length > 0 && (
        <Notice tone="warn">
          GSD mismatch: the pixels of {keys} are outside the range the model was trained for. The job accepted this;
          read its results with care.
        </Notice>
      )}
      <Columns>
        <Stack gap={20}>
          <TilesCard job={job} />
          <RunsCard job={job} />
          <LogCard jobId={job.id} />
        </Stack>
        <Stack gap={20}>
          {findsClasses(job) && <ClassCard job={job} />}
          <JobFacts job={job} />
        </Stack>
      </Columns>
    </Stack>
  );
}
