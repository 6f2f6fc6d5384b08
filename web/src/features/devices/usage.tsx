"use client";

import styled from "@emotion/styled";

import { Small } from "@/components/layout";
import type { Gpu } from "@/lib/api/types";
import { formatMemory } from "@/lib/format";
import { useSamples } from "@/lib/queries/samples";

const WIDTH = 240;
const HEIGHT = 36;
const SECONDS = 600;

const Graph = styled.svg`
  display: block;
  width: 100%;
  height: ${HEIGHT}px;
  margin-top: 8px;

  path {
    fill: none;
    stroke: var(--accent);
    stroke-width: 1.5;
    vector-effect: non-scaling-stroke;
  }

  line {
    stroke: var(--line);
    vector-effect: non-scaling-stroke;
  }
`;

/** What a device does now, and how busy it was in the last ten minutes. */
export function Usage({ device }: { device: Gpu }) {
  const samples = useSamples(device.uuid, SECONDS).data ?? [];
  const now = device.sample;
  if (now === null) return null;
  const facts = [
    now.utilisation_pct !== null && `${Math.round(now.utilisation_pct)} % busy`,
    now.mem_used_mb !== null && `${formatMemory(now.mem_used_mb)} used`,
    now.temperature_c !== null && `${Math.round(now.temperature_c)} °C`,
    now.power_w !== null && `${Math.round(now.power_w)} W`,
  ].filter(Boolean);
  const end = Date.parse(now.at);
  const points = samples
    .filter((sample) => sample.utilisation_pct !== null)
    .map((sample) => {
      const x = WIDTH * (1 - (end - Date.parse(sample.at)) / (SECONDS * 1000));
      return `${x.toFixed(1)},${(HEIGHT - 2 - ((sample.utilisation_pct ?? 0) / 100) * (HEIGHT - 4)).toFixed(1)}`;
    });
  return (
    <>
      <Small as="div">
        {facts.join(" · ")}
        {device.simulated && " (of the processor)"}
      </Small>
      {points.length > 1 && (
        <Graph viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label="Busy share, last ten minutes">
          <line x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} />
          <path d={`M${points.join("L")}`} />
        </Graph>
      )}
    </>
  );
}
