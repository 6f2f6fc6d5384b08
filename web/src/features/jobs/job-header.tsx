"use client";

import styled from "@emotion/styled";
import { useState } from "react";

import { Button } from "@/components/button";
import { Row } from "@/components/layout";
import { StatePill } from "@/components/state-pill";
import type { JobDetail } from "@/lib/api/types";
import type { JobAction } from "@/lib/queries/jobs";

import { JobActionDialog } from "./job-action-dialog";

const Title = styled.h1`
  font-size: 24px;
  font-weight: 680;
  line-height: 1.25;
  letter-spacing: -0.01em;
  overflow-wrap: anywhere;
`;

/** Name, state, and what can be done about it. */
export function JobHeader({ job }: { job: JobDetail }) {
  const [asked, setAsked] = useState<JobAction | null>(null);
  const isOpen = job.state === "PENDING" || job.state === "RUNNING";
  const isRetryable = job.origin === "api" && (job.state === "FAILED" || job.state === "CANCELLED");
  return (
    <Row gap={14} style={{ justifyContent: "space-between", minHeight: 38 }}>
      <Row gap={14}>
        <Title>{job.name}</Title>
        <StatePill state={job.state} />
      </Row>
      <Row>
        {isOpen && (
          <Button look="danger" onClick={() => setAsked("cancel")}>
            Cancel job
          </Button>
        )}
        {isRetryable && (
          <Button look="primary" onClick={() => setAsked("retry")}>
            Retry job
          </Button>
        )}
      </Row>
      {asked !== null && <JobActionDialog id={job.id} action={asked} onClose={() => setAsked(null)} />}
    </Row>
  );
}
