"use client";

import styled from "@emotion/styled";

import { formatCount, formatShare } from "@/lib/format";
import type { Progress } from "@/lib/progress";

const Track = styled.div<{ thick: boolean }>`
  display: flex;
  width: 100%;
  height: ${({ thick }) => (thick ? 12 : 7)}px;
  border-radius: 99px;
  overflow: hidden;
  background: var(--track);
`;

const Part = styled.div`
  flex: none;
  transition: width 240ms ease-out;
`;

type ProgressBarProps = { progress: Progress; label: string; thick?: boolean };

/** Reused, completed, failed and skipped tiles as parts of those planned. */
export function ProgressBar({ progress, label, thick = false }: ProgressBarProps) {
  const { planned, reused, completed, failed, skipped, done } = progress;
  const parts = [
    { name: "completed", tiles: completed, color: "var(--accent)" },
    { name: "reused", tiles: reused, color: "var(--reused)" },
    { name: "failed", tiles: failed, color: "var(--bad)" },
    { name: "skipped", tiles: skipped, color: "var(--skipped)" },
  ].filter(({ tiles }) => tiles > 0);
  return (
    <Track
      thick={thick}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={planned}
      aria-valuenow={Math.min(done, planned)}
      aria-valuetext={`${formatCount(done)} of ${formatCount(planned)} tiles`}
    >
      {parts.map(({ name, tiles, color }) => (
        <Part key={name} style={{ width: `${share(tiles, planned) * 100}%`, background: color }} />
      ))}
    </Track>
  );
}

const Line = styled.div`
  display: flex;
  justify-content: space-between;
  gap: 8px;
  font-size: 12.5px;
  color: var(--muted);
  white-space: nowrap;
  margin-bottom: 4px;
`;

/** The bar with its numbers above it. */
export function LabelledProgress({ progress, label }: Omit<ProgressBarProps, "thick">) {
  const { planned, done, failed, skipped } = progress;
  return (
    <div>
      <Line>
        <span>
          {formatCount(done)} / {formatCount(planned)} tiles
          {failed > 0 && <span style={{ color: "var(--bad)" }}> · {formatCount(failed)} failed</span>}
          {skipped > 0 && ` · ${formatCount(skipped)} skipped`}
        </span>
        <span>{percentOf(progress)}</span>
      </Line>
      <ProgressBar progress={progress} label={label} />
    </div>
  );
}

/** Never 100 % before the last tile. */
export function percentOf({ share: done, planned, done: tiles }: Progress): string {
  if (planned === 0) return "–";
  return tiles < planned && done > 0.99 ? "99%" : formatShare(done);
}

function share(tiles: number, planned: number): number {
  return planned > 0 ? Math.min(1, tiles / planned) : 0;
}
