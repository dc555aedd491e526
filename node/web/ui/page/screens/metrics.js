// Figures over time: those of the cluster from its events, and those of each node from
// its /metrics. All charts have one time, and one cursor.
import { html, useStore, useEffect, useRef, useState, useMemo } from "../lib.js";
import { samples } from "../live.js";
import { knownMembers, rawAt } from "../api.js";
import { useQuery } from "../router.js";
import { Panel, Loading, Failed } from "../parts.js";
import { bytes, count, micros } from "../format.js";
import { charts, parse, keep } from "../figures.js";

const every = 5_000; // ms between two looks at /metrics
const ranges = { "2 min": 120, "10 min": 600, "30 min": 1800, "2 h": 7200 };
const cursors = "muster";

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

// past is what was taken of /metrics: by node, [{at, values}], oldest first.
const past = new Map();

async function look(signal) {
  const members = knownMembers();
  await Promise.all(members.map(async (m) => {
    try {
      const text = await rawAt(m.origin, "/metrics", signal);
      keep(past, m.name, { at: Date.now() / 1000, values: parse(text) });
    } catch {
      // A node that does not answer has a gap in its lines.
    }
  }));
}

export function Metrics() {
  const [range, setRange] = useQuery("over", "10 min");
  const [lib, setLib] = useState(null);
  const [error, setError] = useState(null);
  const [turn, setTurn] = useState(0);
  const rates = useStore(samples);
  useEffect(() => {
    prepare().then((u) => setLib(() => u), setError);
    const stop = new AbortController();
    let timer;
    const go = async () => {
      await look(stop.signal);
      if (stop.signal.aborted) return;
      setTurn((n) => n + 1);
      timer = setTimeout(go, every);
    };
    go();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, []);
  const over = ranges[range] || 600;
  const now = Math.floor(Date.now() / 1000);
  const cluster = useMemo(() => clusterCharts(rates), [rates]);
  const nodes = useMemo(() => charts(past), [turn]);
  return html`<div class="bar"><div class="field line"><label for="over">Time</label><select id="over" data-testid="over" value=${range} onChange=${(e) => setRange(e.target.value)}>${Object.keys(ranges).map((r) => html`<option key=${r}>${r}</option>`)}</select></div>
      <span class="muted">as this page has seen it since it was opened; Prometheus keeps it for longer</span></div>
    <${Failed} error=${error} />
    ${!lib ? !error && html`<${Loading} what="the charts" />` : html`<div class="charts">
      ${[...cluster, ...nodes].map((c) => html`<${Chart} key=${c.title} lib=${lib} chart=${c} from=${now - over} to=${now} />`)}</div>`}`;
}

// What the names of rates end with says what they are.
const formats = (name) => (/_us$/.test(name) ? micros : /bytes/.test(name) ? bytes : count);

function clusterCharts(rates) {
  const names = [...new Set(rates.slice(-60).flatMap((s) => Object.keys(s)))].filter((n) => n !== "at");
  return names.map((n) => ({ title: n.replaceAll("_", " ").replace(/ per s$/, "/s").replace(/ us$/, ""), of: "the cluster", format: formats(n), times: rates.map((s) => s.at / 1000), lines: [{ name: "cluster", values: rates.map((s) => s[n] ?? null) }] }));
}

// The dashes of lines, so that colour is not the only sign of a node.
const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 4]];

function Chart({ lib, chart, from, to }) {
  const box = useRef(null);
  const plot = useRef(null);
  const names = chart.lines.map((l) => l.name).join();
  useEffect(() => {
    const probe = document.createElement("span");
    box.current.append(probe);
    // A colour that is written as light-dark() is known only once it is used.
    const colour = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "11px system-ui" };
    const u = new lib({
      width: box.current.clientWidth, height: 150, legend: { live: true }, cursor: { sync: { key: cursors }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, values: (_, all) => all.map((t) => new Date(t * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })), space: 90 }, { ...axis, size: 70, values: (_, all) => all.map(chart.format) }],
      series: [{ label: "at", value: (_, t) => (t ? new Date(t * 1000).toLocaleTimeString("en-GB") : "–") }, ...chart.lines.map((l, i) => ({ label: l.name, stroke: colour(`--line-${(i % 6) + 1}`), width: 1.5, dash: dashes[i % dashes.length], value: (_, v) => (v == null ? "–" : chart.format(v)), points: { show: false } }))],
    }, data(chart), box.current);
    probe.remove();
    plot.current = u;
    const watch = new ResizeObserver(() => u.setSize({ width: box.current?.clientWidth || 300, height: 150 }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [lib, names]);
  useEffect(() => {
    plot.current?.setData(data(chart), false);
    plot.current?.setScale("x", { min: from, max: to });
  }, [chart, from, to, names]);
  const last = chart.lines.map((l) => `${l.name} ${l.values.at(-1) == null ? "–" : chart.format(l.values.at(-1))}`).join(", ");
  return html`<${Panel} title=${chart.title} testid="chart"><div class="chart" ref=${box} role="img" aria-label=${`${chart.title}, of ${chart.of}; now ${last}`}></div></${Panel}>`;
}

const data = (chart) => [chart.times, ...chart.lines.map((l) => l.values)];
