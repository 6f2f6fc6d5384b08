const integer = new Intl.NumberFormat("en");
const area = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });
const finePercent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeZone: "UTC" });

const STEPS: [limitS: number, unitS: number, unit: string][] = [
  [60, 1, "s"],
  [3_600, 60, "min"],
  [86_400, 3_600, "h"],
  [Infinity, 86_400, "d"],
];

export const formatCount = (count: number): string => integer.format(count);

export const formatPlural = (count: number, noun: string): string =>
  `${integer.format(count)} ${noun}${count === 1 ? "" : "s"}`;

export const formatKm2 = (km2: number): string =>
  km2 === 0 ? "0 km²" : `${km2 >= 1000 ? integer.format(Math.round(km2)) : area.format(km2)} km²`;

/** A share in whole per cent; small ones finer, so that nothing that is there reads as 0 %. */
export function formatShare(share: number): string {
  if (share > 0 && share < 0.001) return `<${finePercent.format(0.001)}`;
  return share > 0 && share < 0.01 ? finePercent.format(share) : percent.format(share);
}

/** A value of three digits with its unit, such as `12.3 m`. */
export const formatValue = (value: number, unit: string | null): string =>
  unit === null ? area.format(value) : `${area.format(value)} ${unit}`;

export const formatMetres = (metres: number): string => `${area.format(metres)} m`;

export const formatMemory = (mb: number): string => `${area.format(mb / 1024)} GiB`;

/** The day of an instant in UTC, as scenes are dated. */
export const formatDay = (instant: string): string => day.format(new Date(instant));

/** An instant in the reader's own time zone. */
export const formatMoment = (instant: string): string => moment.format(new Date(instant));

/** Whole seconds in the largest unit that fits, such as `4 min`. */
function formatWholeSeconds(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [, unitS, unit] = STEPS.find(([limitS]) => whole < limitS) ?? [0, 1, "s"];
  return `${Math.floor(whole / unitS)} ${unit}`;
}

/** How long something took; short times to a tenth of a second. */
export function formatDuration(seconds: number): string {
  return seconds < 10 ? `${Math.max(0, seconds).toFixed(1)} s` : formatWholeSeconds(seconds);
}

/** How long something takes so far. */
export const formatElapsed = (seconds: number): string => `${formatWholeSeconds(seconds)} so far`;

/** How long ago an instant was. */
export function formatAge(instant: string, nowMs: number): string {
  const seconds = (nowMs - Date.parse(instant)) / 1000;
  return seconds < 5 ? "just now" : `${formatWholeSeconds(seconds)} ago`;
}
