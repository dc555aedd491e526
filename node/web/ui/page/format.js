// How numbers, sizes and times are written, the same on every screen.

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  if (n == null || Number.isNaN(n)) return "–";
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

// count is a whole number; of a rate that is small, one digit more.
export const count = (n) => (n == null || Number.isNaN(n) ? "–" : Number(n).toLocaleString("en-US", { maximumFractionDigits: Math.abs(n) < 10 ? 1 : 0 }));

export const percent = (n) => (n == null ? "–" : n.toFixed(n < 10 ? 1 : 0) + " %");

// micros is a time that was measured in microseconds.
export function micros(us) {
  if (us == null) return "–";
  if (us < 1000) return Math.round(us) + " µs";
  if (us < 1e6) return (us / 1000).toFixed(us < 1e4 ? 1 : 0) + " ms";
  return seconds(us / 1e6);
}

// seconds is a length of time, with its two largest units.
export function seconds(s) {
  if (s == null || !Number.isFinite(s)) return "–";
  s = Math.max(0, Math.round(s));
  const d = Math.floor(s / 86400);
  const h = Math.floor(s / 3600) % 24;
  const m = Math.floor(s / 60) % 60;
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  if (m) return `${m} min ${s % 60} s`;
  return `${s} s`;
}

// ago is how long before now a moment was. The moment is another host's, whose clock may
// be ahead.
export function ago(time) {
  if (!time) return "–";
  const s = (Date.now() - new Date(time).getTime()) / 1000;
  return s < 2 ? "now" : seconds(s) + " ago";
}

export const clock = (t) => new Date(t).toLocaleTimeString("en-GB", { hour12: false });

// moment is date and time of day, without the year.
export function moment(t) {
  const d = new Date(t);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(t)}`;
}

export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many || one + "s"}`;
