"use client";

import styled from "@emotion/styled";
import Link from "next/link";

import { Notice } from "@/components/notice";
import { messageOf } from "@/lib/api/error";
import type { Job, JobRequest, Quote } from "@/lib/api/types";
import { formatCount, formatPlural } from "@/lib/format";
import { useQuote } from "@/lib/queries/quote";
import { useSettled } from "@/lib/use-settled";

const SETTLED_MS = 350;

const Line = styled.p`
  min-height: 21px;
  font-size: 13.5px;
  color: var(--muted);
`;

type SubmitOutlookProps = { request: JobRequest; submitted: Job | null; hidden: boolean };

/** What the request would do, before it is sent; the job it became, afterwards. */
export function SubmitOutlook({ request, submitted, hidden }: SubmitOutlookProps) {
  const settled = useSettled(request, SETTLED_MS);
  const isWhole = settled.scenes.length > 0 && Number.isInteger(settled.priority);
  const quote = useQuote(isWhole && !hidden ? settled : null);
  if (hidden) return null;
  if (submitted !== null && request.scenes.length === 0) {
    return (
      <Notice tone="good">
        Submitted: <Link href={`/job/?id=${submitted.id}`}>{submitted.name}</Link>
      </Notice>
    );
  }
  if (!isWhole) return <Line>Choose at least one scene.</Line>;
  if (quote.error) return <Notice tone="warn">{messageOf(quote.error)}</Notice>;
  return <Line>{quote.data ? outlookOf(quote.data) : "Counting tiles…"}</Line>;
}

function outlookOf(quote: Quote): string {
  const mismatches = quote.scenes.filter((scene) => scene.gsd_mismatch).length;
  const parts = [
    `${formatPlural(quote.tiles_to_run, "tile")} to run`,
    quote.tiles_reused > 0 && `${formatCount(quote.tiles_reused)} reused`,
    mismatches > 0 && `${formatPlural(mismatches, "scene")} outside the pixel size range`,
  ];
  return parts.filter(Boolean).join(", ");
}
