"use client";

import styled from "@emotion/styled";
import { useState } from "react";

import { Mono } from "./layout";

const SHOWN_MS = 1_500;

const Copy = styled.button`
  flex: none;
  border: 1px solid var(--line);
  border-radius: 6px;
  background: none;
  color: var(--muted);
  font-size: 12px;
  line-height: 18px;
  width: 58px;
  cursor: pointer;

  &:hover {
    color: var(--text);
    border-color: var(--line-strong);
  }
`;

const Line = styled.span`
  display: flex;
  align-items: baseline;
  justify-content: space-between;
  gap: 10px;
  min-width: 0;
`;

/** A text in full with a button that copies it. The clipboard exists on https and localhost only. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), SHOWN_MS);
  };
  return (
    <Line>
      <Mono>{text}</Mono>
      {typeof navigator !== "undefined" && "clipboard" in navigator && (
        <Copy type="button" aria-label={`Copy ${label}`} onClick={() => void copy()}>
          {copied ? "Copied" : "Copy"}
        </Copy>
      )}
    </Line>
  );
}
