"use client";

import styled from "@emotion/styled";

import { Copyable } from "@/components/copyable";
import type { Output } from "@/lib/metrics";

const Details = styled.details`
  font-size: 13.5px;

  summary {
    color: var(--muted);
    cursor: pointer;
    width: max-content;
  }
`;

const Paths = styled.dl`
  display: grid;
  grid-template-columns: max-content minmax(0, 1fr);
  gap: 8px 16px;
  margin-top: 8px;
  padding: 10px 12px;
  border-radius: 8px;
  background: var(--raised);
  border: 1px solid var(--line);

  dt {
    color: var(--muted);
  }
`;

/** Where a run's files lie, on the host that served this page. */
export function RunOutputs({ outputs }: { outputs: Output[] }) {
  return (
    <Details open>
      <summary>Outputs</summary>
      <Paths>
        {outputs.map(({ name, path }) => (
          <div key={name} style={{ display: "contents" }}>
            <dt>{name}</dt>
            <dd>
              <Copyable text={path} label={`the path of ${name}`} />
            </dd>
          </div>
        ))}
      </Paths>
    </Details>
  );
}
