"use client";

import styled from "@emotion/styled";
import { useEffect, useRef } from "react";

import { Card } from "@/components/card";
import { Empty } from "@/components/empty";
import { Small } from "@/components/layout";
import { formatPlural } from "@/lib/format";
import { type LogLine, useLog } from "@/lib/live/log";

const NEAR_PX = 40; // who has scrolled up wants to read, not to be moved

const Lines = styled.ol`
  list-style: none;
  max-height: 320px;
  overflow: auto;
  padding: 10px 18px 14px;
  font: 12px/1.6 ui-monospace, SFMono-Regular, Menlo, monospace;

  li {
    display: flex;
    gap: 12px;
    overflow-wrap: anywhere;
    white-space: pre-wrap;
  }

  time {
    flex: none;
    color: var(--muted);
  }

  [data-level="WARNING"] {
    color: var(--warn);
  }

  [data-level="ERROR"],
  [data-level="CRITICAL"] {
    color: var(--bad);
  }
`;

/** What the job's runs log and print, as they do it. */
export function LogCard({ jobId }: { jobId: string }) {
  const { lines, over } = useLog(jobId);
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const found = list.current;
    if (found !== null && atEnd.current) found.scrollTop = found.scrollHeight;
  }, [lines]);
  const look = () => {
    const found = list.current;
    if (found !== null) atEnd.current = found.scrollHeight - found.scrollTop - found.clientHeight < NEAR_PX;
  };
  return (
    <Card title="Log" aside={<Small>{over ? formatPlural(lines.length, "line") : "live"}</Small>}>
      {lines.length === 0 ? (
        <Empty>{over ? "Nothing was logged." : "Nothing is logged yet."}</Empty>
      ) : (
        <Lines ref={list} onScroll={look} tabIndex={0} aria-label="Log lines">
          {lines.map((line) => (
            <Item key={line.id} line={line} />
          ))}
        </Lines>
      )}
    </Card>
  );
}

function Item({ line }: { line: LogLine }) {
  const at = new Date(line.at);
  return (
    <li data-level={line.level}>
      <time dateTime={line.at} title={`${at.toLocaleString()}, run ${line.runId}`}>
        {at.toLocaleTimeString()}
      </time>
      <span>{line.text}</span>
    </li>
  );
}
