// Times, sizes and numbers as people read them. Pure.

const UNITS = [
  [86400 * 365, "y"],
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** "3 min ago", "in 2 h", "just now". */
export function relative(atMs, nowMs) {
  const seconds = Math.round((nowMs - atMs) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "just now";
  const [unit, word] = UNITS.find(([unit]) => size >= unit);
  const text = `${Math.floor(size / unit)} ${word}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** The moment in full, here and in UTC. */
export function absolute(iso) {
  const at = new Date(iso);
  return `${at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })} (${iso})`;
}

/** 0.0042 → "4.2 ms", 75 → "1 min 15 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0) return "0 s";
  if (seconds < 0.9995) return `${trim(seconds * 1000, seconds < 0.1 ? 1 : 0)} ms`;
  if (seconds < 60) return `${trim(seconds, seconds < 10 ? 2 : 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function bytes(size) {
  if (size === null || size === undefined) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  let value = size;
  while (value >= 1024 && step < names.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${step ? trim(value, value < 10 ? 1 : 0) : value} ${names[step]}`;
}

const plain = new Intl.NumberFormat();
export const number = (value) => plain.format(value);
export const count = (many, one, more = `${one}s`) => `${number(many)} ${many === 1 ? one : more}`;

/** The API's words, which begin small and end without a stop. */
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** "2 h", "500 MiB" as a number of bytes or seconds is the API's; here only digits are cut. */
function trim(value, digits) {
  return String(Number(value.toFixed(digits)));
}

/** Seconds between two RFC 3339 times; the second may be missing (then until `nowMs`). */
export function between(from, to, nowMs) {
  if (!from) return null;
  return ((to ? Date.parse(to) : nowMs) - Date.parse(from)) / 1000;
}
