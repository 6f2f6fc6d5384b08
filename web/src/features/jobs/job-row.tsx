"use client";

import styled from "@emotion/styled";
import Link from "next/link";

import { Age } from "@/components/age";
import { Small } from "@/components/layout";
import { LabelledProgress } from "@/components/progress-bar";
import { StatePill } from "@/components/state-pill";
import type { Job } from "@/lib/api/types";
import { formatKm2, formatPlural } from "@/lib/format";
import { paramsOf } from "@/lib/params";
import { progressOf } from "@/lib/progress";

const Name = styled(Link)`
  color: var(--text);
  font-weight: 600;
  text-decoration: none;
  overflow-wrap: anywhere;

  &:hover {
    color: var(--accent);
    text-decoration: underline;
  }
`;

const OneLine = styled(Small)`
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
`;

const Named = styled.td`
  width: 40%;
  max-width: 0; /* lets long lists of scenes be cut, not the table grow */

  @media (max-width: 760px) {
    width: auto;
    max-width: none;
  }
`;

const Wide = styled.td`
  width: 30%;
  min-width: 190px;

  @media (max-width: 760px) {
    width: auto;
  }
`;

export function JobRow({ job, nowMs }: { job: Job; nowMs: number }) {
  return (
    <tr data-testid="job" data-job={job.id}>
      <Named>
        <Name href={`/job/?id=${job.id}`}>{job.name}</Name>
        <Work job={job} />
      </Named>
      <td>
        <StatePill state={job.state} />
      </td>
      <Wide>
        <LabelledProgress progress={progressOf(job)} label={`Progress of ${job.name}`} />
      </Wide>
      <td data-label="Area" className="number">
        {formatKm2(job.area_km2)}
      </td>
      <td data-label="Submitted" className="number">
        <Age at={job.created_at} nowMs={nowMs} />
      </td>
    </tr>
  );
}

/** The model and the scenes, and who asked where it was not this page's API. */
function Work({ job }: { job: Job }) {
  const { model, scenes } = paramsOf(job.params);
  const facts = [model ?? "no model known", job.origin === "dagster" && "from Dagster"].filter(Boolean);
  const counted = scenes.length > 1 ? `${formatPlural(scenes.length, "scene")}: ` : "";
  return (
    <>
      <Small as="div">{facts.join(" · ")}</Small>
      <OneLine as="div" title={scenes.join(", ")}>
        {counted}
        {scenes.join(", ")}
      </OneLine>
    </>
  );
}
