// Lines over time, drawn by uPlot.
import { html, useEffect, useRef, useState } from "./lib.js";

const height = 150; // px of a plot, where none is named

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

// useLibrary is the library once it is there, and why it is not.
export function useLibrary() {
  const [state, set] = useState({ lib: null, error: null });
  useEffect(() => {
    prepare().then((lib) => set({ lib, error: null }), (error) => set({ lib: null, error }));
  }, []);
  return state;
}

// The dashes of lines, so that colour is not the only sign of which is whose.
const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 4]];

// look is how the i-th line is drawn: the name of its colour, and its dash.
export const look = (i) => ({ colour: `--line-${(i % 6) + 1}`, dash: dashes[(i + Math.floor(i / 6)) % 6] });

// Plot draws lines, {name, values, at}, over times in s since 1970: at is the number that decides its look. format
// writes a value, clock a time. zero has the values begin at 0. from and to are the span, if it is not that of the
// times. legend has the library write one; over hears of the index of the times that is under the mouse, or null.
export function Plot({ lib, lines, times, from, to, format, clock, steps, zero, legend, over, options = {}, tall = height }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [theme, setTheme] = useState(0);
  const names = lines.map((l) => l.at + l.name).join("\n");
  const data = [times, ...lines.map((l) => l.values)];
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
      ...options, width: box.current.clientWidth, height: tall, legend: { show: !!legend },
      scales: { x: { time: true }, ...(zero && { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } }) },
      axes: [{ ...axis, values: (_, all) => all.map(clock), space: 90 }, { ...axis, size: 76, ...(steps && { incrs: steps }), values: (_, all) => all.map(format) }],
      hooks: over ? { setCursor: [(u) => over(u.cursor.idx ?? null)] } : {},
      series: [
        { label: "at", value: (_, t) => (t ? clock(t) : "–") },
        ...lines.map((l) => ({ label: l.name, stroke: colour(look(l.at).colour), width: 1.5, dash: look(l.at).dash, value: (_, v) => (v == null ? "–" : format(v)), ...(legend && { points: { show: false } }) })),
      ],
    }, data, box.current);
    probe.remove();
    plot.current = u;
    const watch = new ResizeObserver(() => box.current && u.setSize({ width: box.current.clientWidth, height: tall }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [lib, names, theme]);
  useEffect(() => {
    plot.current?.setData(data, from == null);
    if (from != null) plot.current?.setScale("x", { min: from, max: to });
  }, [times, lines, from, to]);
  return html`<div class="chart" ref=${box} aria-hidden="true"></div>`;
}
