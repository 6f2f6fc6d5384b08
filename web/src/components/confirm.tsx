"use client";

import styled from "@emotion/styled";
import { type ReactNode, useEffect, useId, useRef } from "react";

import { Button } from "./button";
import { Row, Stack } from "./layout";
import { Notice } from "./notice";

const Box = styled.dialog`
  width: min(440px, calc(100vw - 32px));
  padding: 22px;
  border: 1px solid var(--line-strong);
  border-radius: var(--radius);
  background: var(--surface);
  color: var(--text);
  box-shadow: 0 24px 64px rgb(0 0 0 / 35%);

  &::backdrop {
    background: rgb(5 10 16 / 55%);
  }

  h2 {
    font-size: 17px;
  }
`;

type ConfirmProps = {
  title: string;
  children: ReactNode;
  action: string;
  look: "primary" | "danger";
  busy: boolean;
  problem: string | null;
  onConfirm: () => void;
  onClose: () => void;
};

/** Asks before something that cannot be undone. Escape closes it; the browser keeps the focus inside. */
export function Confirm({ title, children, action, look, busy, problem, onConfirm, onClose }: ConfirmProps) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => box.current?.showModal(), []);
  return (
    <Box ref={box} aria-labelledby={id} onClose={onClose}>
      <Stack gap={14}>
        <h2 id={id}>{title}</h2>
        <p>{children}</p>
        {problem !== null && (
          <Notice tone="bad" assertive>
            {problem}
          </Notice>
        )}
        <Row style={{ justifyContent: "flex-end" }}>
          <Button type="button" autoFocus onClick={() => box.current?.close()}>
            Keep it as it is
          </Button>
          <Button type="button" look={look} disabled={busy} onClick={onConfirm}>
            {action}
          </Button>
        </Row>
      </Stack>
    </Box>
  );
}
