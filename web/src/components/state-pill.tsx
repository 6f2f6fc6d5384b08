"use client";

import { keyframes } from "@emotion/react";
import styled from "@emotion/styled";

import type { JobState, RunState } from "@/lib/api/types";

import { Badge, type Tone } from "./badge";

const LOOKS: Record<JobState | RunState, [label: string, tone: Tone, isMoving: boolean]> = {
  PENDING: ["Pending", "idle", false],
  QUEUED: ["Queued", "idle", false],
  STARTING: ["Starting", "accent", true],
  RUNNING: ["Running", "accent", true],
  CANCELLING: ["Cancelling", "warn", true],
  COMPLETED: ["Completed", "good", false],
  FAILED: ["Failed", "bad", false],
  CANCELLED: ["Cancelled", "idle", false],
};

const pulse = keyframes`
  50% { opacity: 0.35; }
`;

const Dot = styled.span<{ moving: boolean }>`
  width: 7px;
  height: 7px;
  border-radius: 50%;
  background: currentcolor;
  animation: ${({ moving }) => (moving ? pulse : "none")} 1.6s ease-in-out infinite;
`;

/** The state of a job or a run, by word as well as by colour. */
export function StatePill({ state }: { state: JobState | RunState }) {
  const [label, tone, isMoving] = LOOKS[state];
  return (
    <Badge tone={tone} data-state={state}>
      <Dot moving={isMoving} aria-hidden />
      {label}
    </Badge>
  );
}
