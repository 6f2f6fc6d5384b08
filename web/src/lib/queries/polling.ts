import { useLiveState } from "@/lib/live/context";

const FALLBACK_MS = 5_000;

/** How often to ask while events do not reach us; never while they do. */
export function useFallbackInterval(): number | false {
  return useLiveState() === "live" ? false : FALLBACK_MS;
}
