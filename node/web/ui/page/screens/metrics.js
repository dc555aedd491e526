// Figures over time, of the cluster and of each node, as the page has seen them in the
// overviews since it was opened. All charts have one time, and one cursor.
import { html, useStore, useEffect, useRef, useState } from "../lib.js";
import { samples } from "../live.js";
import { useQuery } from "../router.js";
import { Panel, Loading, Failed } from "../parts.js";
import { bytes, count, micros, percent } from "../format.js";

const ranges = { "2 min": 120, "10 min": 600, "30 min": 1800, "1 h": 3600 };
const height = 150; // px of a chart
const cursors = "muster"; // the name under which the charts share a cursor

let loading = null;

// prepare loads the library that draws, once. It is a script of its own, so that the
// screens without charts do not wait for it, and is fetched at the start nevertheless: the
// node that has it may be gone when a chart is wanted.
export function prepare() {
  loading ||= new Promise((done, wrong) => {
    const script = document.createElement("script");
    script.src = "/ui/vendor/uPlot.js";
    script.onload = () => done(globalThis.uPlot);
    script.onerror = () => wrong(new Error("the library that draws charts could not be loaded; reload the page"));
    document.head.append(script);
  });
  return loading;
}

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
  const [lib, setLib] = useState(null);
  const [error, setError] = useState(null);
  const past = useStore(samples);
  useEffect(() => {
    prepare().then((u) => setLib(() => u), setError);
  }, []);
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

// The dashes of lines, so that colour is not the only sign of which is whose.
const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 4]];

function Chart({ lib, chart, times, from, to }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [theme, setTheme] = useState(0);
  const names = chart.lines.map((l) => l.name).join("\n");
  const data = [times, ...chart.lines.map((l) => l.values)];
  useEffect(() => {
    const again = () => setTheme((n) => n + 1);
    addEventListener("theme", again);
    return () => removeEventListener("theme", again);
  }, []);
  useEffect(() => {
    // A colour that is written as light-dark() is known only where it is used.
    const probe = box.current.appendChild(document.createElement("span"));
    const colour = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "11px system-ui" };
    const u = new lib({
      width: box.current.clientWidth, height, cursor: { sync: { key: cursors }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, values: (_, all) => all.map(clock), space: 90 }, { ...axis, size: 76, ...(chart.steps && { incrs: chart.steps }), values: (_, all) => all.map(chart.format) }],
      series: [
        { label: "at", value: (_, t) => (t ? clock(t) : "–") },
        ...chart.lines.map((l, i) => ({ label: l.name, stroke: colour(`--line-${(i % 6) + 1}`), width: 1.5, dash: dashes[i % dashes.length], value: (_, v) => (v == null ? "–" : chart.format(v)), points: { show: false } })),
      ],
    }, data, box.current);
    probe.remove();
    plot.current = u;
    const watch = new ResizeObserver(() => box.current && u.setSize({ width: box.current.clientWidth, height }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [lib, names, theme]);
  useEffect(() => {
    plot.current?.setData(data, false);
    plot.current?.setScale("x", { min: from, max: to });
  });
  const last = chart.lines.map((l) => `${l.name} ${l.values.at(-1) == null ? "–" : chart.format(l.values.at(-1))}`).join(", ");
  return html`<${Panel} title=${chart.title} testid="chart"><p class="sr">now ${last}</p><div class="chart" ref=${box} aria-hidden="true"></div></${Panel}>`;
}

const clock = (t) => new Date(t * 1000).toLocaleTimeString("en-GB", { hour12: false });
