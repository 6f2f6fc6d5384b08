"use client";

import styled from "@emotion/styled";

import { Badge, SimulatedBadge } from "@/components/badge";
import { Mono, Row, Small, Stack } from "@/components/layout";
import { Notice } from "@/components/notice";
import { LabelledProgress } from "@/components/progress-bar";
import { StatePill } from "@/components/state-pill";
import type { Run } from "@/lib/api/types";
import { formatMoment, formatPlural, formatValue } from "@/lib/format";
import { metricsOf, type Statistics } from "@/lib/metrics";
import { progressOf } from "@/lib/progress";

import { Lasted } from "./lasted";
import { RunOutputs } from "./run-outputs";

const Item = styled.li`
  padding: 16px 18px;
  border-bottom: 1px solid var(--line);

  &:last-of-type {
    border-bottom: 0;
  }
`;

const Facts = styled.ul`
  display: flex;
  flex-wrap: wrap;
  gap: 4px 14px;
  list-style: none;
  font-size: 13px;
  color: var(--muted);

  li {
    display: flex;
    align-items: center;
    gap: 7px;
  }

  li + li::before {
    content: "·";
    margin-left: -6px;
  }
`;

type RunItemProps = { run: Run; dagsterUrl: string | null; nowMs: number };

/** One scene's run: where it runs, how far it is, what it left behind. */
export function RunItem({ run, dagsterUrl, nowMs }: RunItemProps) {
  const { gsdMismatch, outputs, errors, statistics } = metricsOf(run.metrics);
  const name = run.scene_key ?? run.id;
  return (
    <Item data-testid="run" data-run={run.id}>
      <Stack gap={10}>
        <Row style={{ justifyContent: "space-between" }}>
          <Row gap={10}>
            <strong style={{ fontWeight: 620 }}>{name}</strong>
            <StatePill state={run.state} />
            {gsdMismatch && <Badge tone="warn">GSD mismatch</Badge>}
          </Row>
          {dagsterUrl !== null && isInDagster(run) && (
            <Small>
              <a href={`${dagsterUrl.replace(/\/$/, "")}/runs/${run.id}`}>Open in Dagster</a>
            </Small>
          )}
        </Row>
        <LabelledProgress progress={progressOf(run)} label={`Progress of ${name}`} />
        <Facts>
          <li>
            <Device run={run} />
          </li>
          <li>attempt {run.attempt}</li>
          <li>
            <Lasted work={run} nowMs={nowMs} />
          </li>
          {run.tiles_reused > 0 && <li>{formatPlural(run.tiles_reused, "tile")} reused</li>}
          {run.tiles_skipped > 0 && <li>{formatPlural(run.tiles_skipped, "tile")} skipped, too cloudy</li>}
          {statistics !== null && <li>{valuesIn(statistics)}</li>}
        </Facts>
        {run.waiting !== null && <Waits waiting={run.waiting} />}
        {run.error !== null && <Notice tone="bad">{run.error}</Notice>}
        {run.error === null && errors.length > 0 && (
          <Notice tone="warn">
            {errors.map(([reason, tiles]) => `${formatPlural(tiles, "tile")} failed: ${reason}`).join("\n")}
          </Notice>
        )}
        {outputs.length > 0 && <RunOutputs outputs={outputs} />}
      </Stack>
    </Item>
  );
}

/** A regression's values in one line. */
function valuesIn({ min, max, mean, unit }: Statistics): string {
  return `values ${formatValue(min, null)} to ${formatValue(max, unit)}, mean ${formatValue(mean, unit)}`;
}

/** Why it waits, after how many others, and about when it starts. */
function Waits({ waiting }: { waiting: NonNullable<Run["waiting"]> }) {
  const facts = [
    `waits: ${waiting.reason}`,
    waiting.place !== null && `place ${waiting.place} in the queue`,
    waiting.estimated_start_at !== null && `starts about ${formatMoment(waiting.estimated_start_at)}`,
  ].filter(Boolean);
  return <Small as="div">{facts.join(" · ")}</Small>;
}

function Device({ run }: { run: Run }) {
  if (run.device_uuid === null) return <span>no device yet</span>;
  return (
    <>
      <span>
        on <Mono>{run.device_uuid}</Mono>
      </span>
      {run.simulated === true && <SimulatedBadge />}
    </>
  );
}

/** Dagster learns of a run when the dispatcher hands it over. */
function isInDagster(run: Run): boolean {
  return run.state !== "PENDING" && !(run.state === "CANCELLED" && run.started_at === null);
}
