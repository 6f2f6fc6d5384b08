"use client";

import { type FormEvent, useState } from "react";

import { Button } from "@/components/button";
import { CardBody } from "@/components/card";
import { CheckLabel, Field, Hint, Input, Select } from "@/components/field";
import { Stack } from "@/components/layout";
import type { JobRequest, Model } from "@/lib/api/types";
import { formatMetres } from "@/lib/format";
import { useSubmitJob } from "@/lib/queries/jobs";

import { Refusal } from "./refusal";
import { ScenePicker } from "./scene-picker";
import { SubmitOutlook } from "./submit-outlook";

const PRIORITY_LIMIT = 100;

export function SubmitForm({ models, sceneKeys }: { models: Model[]; sceneKeys: string[] }) {
  const [request, setRequest] = useState<JobRequest>(() => ({
    model: models.at(-1)?.reference ?? "",
    scenes: [],
    priority: 0,
    accept_gsd_mismatch: false,
  }));
  const submission = useSubmitJob();
  const change = (part: Partial<JobRequest>) => {
    submission.reset();
    setRequest({ ...request, ...part });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    submission.mutate(request, { onSuccess: () => setRequest({ ...request, scenes: [] }) });
  };
  return (
    <CardBody as="form" onSubmit={submit} aria-label="Submit a job">
      <Stack gap={14}>
        <ModelField models={models} value={request.model} onChange={(model) => change({ model })} />
        <ScenePicker keys={sceneKeys} chosen={request.scenes} onChange={(scenes) => change({ scenes })} />
        <CheckLabel>
          <input
            type="checkbox"
            checked={request.accept_gsd_mismatch ?? false}
            onChange={(event) => change({ accept_gsd_mismatch: event.target.checked })}
          />
          <span>
            Accept GSD mismatch <Hint as="div">Run scenes outside the model’s range of pixel sizes; results say so.</Hint>
          </span>
        </CheckLabel>
        <Field label="Priority" hint="-100 to 100; higher runs first">
          <Input
            type="number"
            required
            min={-PRIORITY_LIMIT}
            max={PRIORITY_LIMIT}
            step={1}
            value={Number.isNaN(request.priority) ? "" : request.priority}
            onChange={(event) => change({ priority: event.target.valueAsNumber })}
          />
        </Field>
        <SubmitOutlook request={request} submitted={submission.data ?? null} hidden={submission.isError} />
        {submission.error && <Refusal error={submission.error} />}
        <Button type="submit" look="primary" disabled={request.scenes.length === 0 || submission.isPending}>
          {submission.isPending ? "Submitting…" : "Submit"}
        </Button>
      </Stack>
    </CardBody>
  );
}

type ModelFieldProps = { models: Model[]; value: string; onChange: (reference: string) => void };

function ModelField({ models, value, onChange }: ModelFieldProps) {
  const model = models.find(({ reference }) => reference === value);
  const hint =
    model &&
    `${model.bands.join(", ")}; pixels of ${formatMetres(model.gsd_min_m)} to ${formatMetres(model.gsd_max_m)}; ` +
      `${model.classes.length} classes`;
  return (
    <Field label="Model" hint={hint}>
      <Select value={value} onChange={(event) => onChange(event.target.value)}>
        {models.map(({ id, reference }) => (
          <option key={id} value={reference}>
            {reference}
          </option>
        ))}
      </Select>
    </Field>
  );
}
