"use client";

import styled from "@emotion/styled";
import type { ReactNode } from "react";

const Label = styled.label`
  display: flex;
  flex-direction: column;
  gap: 5px;
  font-size: 13px;
  font-weight: 600;
`;

export const Hint = styled.span`
  font-size: 12.5px;
  font-weight: 400;
  color: var(--muted);
`;

const CONTROL = `
  width: 100%;
  min-height: 36px;
  padding: 6px 10px;
  border: 1px solid var(--line-strong);
  border-radius: 8px;
  background: var(--raised);
  font-weight: 400;
  font-size: 14.5px;
`;

export const Input = styled.input(CONTROL);
export const Select = styled.select(CONTROL);

/** A control with its name above it. */
export function Field({ label, hint, children }: { label: string; hint?: ReactNode; children: ReactNode }) {
  return (
    <Label>
      {label}
      {children}
      {hint !== undefined && <Hint>{hint}</Hint>}
    </Label>
  );
}

export const CheckLabel = styled.label`
  display: flex;
  align-items: flex-start;
  gap: 9px;
  font-size: 14px;
  cursor: pointer;

  input {
    flex: none;
    width: 16px;
    height: 16px;
    margin: 3px 0 0;
    accent-color: var(--accent);
  }
`;
