"use client";

import { formatAge, formatMoment } from "@/lib/format";

/** How long ago an instant was; the instant itself on hovering. */
export function Age({ at, nowMs }: { at: string; nowMs: number }) {
  return (
    <time dateTime={at} title={formatMoment(at)}>
      {formatAge(at, nowMs)}
    </time>
  );
}
