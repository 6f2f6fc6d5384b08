"use client";

import styled from "@emotion/styled";
import Link from "next/link";

import { Age } from "@/components/age";
import { Badge, SimulatedBadge, type Tone } from "@/components/badge";
import { Row, Small } from "@/components/layout";
import type { Gpu } from "@/lib/api/types";
import { formatMemory, formatPlural } from "@/lib/format";
import { useNow } from "@/lib/use-now";

import { Usage } from "./usage";

const NOW_MS = 1_000;

const Item = styled.li`
  padding: 14px 18px;
  border-bottom: 1px solid var(--line);

  &:last-of-type {
    border-bottom: 0;
  }
`;

const Name = styled.span`
  font-weight: 600;
  overflow-wrap: anywhere;
`;

export function DeviceItem({ device }: { device: Gpu }) {
  const nowMs = useNow(NOW_MS);
  const [label, tone] = conditionOf(device);
  const facts = [
    `${device.host} #${device.index}`,
    formatMemory(device.total_mem_mb),
    device.compute_capability && `compute ${device.compute_capability}`,
  ].filter(Boolean);
  return (
    <Item>
      <Row style={{ justifyContent: "space-between", flexWrap: "nowrap", alignItems: "flex-start" }}>
        <Row gap={8}>
          <Name>{device.name}</Name>
          {device.simulated && <SimulatedBadge />}
        </Row>
        <Badge tone={tone}>{label}</Badge>
      </Row>
      <Small as="div" title={device.uuid}>
        {facts.join(" · ")}
      </Small>
      <Small as="div">
        {device.held_by ? <HeldBy holder={device.held_by} others={device.runs - 1} nowMs={nowMs} /> : <Idle device={device} nowMs={nowMs} />}
      </Small>
      <Usage device={device} />
    </Item>
  );
}

type HeldByProps = { holder: NonNullable<Gpu["held_by"]>; others: number; nowMs: number };

function HeldBy({ holder, others, nowMs }: HeldByProps) {
  const short = holder.run_id.slice(-8);
  return (
    <>
      held by{" "}
      {holder.job_id === null ? <>run {short}</> : <Link href={`/job/?id=${holder.job_id}`}>run {short}</Link>}, since{" "}
      <Age at={holder.acquired_at} nowMs={nowMs} />
      {others > 0 && `, and by ${formatPlural(others, "other run")}`}
    </>
  );
}

function Idle({ device, nowMs }: { device: Gpu; nowMs: number }) {
  if (device.health === "quarantined") return <>set aside until it passes a probe: {device.health_reason}</>;
  if (device.runs > 0) return <>held by {formatPlural(device.runs, "run")} of other accounts</>;
  if (device.online) return <>held by nobody</>;
  return (
    <>
      last seen <Age at={device.seen_at} nowMs={nowMs} />
    </>
  );
}

/** Each condition in a word: no worker, a fault of its own, no engine yet, at work, or free. */
function conditionOf(device: Gpu): [label: string, tone: Tone] {
  if (!device.online) return ["offline", "bad"];
  if (device.health === "quarantined") return ["quarantined", "bad"];
  if (!device.engine_ready) return ["engine starting", "idle"];
  return device.runs > 0 ? ["in use", "accent"] : ["engine ready", "good"];
}
