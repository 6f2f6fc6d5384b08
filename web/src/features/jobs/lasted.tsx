"use client";

import { formatDuration, formatElapsed } from "@/lib/format";

type Work = { started_at: string | null; finished_at: string | null };

/** How long work took, or takes so far. */
export function Lasted({ work, nowMs }: { work: Work; nowMs: number }) {
  if (work.started_at === null) return <>not started</>;
  const endMs = work.finished_at === null ? nowMs : Date.parse(work.finished_at);
  const seconds = (endMs - Date.parse(work.started_at)) / 1000;
  return <>{work.finished_at === null ? formatElapsed(seconds) : formatDuration(seconds)}</>;
}
