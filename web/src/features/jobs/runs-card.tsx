"use client";

import styled from "@emotion/styled";

import { Card } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import type { JobDetail, Run } from "@/lib/api/types";
import { formatPlural } from "@/lib/format";
import { useAbout } from "@/lib/queries/about";
import { useNow } from "@/lib/use-now";

import { newestRuns } from "./newest-runs";
import { RunItem } from "./run-item";

const NOW_MS = 1_000;

const List = styled.ul`
  list-style: none;
`;

const Earlier = styled.details`
  border-top: 1px solid var(--line);

  summary {
    padding: 12px 18px;
    color: var(--muted);
    cursor: pointer;
  }
`;

/** The newest run of each scene, in the order they were made; earlier attempts below. */
export function RunsCard({ job }: { job: JobDetail }) {
  const newest = newestRuns(job.runs);
  const earlier = job.runs.filter((run) => !newest.includes(run));
  return (
    <Card title="Runs" aside={<Small>{formatPlural(newest.length, "scene")}</Small>}>
      {job.runs.length === 0 && <Empty>This job has no run.</Empty>}
      <RunList runs={newest} />
      {earlier.length > 0 && (
        <Earlier>
          <summary>{formatPlural(earlier.length, "earlier attempt")}</summary>
          <RunList runs={earlier} />
        </Earlier>
      )}
    </Card>
  );
}

function RunList({ runs }: { runs: Run[] }) {
  const dagsterUrl = useAbout().data?.dagster_url ?? null;
  const nowMs = useNow(NOW_MS);
  return (
    <List>
      {runs.map((run) => (
        <RunItem key={run.id} run={run} dagsterUrl={dagsterUrl} nowMs={nowMs} />
      ))}
    </List>
  );
}
