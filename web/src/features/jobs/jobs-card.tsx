"use client";

import { Button } from "@/components/button";
import { Card } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import { Loaded } from "@/components/loaded";
import { Skeleton } from "@/components/skeleton";
import { Table } from "@/components/table";
import type { Job } from "@/lib/api/types";
import { useJobs } from "@/lib/queries/jobs";
import { useNow } from "@/lib/use-now";

import { JobRow } from "./job-row";

const NOW_MS = 1_000;

/** Jobs, newest first. */
export function JobsCard() {
  const query = useJobs();
  const jobs = query.data?.pages.flatMap((page) => page.items);
  return (
    <Card title="Jobs" aside={<Small>newest first</Small>}>
      <Loaded query={{ ...query, data: jobs }} loading={<Skeleton rows={6} heightPx={54} />}>
        {(found) => (found.length === 0 ? <NoJobs /> : <JobTable jobs={found} />)}
      </Loaded>
      {query.hasNextPage && (
        <div style={{ padding: 14, textAlign: "center", borderTop: "1px solid var(--line)" }}>
          <Button disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show older jobs
          </Button>
        </div>
      )}
    </Card>
  );
}

function NoJobs() {
  return (
    <Empty>
      <strong>No job yet</strong>
      Choose a model and a scene under “Submit a job”, or run <code>constellation jobs submit</code>.
    </Empty>
  );
}

function JobTable({ jobs }: { jobs: Job[] }) {
  const nowMs = useNow(NOW_MS);
  return (
    <Table>
      <thead>
        <tr>
          <th scope="col">Job</th>
          <th scope="col">State</th>
          <th scope="col">Progress</th>
          <th scope="col" className="number">
            Area
          </th>
          <th scope="col" className="number">
            Submitted
          </th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <JobRow key={job.id} job={job} nowMs={nowMs} />
        ))}
      </tbody>
    </Table>
  );
}
