const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** How long to wait before a try, doubling from half a second; `chance` (0..1) spreads clients. */
export function backoffMs(failures: number, chance: number): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);
  return full * (0.5 + chance / 2);
}
