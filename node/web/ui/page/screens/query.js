// Queries in InfluxQL: a text, and its answer as a chart and as tables.
import { html, useAsk, useState, useEffect, useRef, useMemo } from "../lib.js";
import { ask, query, changing } from "../api.js";
import { useQuery } from "../router.js";
import { Table } from "../table.js";
import { Failed, Panel, Status } from "../parts.js";
import { count, plural } from "../format.js";
import { Plot, look, useLibrary } from "../chart.js";
import { Big, csv, lines, nothing, tables, tablesMax, take } from "../answers.js";

const tickEvery = 200; // ms, between two looks at a query that runs
const addressMax = 4000; // characters of a text that an address keeps
const columnsMax = 50; // that a table shows; the CSV has all
const plotHeight = 260; // px

export function Query() {
  const [database, setDatabase] = useQuery("db");
  const [policy, setPolicy] = useQuery("rp");
  const [kept, keep] = useQuery("q");
  const [text, setText] = useState(kept);
  const dbs = useAsk((signal) => ask("db list", {}, { signal }), [], 30_000);
  const policies = useAsk((signal) => (database ? ask("policy list", { database }, { signal }) : null), [database], 30_000);
  const { run, go, stop } = useRun();
  const busy = run && !run.done;
  const changes = changing(text);
  const start = () => {
    if (busy || !text.trim()) return;
    keep(text.length <= addressMax ? text : "");
    go({ db: database, rp: policy, q: text });
  };
  const key = (e) => {
    if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey)) return;
    e.preventDefault();
    if (!changes) start();
  };
  const pick = (id, label, value, set, names, none) => html`<div class="field line"><label for=${id}>${label}</label><select id=${id} data-testid=${"query-" + id} value=${value} onChange=${(e) => set(e.target.value)}>
    <option value="">${none}</option>${[...new Set([...names, ...(value ? [value] : [])])].map((n) => html`<option key=${n} value=${n}>${n}</option>`)}</select></div>`;
  return html`<${Failed} error=${dbs.error || policies.error} />
    <form class="panel" onSubmit=${(e) => (e.preventDefault(), start())} data-testid="query">
      <div class="bar">${pick("db", "Database", database, (v) => (setPolicy(""), setDatabase(v)), (dbs.data || []).map((d) => d.name), "none")}
        ${database && pick("rp", "Policy", policy, setPolicy, (policies.data || []).filter((p) => p.database === database).map((p) => p.name), "the default")}</div>
      <label class="sr" for="text">InfluxQL</label>
      <textarea id="text" data-testid="query-text" rows="4" spellcheck=${false} value=${text} onInput=${(e) => setText(e.target.value)} onKeyDown=${key}
        placeholder="SELECT mean(usage) FROM cpu WHERE time > now() - 1h GROUP BY time(1m), host"></textarea>
      <div class="bar"><button type="submit" class=${changes ? "danger" : "primary"} disabled=${busy || !text.trim()} data-testid="query-go">${changes ? "Carry it out: it may change something" : "Ask"}</button>
        ${busy && html`<button type="button" data-testid="query-cancel" onClick=${stop}>Cancel</button>`}
        <span class="muted" role="status" data-testid="query-state">${run ? (run.done ? outcome(run) : "running …") : changes ? "" : "Control and Enter ask, too"}</span>
        ${busy && html`<span class="muted">${seconds(run)}, ${plural(run.answer.rows, "row")}</span>`}</div>
    </form>
    ${run && html`<${Answer} key=${run.number} run=${run} />`}`;
}

const seconds = (run) => `${(((run.ended || performance.now()) - run.began) / 1000).toFixed(2)} s`;

const outcome = (run) => `${run.cancelled ? "cancelled after" : run.error ? "failed after" : "done in"} ${seconds(run)}: ${plural(run.answer.rows, "row")}, ${plural(run.answer.series.length, "series", "series")}`;

// useRun carries out one query at a time: {run, go(args), stop()}. A query ends with the screen.
function useRun() {
  const [run, set] = useState(null);
  const now = useRef(null);
  const number = useRef(0);
  useEffect(() => () => now.current?.abort(), []);
  const go = async (args) => {
    const stop = (now.current = new AbortController());
    const r = { number: ++number.current, answer: nothing(), began: performance.now() };
    set(r);
    const tick = setInterval(() => set({ ...r }), tickEvery);
    try {
      r.cut = await query(args, { signal: stop.signal, heard: (line) => take(r.answer, line) });
    } catch (error) {
      if (stop.signal.aborted) r.cancelled = true;
      else r.error = error;
    }
    clearInterval(tick);
    r.ended = performance.now();
    r.done = true;
    set({ ...r });
  };
  return { run, go, stop: () => now.current?.abort() };
}

