/** A fact about a job, a run or a tile, as the stream sends it. */
export type LiveEvent = {
  id: number | null; // null for a heartbeat
  type: string;
  at: string;
  job_id: string | null;
  run_id: string | null;
  payload: Record<string, unknown>;
};

/** The events in a frame, without what is none. */
export function parseFrame(text: string): LiveEvent[] {
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? found.filter(isEvent) : [];
  } catch {
    return [];
  }
}

function isEvent(found: unknown): found is LiveEvent {
  return typeof (found as Partial<LiveEvent> | null)?.type === "string";
}
