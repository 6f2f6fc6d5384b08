import type { Metadata } from "next";
import { Suspense } from "react";

import { JobPage } from "./job-page";

export const metadata: Metadata = { title: "Job" };

/** The id comes in the query, because a static export has no pages for ids it does not know. */
export default function Job() {
  return (
    <Suspense>
      <JobPage />
    </Suspense>
  );
}
