"use client";

import styled from "@emotion/styled";
import { type ReactNode, useId } from "react";

const Frame = styled.section`
  background: var(--surface);
  border: 1px solid var(--line);
  border-radius: var(--radius);
  box-shadow: var(--shadow);
  min-width: 0;
  overflow: hidden;
`;

const Head = styled.header`
  display: flex;
  align-items: baseline;
  justify-content: space-between;
  gap: 12px;
  padding: 14px 18px 12px;
  border-bottom: 1px solid var(--line);

  h2 {
    font-size: 15px;
    font-weight: 650;
    letter-spacing: 0.005em;
  }
`;

type CardProps = { title: string; aside?: ReactNode; children: ReactNode };

/** A titled box; screen readers know it by its title. */
export function Card({ title, aside, children }: CardProps) {
  const id = useId();
  return (
    <Frame aria-labelledby={id}>
      <Head>
        <h2 id={id}>{title}</h2>
        {aside}
      </Head>
      {children}
    </Frame>
  );
}

export const CardBody = styled.div`
  padding: 16px 18px 18px;
`;
