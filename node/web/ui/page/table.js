// The one table of the page. Its filter and its order are in the address; it draws only
// the rows that are in view, so ten thousand cost what thirty do; arrows, Page, Home and
// End move in it, Enter opens a row, and the JSON that it was made of is one button away.
import { html, useState, useRef, useMemo, useLayoutEffect, useEffect } from "./lib.js";
import { useQuery } from "./router.js";
import { count } from "./format.js";
import { Copy } from "./parts.js";

const rowHeight = 30; // px; style.css has the same
const beyond = 8; // rows drawn above and below those in view
const jsonMax = 400_000; // characters of JSON shown at once

// Table shows rows. A column is {key, name, width in ch, value(row), cell(row), num, wide}:
// value is what is sorted and filtered by, cell how it looks (value, if there is none; a column without value has things to press), num
// sets it right, and wide leaves it out on narrow screens. `name` makes its part of the
// query different from that of another table on the same screen.
export function Table({ label, name = "", columns, rows, rowKey, open, current, tools, empty = "nothing here", fit, testid }) {
  const [filter, setFilter] = useQuery(name + "q");
  const [order, setOrder] = useQuery(name + "sort");
  const [json, showJSON] = useState(false);
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const wanted = useRef(-1);

  const shown = useMemo(() => arrange(rows, columns, filter, order), [rows, filter, order, columns]);

  useLayoutEffect(() => {
    const b = box.current;
    if (!b) return;
    const measure = () => setView((v) => (v.top === b.scrollTop && v.height === b.clientHeight ? v : { top: b.scrollTop, height: b.clientHeight }));
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(b);
    b.addEventListener("scroll", measure, { passive: true });
    return () => {
      watch.disconnect();
      b.removeEventListener("scroll", measure);
    };
  }, [json]);

  // A row that a key has moved to may not be drawn yet when the key is pressed.
  useEffect(() => {
    if (wanted.current < 0) return;
    const row = box.current?.querySelector(`tr[data-at="${wanted.current}"]`);
    if (row) {
      row.focus({ preventScroll: true });
      wanted.current = -1;
    }
  });

  const first = Math.max(0, Math.floor(view.top / rowHeight) - beyond);
  const last = Math.min(shown.length, Math.ceil((view.top + view.height) / rowHeight) + beyond);

  const moveTo = (at) => {
    at = Math.max(0, Math.min(shown.length - 1, at));
    wanted.current = at;
    const b = box.current;
    const head = b.querySelector("thead").offsetHeight;
    const y = at * rowHeight;
    if (y < b.scrollTop) b.scrollTop = y;
    else if (y + rowHeight + head > b.scrollTop + b.clientHeight) b.scrollTop = y + rowHeight + head - b.clientHeight;
    setView({ top: b.scrollTop, height: b.clientHeight });
    const row = b.querySelector(`tr[data-at="${at}"]`);
    if (row) {
      row.focus({ preventScroll: true });
      wanted.current = -1;
    }
  };

  const key = (e) => {
    if (e.target !== box.current && e.target.tagName !== "TR") return;
    const at = e.target.tagName === "TR" ? Number(e.target.dataset.at) : -1;
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 2);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: shown.length - 1 }[e.key];
    if (to !== undefined) {
      e.preventDefault();
      if (shown.length) moveTo(to);
    } else if (e.key === "Enter" && at >= 0 && open) {
      e.preventDefault();
      open(shown[at]);
    }
  };

  const sort = (c) => setOrder(order === c.key ? "-" + c.key : order === "-" + c.key ? "" : c.key);
  const width = (cs) => cs.reduce((sum, c) => sum + (c.width || 16), 0) + "ch + " + cs.length + "rem";

  return html`<section class="table" data-testid=${testid}>
    <div class="bar">
      <label class="filter"><span class="sr">Filter ${label}</span>
        <input type="search" placeholder="Filter" value=${filter} data-filter data-testid=${testid && testid + "-filter"}
          onInput=${(e) => setFilter(e.target.value)} /></label>
      <span class="muted" data-testid=${testid && testid + "-count"}>${shown.length === rows.length ? count(rows.length) : `${count(shown.length)} of ${count(rows.length)}`}</span>
      <span class="space"></span>
      ${tools}
      <button class="quiet" aria-pressed=${json} onClick=${() => showJSON(!json)}>JSON</button>
    </div>
    ${json
      ? html`<${Raw} rows=${shown} />`
      : html`<div class=${"scroll" + (fit ? " fit" : "")} ref=${box} tabindex="0" role="region" aria-label=${label} onKeyDown=${key}>
          <table aria-rowcount=${shown.length + 1} style=${{ "--all": `calc(${width(columns)})`, "--least": `calc(${width(columns.filter((c) => !c.wide))})` }}>
            <colgroup>${columns.map((c) => html`<col key=${c.key} class=${c.wide ? "wide" : ""} style=${c.width ? { width: `calc(${c.width}ch + 1rem)` } : {}} />`)}</colgroup>
            <thead><tr>${columns.map((c) => {
              const way = order === c.key ? "ascending" : order === "-" + c.key ? "descending" : undefined;
              return html`<th key=${c.key} scope="col" class=${classes(c)} aria-sort=${way}>
                ${c.value ? html`<button class="head" onClick=${() => sort(c)}>${c.name}<span aria-hidden="true">${way === "ascending" ? " ↑" : way ? " ↓" : ""}</span></button>` : html`<span class="sr">${c.name}</span>`}</th>`;
            })}</tr></thead>
            <tbody>
              ${first > 0 && html`<tr class="gap" aria-hidden="true"><td style=${{ height: first * rowHeight + "px" }}></td></tr>`}
              ${shown.slice(first, last).map((row, i) => {
                const k = rowKey(row);
                return html`<tr key=${k} data-at=${first + i} data-key=${k} tabindex="-1" aria-rowindex=${first + i + 2} aria-current=${k === current ? "true" : undefined}
                  class=${open ? "opens" : ""} onClick=${open && ((e) => e.target.closest("button,a,input,select") || open(row))}>
                  ${columns.map((c) => html`<td key=${c.key} class=${classes(c)}>${c.cell ? c.cell(row) : text(c.value(row))}</td>`)}</tr>`;
              })}
              ${last < shown.length && html`<tr class="gap" aria-hidden="true"><td style=${{ height: (shown.length - last) * rowHeight + "px" }}></td></tr>`}
            </tbody>
          </table>
          ${!shown.length && html`<p class="empty">${rows.length ? "no row matches the filter" : empty}</p>`}
        </div>`}
  </section>`;
}

