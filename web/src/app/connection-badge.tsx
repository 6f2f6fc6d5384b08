"use client";

import styled from "@emotion/styled";

import { inkOf, type Tone } from "@/components/badge";
import { useLiveState } from "@/lib/live/context";
import type { LiveState } from "@/lib/live/stream";

const LOOKS: Record<LiveState, [label: string, tone: Tone, title: string]> = {
  connecting: ["Connecting", "idle", "Opening the stream of events"],
  live: ["Live", "good", "Every change shows up at once"],
  reconnecting: ["Reconnecting", "warn", "The stream of events is away; this page asks every 5 seconds"],
};

const Status = styled.span<{ tone: Tone }>`
  display: inline-flex;
  align-items: center;
  justify-content: flex-end;
  gap: 8px;
  min-width: 116px;
  font-size: 13px;
  font-weight: 600;
  color: ${({ tone }) => inkOf(tone)};

  &::before {
    content: "";
    width: 8px;
    height: 8px;
    border-radius: 50%;
    background: currentcolor;
    box-shadow: 0 0 0 3px var(--${({ tone }) => tone}-soft);
  }
`;

/** Whether events reach this page now. */
export function ConnectionBadge() {
  const state = useLiveState();
  const [label, tone, title] = LOOKS[state];
  return (
    <Status role="status" tone={tone} title={title} data-testid="connection" data-state={state}>
      {label}
    </Status>
  );
}
