"use client";

import styled from "@emotion/styled";
import type { ReactNode } from "react";

import { inkOf, type Tone } from "./badge";

const Box = styled.div<{ tone: Tone }>`
  padding: 9px 13px;
  border-radius: 8px;
  border-left: 3px solid ${({ tone }) => inkOf(tone)};
  background: var(--${({ tone }) => tone}-soft);
  font-size: 14px;
  overflow-wrap: anywhere;
  white-space: pre-line;
`;

type NoticeProps = { tone: Tone; children: ReactNode; assertive?: boolean };

/** A message in place. `assertive` ones are read out at once. */
export function Notice({ tone, children, assertive = false }: NoticeProps) {
  return (
    <Box tone={tone} role={assertive ? "alert" : "note"}>
      {children}
    </Box>
  );
}