const classes = (c) => (c.num ? "num" : "") + (c.wide ? " wide" : "") + (c.mono ? " mono" : "");
const text = (v) => (v == null || v === "" ? html`<span class="muted">–</span>` : String(v));

// arrange filters by what the columns show, each word somewhere, and sorts by one column.
function arrange(rows, columns, filter, order) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  let all = rows;
  if (words.length) {
    all = rows.filter((r) => {
      const line = columns.map((c) => (c.value ? c.value(r) : "")).join(" ").toLowerCase();
      return words.every((w) => line.includes(w));
    });
  }
  const down = order.startsWith("-");
  const by = columns.find((c) => c.key === order.replace(/^-/, "") && c.value);
  if (!by) return all;
  const key = new Map(all.map((r) => [r, by.value(r)]));
  return [...all].sort((a, b) => compare(key.get(a), key.get(b)) * (down ? -1 : 1));
}

const words = new Intl.Collator("en", { numeric: true });
function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === "number" && typeof b === "number" ? a - b : words.compare(String(a), String(b));
}

function Raw({ rows }) {
  const all = useMemo(() => JSON.stringify(rows, null, 2), [rows]);
  return html`<div class="raw"><div class="bar"><span class="muted">as the API gave it</span><span class="space"></span><${Copy} text=${all} label="Copy JSON" /></div>
    <pre tabindex="0" aria-label="JSON">${all.length > jsonMax ? all.slice(0, jsonMax) + "\n… cut; filter the table to see the rest" : all}</pre></div>`;
}
