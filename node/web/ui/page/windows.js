// The windows of policies on an axis of time: what is drawn of them, and what is told. Times are in ms since 1970 UTC.

const hour = 3_600_000;
const day = 24 * hour;
const hiddenFor = hour; // from when a window is over until its files go

// markMin is the least width of a mark, in px. Windows that are narrower share one, so a lane has no more marks than
// it has room for, however many windows there are.
export const markMin = 4;

// read is a row of `window list` with its times as numbers. A truncated window ends where it was truncated: from
// there on others have its time.
export function read(row) {
  const from = Date.parse(row.start);
  const cut = row.truncated ? Date.parse(row.truncated) : null;
  return { ...row, key: `${row.id} ${row.policy} ${row.database}`, from, to: cut ?? Date.parse(row.end), gone: row.hidden ? Date.parse(row.hidden) + hiddenFor : null };
}

// state is what a window is to writers and to retention, in a word.
export function state(w, now) {
  if (w.gone != null) return "deleted soon";
  if (w.truncated) return "truncated";
  return w.to <= now ? "past" : w.from > now ? "ahead" : "now";
}

// fit is the span that is shown if nobody chooses one: the newest windows of each lane, as many as can be told apart.
const fitWindows = 40;
export function fit(lanes, now) {
  let from = Infinity;
  let to = -Infinity;
  for (const { windows } of lanes) {
    if (!windows.length) continue;
    from = Math.min(from, windows[Math.max(0, windows.length - fitWindows)].from);
    to = Math.max(to, windows.at(-1).to);
  }
  return from < to ? { from, to } : { from: now - day, to: now + day };
}

// lanes are the policies with their windows by time.
export function lanes(policies, windows) {
  const of = new Map(policies.map((p) => [p.database + "\n" + p.name, { ...p, key: p.database + "\n" + p.name, windows: [] }]));
  for (const w of windows) of.get(w.database + "\n" + w.policy)?.windows.push(w); // no name has a newline
  for (const l of of.values()) l.windows.sort((a, b) => a.from - b.from || a.to - b.to);
  return [...of.values()];
}

// marks are what a lane of a width shows of its windows: {x, width, windows}, from left to right, and how many windows
// are earlier and later than the span.
export function marks(windows, { from, to }, width) {
  const all = [];
  let earlier = 0;
  let later = 0;
  const at = (t) => Math.max(0, Math.min(width, ((t - from) / (to - from)) * width));
  for (const w of windows) {
    if (w.to <= from) earlier++;
    else if (w.from >= to) later++;
    else {
      const x = at(w.from);
      const end = at(w.to);
      const last = all.at(-1);
      const narrow = end - x < markMin;
      if (narrow && last?.narrow && x < last.x + markMin) {
        last.windows.push(w);
        last.width = Math.max(last.width, end - last.x);
      } else all.push({ x, width: Math.max(end - x, markMin), narrow, windows: [w] });
    }
  }
  return { all, earlier, later };
}

// stripes are the shards of a mark from top to bottom, as runs of one group: {from, to, group}, in px of a height. One
// window has them in their order; several have each group's part of all.
export function stripes(mark, height) {
  const groups = mark.windows.flatMap((w) => w.groups);
  if (mark.windows.length > 1) groups.sort((a, b) => a - b);
  const runs = [];
  for (let y = 0; y < height && groups.length; y++) {
    const group = groups[Math.floor((y / height) * groups.length)];
    const last = runs.at(-1);
    if (last?.group === group) last.to = y + 1;
    else runs.push({ from: y, to: y + 1, group });
  }
  return runs;
}

// utc is a moment as windows have it: they begin and end by UTC.
export const utc = (t) => new Date(t).toISOString().replace("T", " ").replace(/(:00)?\.000Z$/, "");

const groupsShown = 12;

// shardsText tells which shards each group has: "group 1: 0 2; group 2: 1 3".
export function shardsText(groups) {
  const of = new Map();
  groups.forEach((g, i) => of.set(g, [...(of.get(g) || []), i]));
  const all = [...of].sort((a, b) => a[0] - b[0]).map(([g, shards]) => `group ${g}: ${shards.join(" ")}`);
  return `${groups.length === 1 ? "shard" : "shards"} of ${all.slice(0, groupsShown).join("; ")}${all.length > groupsShown ? `; and of ${all.length - groupsShown} groups more` : ""}`;
}

// tell says in words what a mark shows.
export function tell(mark, now) {
  const [w] = mark.windows;
  const span = `${utc(w.from)} to ${utc(mark.windows.reduce((t, w) => Math.max(t, w.to), -Infinity))}`;
  if (mark.windows.length > 1) {
    const groups = [...new Set(mark.windows.flatMap((w) => w.groups))].sort((a, b) => a - b);
    return `${mark.windows.length} windows, ${span}, of ${groups.length === 1 ? "group" : "groups"} ${groups.slice(0, groupsShown).join(", ")}${groups.length > groupsShown ? ", …" : ""}; closer shows each`;
  }
  const is = { "deleted soon": `over, deleted from ${utc(w.gone)} on`, truncated: "truncated: its last points are of then", past: "", ahead: "made ahead", now: "takes the points of now" }[state(w, now)];
  return [`window ${w.id}, ${span}`, is, shardsText(w.groups)].filter(Boolean).join("; ");
}

const steps = [1, 3, 6, 12].map((n) => n * hour).concat([1, 2, 7, 14].map((n) => n * day));
const years = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const tickSpace = 110; // px

// ticks are the moments that an axis of a width names: {at, text}.
export function ticks({ from, to }, width) {
  const most = Math.max(1, Math.floor(width / tickSpace));
  const step = steps.find((s) => (to - from) / s <= most);
  const found = [];
  if (step) {
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) found.push({ at: t, text: step < day ? utc(t).slice(5) : utc(t).slice(0, 10) });
    return found;
  }
  const months = (to - from) / (30 * day);
  const length = [1, 3, 6].find((m) => months / m <= most) || 12 * (years.find((y) => months / 12 / y <= most) || 1000);
  const first = new Date(from);
  for (let m = Math.ceil((first.getUTCFullYear() * 12 + first.getUTCMonth()) / length) * length; found.length <= most + 1; m += length) {
    const date = new Date(0);
    date.setUTCFullYear(Math.floor(m / 12), m % 12, 1);
    const t = date.getTime();
    if (t > to) break;
    if (t >= from) found.push({ at: t, text: length < 12 ? utc(t).slice(0, 7) : String(date.getUTCFullYear()) });
  }
  return found;
}
