"use client";

import { Notice } from "@/components/notice";
import { ApiError, messageOf } from "@/lib/api/error";

/** Why the API said no, in its own words, point by point where there are several. */
export function Refusal({ error }: { error: Error }) {
  const faults = error instanceof ApiError ? error.faults : [];
  return (
    <Notice tone="bad" assertive>
      {messageOf(error)}
      {faults.length > 1 && (
        <ul style={{ paddingLeft: 18 }}>
          {faults.map((fault) => (
            <li key={fault.pointer + fault.detail}>
              {fault.pointer}: {fault.detail}
            </li>
          ))}
        </ul>
      )}
    </Notice>
  );
}
