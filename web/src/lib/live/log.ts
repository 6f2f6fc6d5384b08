import { useEffect, useState } from "react";

import { type LiveEvent, parseFrame } from "./envelope";

export type LogLine = { id: number; at: string; runId: string; stream: string; level: string; text: string };

const MOST_LINES = 2_000; // of a long log the last ones are shown
const SHOW_MS = 100; // lines come in bursts: one render for many

/** A job's log lines, from the first one to the live tail; the browser resumes by itself. */
export function useLog(jobId: string): { lines: LogLine[]; over: boolean } {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [over, setOver] = useState(false);
  useEffect(() => {
    let waiting: LogLine[] = [];
    const source = new EventSource(`/api/v1/jobs/${encodeURIComponent(jobId)}/logs`);
    const timer = setInterval(() => {
      if (waiting.length === 0) return;
      const more = waiting;
      waiting = [];
      setLines((shown) => [...shown, ...more].slice(-MOST_LINES));
    }, SHOW_MS);
    source.addEventListener("line", (message) => {
      for (const event of parseFrame(`[${String(message.data)}]`)) waiting.push(lineOf(event));
    });
    source.addEventListener("end", () => {
      source.close();
      setOver(true);
    });
    return () => {
      source.close();
      clearInterval(timer);
      setLines([]);
      setOver(false);
    };
  }, [jobId]);
  return { lines, over };
}

function lineOf(event: LiveEvent): LogLine {
  const { stream, level, text } = event.payload;
  return {
    id: event.id ?? 0,
    at: event.at,
    runId: event.run_id ?? "",
    stream: String(stream),
    level: String(level),
    text: String(text),
  };
}
