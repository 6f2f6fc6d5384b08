"use client";

import { keyframes } from "@emotion/react";
import styled from "@emotion/styled";

const breathe = keyframes`
  50% { opacity: 0.5; }
`;

const Bar = styled.div`
  border-radius: 8px;
  background: var(--track);
  animation: ${breathe} 1.8s ease-in-out infinite;
`;

/** Grey bars in the place of what is still on its way. */
export function Skeleton({ rows, heightPx }: { rows: number; heightPx: number }) {
  return (
    <div role="status" aria-label="Loading" style={{ display: "grid", gap: 12, padding: 18 }}>
      {Array.from({ length: rows }, (_, row) => (
        <Bar key={row} style={{ height: heightPx }} />
      ))}
    </div>
  );
}