function Answer({ run }) {
  const { answer } = run;
  // Rows come in great numbers while a query runs: they are laid out when it has ended.
  const found = useMemo(() => (run.done ? tables(answer) : []), [run.done]);
  return html`<${Failed} error=${run.error} testid="query-error" />
    ${answer.errors.map((e, i) => html`<${Failed} key=${i} error=${e} testid="query-error" />`)}
    ${answer.messages.map((m, i) => html`<p key=${i}><${Status} is="warning" text=${m} /></p>`)}
    ${run.cut && html`<p data-testid="query-cut"><${Status} is="warning" text=${run.cut} /></p>`}
    ${run.done && html`<${Chart} answer=${answer} />`}
    ${found.slice(0, tablesMax).map((t, i) => html`<${Rows} key=${t.key} t=${t} at=${i} several=${answer.statements > 1} />`)}
    ${found.length > tablesMax && html`<p class="muted">${plural(found.length - tablesMax, "table")} more are not shown: ask fewer statements at once.</p>`}
    ${run.done && !run.error && !found.length && !answer.errors.length && html`<p class="empty" data-testid="query-empty">no rows</p>`}`;
}

function Rows({ t, at, several }) {
  const columns = useMemo(() => t.names.slice(0, columnsMax).map((name, i) => {
    const some = t.rows.find((r) => r.cells[i] != null)?.cells[i];
    return { key: "c" + i, name, width: name === "time" ? 28 : 16, mono: true, num: typeof some === "number" || some instanceof Big, value: (r) => r.cells[i], cell: (r) => html`<span title=${r.cells[i] ?? "null"}>${r.cells[i] == null ? "–" : String(r.cells[i])}</span>` };
  }), [t]);
  const save = () => {
    const a = document.createElement("a");
    a.href = URL.createObjectURL(new Blob([csv(t)], { type: "text/csv" }));
    a.download = `query-${t.statement}.csv`;
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 60_000);
  };
  return html`${several && html`<h2>Statement ${t.statement}</h2>`}
    <${Table} label=${"Rows " + (at + 1)} name=${"t" + at} testid=${"rows-" + at} columns=${columns} rows=${t.rows} rowKey=${(r) => String(r.at)} tools=${html`<button class="quiet" data-testid=${"csv-" + at} onClick=${save}>CSV</button>`} />
    ${t.names.length > columnsMax && html`<p class="muted">${plural(t.names.length - columnsMax, "column")} more are in the CSV alone.</p>`}`;
}

const figure = (v) => (v == null ? "–" : v !== 0 && (Math.abs(v) < 0.001 || Math.abs(v) >= 1e9) ? v.toExponential(3) : Number(v).toLocaleString("en-US", { maximumFractionDigits: 3 }));

// clockOf returns what writes the times of an axis: with their day where the axis has several.
function clockOf(times) {
  const length = times.at(-1) - times[0];
  return (t) => {
    const text = new Date(t * 1000).toISOString();
    return length > 300 * 86_400 ? text.slice(0, 10) : length > 86_400 ? text.slice(5, 16).replace("T", " ") : length > 10 ? text.slice(11, 19) : text.slice(14, 23);
  };
}

const room = { padding: [null, 30, null, null] }; // px, for the last time of the axis

function Chart({ answer }) {
  const { lib, error } = useLibrary();
  const [hidden, hide] = useState(() => new Set());
  const [at, over] = useState(null);
  const { times, lines: all, more } = useMemo(() => lines(answer), [answer]);
  const shown = useMemo(() => all.map((l, i) => ({ ...l, at: i })).filter((l) => !hidden.has(l.at)), [all, hidden]);
  const clock = useMemo(() => times.length && clockOf(times), [times]);
  if (!all.length) return null;
  const toggle = (i) => {
    const next = new Set(hidden);
    if (!next.delete(i)) next.add(i);
    hide(next);
  };
  return html`<${Panel} title="Chart" testid="query-chart"><${Failed} error=${error} />
    ${lib && html`<${Plot} lib=${lib} lines=${shown} times=${times} format=${figure} clock=${clock} over=${over} options=${room} tall=${plotHeight} />`}
    <p class="muted">${at != null && times[at] != null ? new Date(times[at] * 1000).toISOString() : "Times are UTC."}${more > 0 && html` <span data-testid="lines-left-out">${plural(more, "line")} more are not drawn: SLIMIT or WHERE make them fewer.</span>`}</p>
    <div class="series" role="group" aria-label="Lines">${all.map((l, i) => html`<button key=${i} type="button" class="quiet" aria-pressed=${!hidden.has(i)} data-testid=${"line-" + i} onClick=${() => toggle(i)}><${Swatch} i=${i} />${l.name}${at != null && l.values[at] != null && html` <b>${figure(l.values[at])}</b>`}</button>`)}</div></${Panel}>`;
}

// Swatch shows how a line is drawn.
const Swatch = ({ i }) => html`<svg class="swatch" width="22" height="6" aria-hidden="true"><line x1="0" y1="3" x2="22" y2="3" stroke=${`var(${look(i).colour})`} stroke-width="2" stroke-dasharray=${look(i).dash.join(" ")} /></svg>`;
