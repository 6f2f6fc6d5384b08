"use client";

import styled from "@emotion/styled";

import { Card, CardBody } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import type { JobDetail } from "@/lib/api/types";
import { formatCount, formatPlural, formatShare } from "@/lib/format";
import { paramsOf } from "@/lib/params";
import { useModels } from "@/lib/queries/models";

import { classCountsOf, countUnitOf } from "./class-counts";

const List = styled.ul`
  display: grid;
  gap: 11px;
  list-style: none;
  font-size: 13.5px;
`;

const Line = styled.div`
  display: flex;
  justify-content: space-between;
  gap: 10px;
  margin-bottom: 3px;
`;

const Track = styled.div`
  height: 8px;
  border-radius: 99px;
  background: var(--track);
  overflow: hidden;

  div {
    height: 100%;
    min-width: 2px;
    border-radius: 99px;
    transition: width 240ms ease-out;
  }
`;

/** What was found, in chips or pixels. Bars are shares of all, in the model's own colours. */
export function ClassCard({ job }: { job: JobDetail }) {
  const counts = classCountsOf(job);
  const unit = countUnitOf(job);
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const colors = useClassColors(paramsOf(job.params).model);
  return (
    <Card title="Classes found" aside={total > 0 && <Small>{formatPlural(total, unit)}</Small>}>
      {counts.length === 0 ? (
        <Empty>Known once a run has written its results.</Empty>
      ) : (
        <CardBody>
          <List>
            {counts.map(({ name, count, share }) => (
              <li key={name} title={`${formatCount(count)} ${unit}s`}>
                <Line>
                  <span>{name}</span>
                  <Small>{formatShare(share)}</Small>
                </Line>
                <Track aria-hidden>
                  <div style={{ width: `${share * 100}%`, background: colors.get(name) ?? "var(--accent)" }} />
                </Track>
              </li>
            ))}
          </List>
          {job.tiles_reused > 0 && (
            <Small as="p" style={{ marginTop: 14 }}>
              Without the {formatPlural(job.tiles_reused, "tile")} reused from earlier jobs.
            </Small>
          )}
        </CardBody>
      )}
    </Card>
  );
}

function useClassColors(reference: string | null): Map<string, string> {
  const model = useModels().data?.find((found) => found.reference === reference);
  return new Map(model?.classes.map(({ name, color }) => [name, color]));
}
