"use client";

import { Confirm } from "@/components/confirm";
import { messageOf } from "@/lib/api/error";
import { type JobAction, useJobAction } from "@/lib/queries/jobs";

const WORDS = {
  cancel: {
    title: "Cancel this job?",
    text: "Runs that have not begun are dropped; a run at work is stopped. Tiles that are done stay.",
    action: "Cancel job",
    look: "danger",
  },
  retry: {
    title: "Retry this job?",
    text: "Scenes that did not complete run again. Tiles that already have a valid result are not computed twice.",
    action: "Retry job",
    look: "primary",
  },
} as const;

type JobActionDialogProps = { id: string; action: JobAction; onClose: () => void };

export function JobActionDialog({ id, action, onClose }: JobActionDialogProps) {
  const mutation = useJobAction(id, action);
  const { title, text, action: label, look } = WORDS[action];
  return (
    <Confirm
      title={title}
      action={label}
      look={look}
      busy={mutation.isPending}
      problem={mutation.error && messageOf(mutation.error)}
      onConfirm={() => mutation.mutate(undefined, { onSuccess: onClose })}
      onClose={onClose}
    >
      {text}
    </Confirm>
  );
}
