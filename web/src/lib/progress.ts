type Tiles = {
  tiles_planned: number;
  tiles_reused: number;
  tiles_completed: number;
  tiles_failed: number;
  tiles_skipped: number;
};

/** How far a job or a run is. `done` counts failed and skipped tiles too: they will not run again. */
export type Progress = {
  planned: number;
  reused: number;
  completed: number;
  failed: number;
  skipped: number;
  done: number;
  share: number;
};

export function progressOf(tiles: Tiles): Progress {
  const { tiles_planned: planned, tiles_reused: reused, tiles_completed: completed } = tiles;
  const { tiles_failed: failed, tiles_skipped: skipped } = tiles;
  const done = reused + completed + failed + skipped;
  return { planned, reused, completed, failed, skipped, done, share: planned > 0 ? Math.min(1, done / planned) : 0 };
}
