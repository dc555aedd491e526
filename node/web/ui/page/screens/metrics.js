// Figures over time, of the cluster and of each node, as the page has seen them in the
// overviews since it was opened. All charts have one time, and one cursor.
import { html, useStore } from "../lib.js";
import { samples } from "../live.js";
import { useQuery } from "../router.js";
import { Panel, Loading, Failed } from "../parts.js";
import { Plot, useLibrary } from "../chart.js";
import { bytes, count, micros, percent } from "../format.js";

const ranges = { "2 min": 120, "10 min": 600, "30 min": 1800, "1 h": 3600 };
const cursors = "muster"; // the name under which the charts share a cursor

// The steps between the marks of an axis, so that these are round in the unit they are written in: powers of two for
// bytes, whole microseconds for times. For other figures the library knows.
const byteSteps = Array.from({ length: 50 }, (_, i) => 2 ** i);
const microSteps = Array.from({ length: 11 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();

const perSecond = (format) => (v) => (v == null ? "–" : format(v) + "/s");

// The charts: lines of the cluster, or one figure of each node.
const cluster = [
  { title: "Requests", format: perSecond(count), lines: { writes: "writes_per_s", reads: "reads_per_s", lists: "lists_per_s", watches: "watches_per_s" } },
  { title: "Bytes", format: perSecond(bytes), steps: byteSteps, lines: { in: "bytes_in_per_s", out: "bytes_out_per_s", "to the logs": "log_bytes_per_s" } },
  { title: "Writes, until answered", format: micros, steps: microSteps, lines: { p50: "write_p50_us", p99: "write_p99_us" } },
  { title: "Reads, until answered", format: micros, steps: microSteps, lines: { p50: "read_p50_us", p99: "read_p99_us" } },
  { title: "Syncs of the log", format: micros, steps: microSteps, lines: { p50: "sync_p50_us", p99: "sync_p99_us" } },
];
const nodes = [
  { title: "Writes of each node", format: perSecond(count), figure: "writes_per_s" },
  { title: "Reads of each node", format: perSecond(count), figure: "reads_per_s" },
  { title: "Log syncs of each node, p99", format: micros, steps: microSteps, figure: "sync_p99_us" },
  { title: "Processor of each node", format: percent, figure: "cpu_percent" },
  { title: "Memory of each node", format: bytes, steps: byteSteps, figure: "rss_bytes" },
  { title: "Free disk of each node", format: bytes, steps: byteSteps, figure: "free_bytes" },
];

export function Metrics() {
  const [range, setRange] = useQuery("over", "2 min");
  const { lib, error } = useLibrary();
  const past = useStore(samples);
  const to = past.at(-1)?.at ?? Date.now() / 1000;
  const from = to - (ranges[range] || ranges["2 min"]);
  const shown = past.filter((s) => s.at >= from);
  const names = [...new Set(shown.flatMap((s) => Object.keys(s.nodes)))].sort();
  const times = shown.map((s) => s.at);
  const charts = [
    ...cluster.map((c) => ({ ...c, lines: Object.entries(c.lines).map(([name, key]) => ({ name, values: shown.map((s) => s.cluster[key] ?? null) })) })),
    ...nodes.map((c) => ({ ...c, lines: names.map((name) => ({ name, values: shown.map((s) => s.nodes[name]?.[c.figure] ?? null) })) })),
  ];
  return html`<div class="bar"><div class="field line"><label for="over">Time</label><select id="over" data-testid="over" value=${range} onChange=${(e) => setRange(e.target.value)}>${Object.keys(ranges).map((r) => html`<option key=${r} value=${r}>${r}</option>`)}</select></div>
      <span class="muted">since this page was opened; Prometheus, which reads /metrics, keeps them for longer</span></div>
    <${Failed} error=${error} />
    ${lib ? html`<div class="charts">${charts.map((c) => html`<${Chart} key=${c.title} lib=${lib} chart=${c} times=${times} from=${from} to=${to} />`)}</div>` : !error && html`<${Loading} what="the charts" />`}`;
}

const shared = { cursor: { sync: { key: cursors }, drag: { x: false, y: false } } };

function Chart({ lib, chart, times, from, to }) {
  const last = chart.lines.map((l) => `${l.name} ${l.values.at(-1) == null ? "–" : chart.format(l.values.at(-1))}`).join(", ");
  return html`<${Panel} title=${chart.title} testid="chart"><p class="sr">now ${last}</p>
    <${Plot} lib=${lib} lines=${chart.lines.map((l, at) => ({ ...l, at }))} times=${times} from=${from} to=${to} format=${chart.format} clock=${clock} steps=${chart.steps} zero legend options=${shared} /></${Panel}>`;
}

const clock = (t) => new Date(t * 1000).toLocaleTimeString("en-GB", { hour12: false });
