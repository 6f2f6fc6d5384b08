import type { QueryKey } from "@tanstack/react-query";

const GATHER_MS = 250;
const BUSY_SHARE = 0.25; // of the time at most is spent on asking again

/**
 * Gathers stale keys for a quarter of a second and refreshes them together, one round at a time.
 * Where rounds are slow the pause grows with them, so that a burst of events is no burst of requests.
 */
export class Gatherer {
  private readonly stale = new Map<string, QueryKey>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;
  private pauseMs = GATHER_MS;

  constructor(private readonly refresh: (keys: QueryKey[]) => Promise<unknown>) {}

  add(found: QueryKey[]): void {
    for (const key of found) this.stale.set(JSON.stringify(key), key);
    if (!this.busy) this.timer ??= setTimeout(() => void this.flush(), this.pauseMs);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.stale.clear();
  }

  private async flush(): Promise<void> {
    this.timer = undefined;
    this.busy = true;
    const round = [...this.stale.values()];
    this.stale.clear();
    const startMs = performance.now();
    await this.refresh(round).catch(() => undefined); // a query keeps its own error
    this.pauseMs = Math.max(GATHER_MS, (performance.now() - startMs) / BUSY_SHARE);
    this.busy = false;
    if (this.stale.size > 0) this.add([]);
  }
}
