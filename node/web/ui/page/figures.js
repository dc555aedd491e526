// What /metrics says, as lines over time.
import { bytes, count, micros } from "./format.js";

const samplesMax = 1440; // of each node: two hours of one each five seconds

// parse reads Prometheus' text form: [{name, labels, value}].
export function parse(text) {
  const all = [];
  for (const line of text.split("\n")) {
    if (!line || line[0] === "#") continue;
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!m) continue;
    const labels = {};
    for (const [, k, v] of (m[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[k] = v;
    all.push({ name: m[1], labels, value: Number(m[3]) });
  }
  return all;
}

export function keep(past, node, sample) {
  const all = past.get(node) || [];
  all.push(sample);
  if (all.length > samplesMax) all.shift();
  past.set(node, all);
}

const sum = (values, name, only = () => true) => {
  let s = null;
  for (const v of values) if (v.name === name && only(v.labels)) s = (s ?? 0) + v.value;
  return s;
};

// What is drawn of each node: a figure that grows is drawn as what it grows by in a second.
const wanted = [
  { title: "requests/s", name: "muster_requests_total", grows: true, format: count },
  { title: "log syncs/s", name: "muster_log_sync_seconds_count", grows: true, format: count },
  { title: "log bytes/s", name: "muster_log_written_bytes_total", grows: true, format: bytes },
  { title: "mean log sync", name: "muster_log_sync_seconds", mean: true, format: micros },
  { title: "client connections", name: "muster_connections", format: count },
  { title: "memory", name: "process_resident_memory_bytes", format: bytes },
  { title: "processor seconds/s", name: "process_cpu_seconds_total", grows: true, format: (v) => v.toFixed(2) },
  { title: "disk free", name: "muster_disk_free_bytes", format: bytes },
  { title: "watches", name: "muster_watches", format: count },
];

// charts makes of what was kept a chart for each figure that some node has.
export function charts(past) {
  const times = [...new Set([...past.values()].flat().map((s) => Math.round(s.at)))].sort((a, b) => a - b);
  return wanted.map((w) => ({ ...w, of: "each node", times, lines: [...past].map(([node, all]) => ({ name: node, values: lineOf(w, all, times) })) })).filter((c) => c.lines.some((l) => l.values.some((v) => v != null)));
}

function lineOf(w, all, times) {
  const at = new Map();
  let before = null;
  for (const s of all) {
    const now = w.mean ? [sum(s.values, w.name + "_sum"), sum(s.values, w.name + "_count")] : [sum(s.values, w.name)];
    let v = now[0];
    if (w.mean) v = before && now[1] > before.now[1] ? ((now[0] - before.now[0]) / (now[1] - before.now[1])) * 1e6 : null;
    // A node that started anew counts from nothing: that is a gap, not a fall.
    else if (w.grows) v = before && now[0] >= before.now[0] ? (now[0] - before.now[0]) / (s.at - before.at) : null;
    if (now[0] != null) before = { now, at: s.at };
    at.set(Math.round(s.at), v);
  }
  return times.map((t) => at.get(t) ?? null);
}
