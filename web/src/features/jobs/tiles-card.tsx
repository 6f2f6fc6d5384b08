"use client";

import styled from "@emotion/styled";

import { Card, CardBody } from "@/components/card";
import { Small } from "@/components/layout";
import { percentOf, ProgressBar } from "@/components/progress-bar";
import type { Job } from "@/lib/api/types";
import { formatCount, formatKm2 } from "@/lib/format";
import { progressOf } from "@/lib/progress";

const Figures = styled.dl`
  display: grid;
  grid-template-columns: repeat(auto-fit, minmax(92px, 1fr));
  gap: 14px;
  margin-top: 18px;

  dt {
    display: flex;
    align-items: center;
    gap: 7px;
    font-size: 13px;
    color: var(--muted);
  }

  dd {
    font-size: 22px;
    font-weight: 640;
    line-height: 1.3;
    letter-spacing: -0.01em;
    white-space: nowrap;
  }
`;

const Key = styled.span`
  width: 9px;
  height: 9px;
  border-radius: 3px;
`;

/** How far the job is, in tiles. */
export function TilesCard({ job }: { job: Job }) {
  const progress = progressOf(job);
  const figures = [
    { name: "planned", text: formatCount(progress.planned), color: "var(--track)" },
    { name: "completed", text: formatCount(progress.completed), color: "var(--accent)" },
    { name: "reused", text: formatCount(progress.reused), color: "var(--reused)" },
    { name: "failed", text: formatCount(progress.failed), color: "var(--bad)" },
    ...(progress.skipped > 0
      ? [{ name: "skipped", text: formatCount(progress.skipped), color: "var(--skipped)" }]
      : []),
    { name: "computed", text: formatKm2(job.area_km2), color: null },
  ];
  return (
    <Card title="Tiles" aside={<Small>{percentOf(progress)}</Small>}>
      <CardBody>
        <ProgressBar thick progress={progress} label={`Progress of ${job.name}`} />
        <Figures>
          {figures.map(({ name, text, color }) => (
            <div key={name}>
              <dt>
                {color && <Key style={{ background: color }} aria-hidden />}
                {name}
              </dt>
              <dd data-testid={`tiles-${name}`}>{text}</dd>
            </div>
          ))}
        </Figures>
      </CardBody>
    </Card>
  );
}
