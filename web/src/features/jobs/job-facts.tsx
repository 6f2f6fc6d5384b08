"use client";

import styled from "@emotion/styled";

import { Age } from "@/components/age";
import { Card, CardBody } from "@/components/card";
import { Copyable } from "@/components/copyable";
import type { Job } from "@/lib/api/types";
import { formatMoment, formatShare } from "@/lib/format";
import { paramsOf } from "@/lib/params";
import { useNow } from "@/lib/use-now";

import { Lasted } from "./lasted";

const NOW_MS = 1_000;
const SCENES_SHOWN = 12;

const Facts = styled.dl`
  display: grid;
  grid-template-columns: max-content minmax(0, 1fr);
  gap: 8px 16px;
  font-size: 14px;

  dt {
    color: var(--muted);
  }

  dd {
    overflow-wrap: anywhere;
  }
`;

/** What was asked, by whom and when. */
export function JobFacts({ job }: { job: Job }) {
  const nowMs = useNow(NOW_MS);
  const { model, scenes, acceptGsdMismatch, reuse, serial, maxCloudFraction } = paramsOf(job.params);
  return (
    <Card title="Request">
      <CardBody>
        <Facts>
          <dt>Model</dt>
          <dd>{model ?? "not known"}</dd>
          <dt>Scenes</dt>
          <dd>
            {scenes.slice(0, SCENES_SHOWN).map((scene) => (
              <div key={scene}>{scene}</div>
            ))}
            {scenes.length === 0 && "not known"}
            {scenes.length > SCENES_SHOWN && `and ${scenes.length - SCENES_SHOWN} more`}
          </dd>
          <dt>Submitted</dt>
          <dd title={formatMoment(job.created_at)}>
            <Age at={job.created_at} nowMs={nowMs} /> by {job.submitted_by}
            {job.origin === "dagster" && ", in Dagster"}
          </dd>
          <dt>Took</dt>
          <dd>
            <Lasted work={job} nowMs={nowMs} />
          </dd>
          <dt>Priority</dt>
          <dd>{job.priority}</dd>
          <dt>Options</dt>
          <dd>
            {acceptGsdMismatch ? "accepts GSD mismatch" : "refuses GSD mismatch"},{" "}
            {reuse ? "reuses valid tiles" : "computes every tile"}
            {serial && ", one scene at a time"}
            {maxCloudFraction !== null && `, skips tiles clouded beyond ${formatShare(maxCloudFraction)}`}
          </dd>
          <dt>Id</dt>
          <dd>
            <Copyable text={job.id} label="the job's id" />
          </dd>
        </Facts>
      </CardBody>
    </Card>
  );
}
