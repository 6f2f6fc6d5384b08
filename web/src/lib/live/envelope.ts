/** A fact about a job, a run or a tile, as the stream sends it. */
export type LiveEvent = {
  id: number | null; // null for a heartbeat
  type: string;
  at: string;
  job_id: string | null;
  run_id: string | null;
  payload: Record<string, unknown>;
};

/** The event in a frame, or null for anything else. */
export function parseEvent(text: string): LiveEvent | null {
  try {
    const found = JSON.parse(text) as Partial<LiveEvent> | null;
    return typeof found?.type === "string" ? (found as LiveEvent) : null;
  } catch {
    return null;
  }
}
