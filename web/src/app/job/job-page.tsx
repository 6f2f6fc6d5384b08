"use client";

import Link from "next/link";
import { useSearchParams } from "next/navigation";

import { Empty } from "@/components/empty";
import { Page } from "@/components/layout";
import { JobView } from "@/features/jobs/job-view";

export function JobPage() {
  const id = useSearchParams().get("id");
  return (
    <Page>
      {id === null ? (
        <Empty>
          <strong>Which job?</strong>
          The address of this page names none. <Link href="/">See all jobs</Link>
        </Empty>
      ) : (
        <JobView id={id} />
      )}
    </Page>
  );
}
