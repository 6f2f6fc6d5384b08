"use client";

import styled from "@emotion/styled";

export type Tone = "good" | "bad" | "warn" | "accent" | "idle";

const INK: Record<Tone, string> = {
  good: "var(--good)",
  bad: "var(--bad)",
  warn: "var(--warn)",
  accent: "var(--accent)",
  idle: "var(--muted)",
};

export const inkOf = (tone: Tone): string => INK[tone];

export const Badge = styled.span<{ tone: Tone }>`
  display: inline-flex;
  align-items: center;
  gap: 6px;
  padding: 1px 9px;
  border-radius: 99px;
  font-size: 12.5px;
  font-weight: 600;
  line-height: 20px;
  white-space: nowrap;
  color: ${({ tone }) => INK[tone]};
  background: var(--${({ tone }) => tone}-soft);
`;

/** Marks whatever computes on the processor instead of a GPU. */
export function SimulatedBadge() {
  return (
    <Badge tone="warn" title="This device computes on the processor, not on a GPU">
      simulated
    </Badge>
  );
}
