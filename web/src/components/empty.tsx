"use client";

import styled from "@emotion/styled";

/** What to say, and what to do next, where there is nothing to show. */
export const Empty = styled.div`
  padding: 40px 24px;
  text-align: center;
  color: var(--muted);

  strong {
    display: block;
    color: var(--text);
    margin-bottom: 4px;
  }

  code {
    font-family: var(--mono);
    font-size: 0.9em;
  }
`;
