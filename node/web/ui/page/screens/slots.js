// The slots: who owns which, as a picture that a range is taken from, and as a table.
import { html, useAsk, useState, useEffect, useRef, useMemo } from "../lib.js";
import { blank, colour, isDark, useDrawing } from "../colour.js";
import { ask } from "../api.js";
import { useQuery, href } from "../router.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Facts, Failed, Status } from "../parts.js";
import { bytes, count, plural } from "../format.js";

const slots = 4096;

export function Slots() {
  const { data, error, again } = useAsk((signal) => ask("slot list", {}, { signal }), [], 2_000);
  const [from, setFrom] = useQuery("from");
  const [to, setTo] = useQuery("to");
  const runs = data || [];
  const owner = useMemo(() => owners(runs), [data]);
  const range = read(from, to);
  const select = (a, b) => {
    setFrom(String(Math.min(a, b)));
    setTo(String(Math.max(a, b)));
  };
  const columns = useMemo(() => columnsFor(select), []);
  const groups = [...new Set(runs.map((r) => r.group))].sort((a, b) => a - b);
  return html`<${Failed} error=${error} />
    <div class="bar">
      <div class="field line"><label for="from">Slots from</label><input id="from" data-testid="from" class="short" type="number" min="0" max=${slots - 1} value=${from} onInput=${(e) => setFrom(e.target.value)} /></div>
      <div class="field line"><label for="to">to</label><input id="to" data-testid="to" class="short" type="number" min="0" max=${slots - 1} value=${to} onInput=${(e) => setTo(e.target.value)} /></div>
      <button class="primary" data-testid="move" disabled=${!range} onClick=${() => move(range, runs, again)}>Move …</button>
      ${(from || to) && html`<button class="quiet" onClick=${() => (setFrom(""), setTo(""))}>Clear</button>`}
      <span class="space"></span>
      <button data-testid="rebalance" onClick=${() => act({ title: "Rebalance", command: "slot rebalance", plan: true, done: again, about: "Moves slots until each group has the part of the bytes that its nodes should hold." })}>Rebalance …</button>
    </div>
    ${range && html`<${Selected} range=${range} runs=${runs} owner=${owner} />`}
    <${Map} owner=${owner} range=${range} select=${select} />
    <p class="legend muted">Each cell is a slot, ${slots} in all; its colour and the number on a run are those of its group. Hatched: on its way to another group. Drag over cells to select a range, or type its numbers.</p>
    <${Table} label="Runs of slots" testid="slots" columns=${columns} rows=${runs} rowKey=${(r) => String(r.from)} fit />
    <p class="muted">${plural(groups.length, "group")} own slots.</p>`;
}

const read = (from, to) => {
  const a = Number(from), b = Number(to === "" ? from : to);
  return from === "" || !Number.isInteger(a) || !Number.isInteger(b) || a < 0 || b < a || b >= slots ? null : { from: a, to: b };
};

// owners is for each slot the run that it is of.
function owners(runs) {
  const all = new Array(slots).fill(null);
  for (const r of runs) all.fill(r, r.from, r.to + 1);
  return all;
}

// run is how a range of slots is written.
const run = (r) => (r.from === r.to ? String(r.from) : `${r.from}–${r.to}`);

const columnsFor = (select) => [
  { key: "from", name: "slots", width: 12, num: true, value: (r) => r.from, cell: run },
  { key: "n", name: "how many", width: 9, num: true, value: (r) => r.to - r.from + 1 },
  { key: "group", name: "group", width: 7, num: true, value: (r) => r.group, cell: (r) => html`<a href=${href("groups", { group: r.group })}>${r.group}</a>` },
  { key: "state", name: "state", width: 22, value: (r) => r.state + (r.target != null ? " to " + r.target : ""), cell: (r) => html`<${Status} is=${r.state} text=${r.state === "moving" ? `moving to group ${r.target}` : r.state} />` },
  { key: "keys", name: "keys", width: 10, num: true, value: (r) => r.keys, cell: (r) => count(r.keys) },
  { key: "bytes", name: "bytes", width: 10, num: true, value: (r) => r.bytes, cell: (r) => bytes(r.bytes) },
  { key: "do", name: "do", width: 9, cell: (r) => html`<button class="quiet" onClick=${() => select(r.from, r.to)}>Select<span class="sr"> slots ${r.from} to ${r.to}</span></button>` },
];

function Selected({ range, runs, owner }) {
  const inside = runs.filter((r) => r.from <= range.to && r.to >= range.from);
  const whole = inside.every((r) => r.from >= range.from && r.to <= range.to);
  const of = inside.map((r) => [r.group, Math.min(r.to, range.to) - Math.max(r.from, range.from) + 1]);
  const sums = new globalThis.Map();
  for (const [g, n] of of) sums.set(g, (sums.get(g) || 0) + n);
  return html`<div data-testid="selected"><${Facts} of=${[
    ["selected", `${run(range)}, ${plural(range.to - range.from + 1, "slot")}`],
    ["owned by", [...sums].map(([g, n]) => `group ${g}: ${n}`).join(", ")],
    ["keys", whole ? count(inside.reduce((s, r) => s + (r.keys || 0), 0)) : null],
    ["on their way", owner.slice(range.from, range.to + 1).filter((r) => r?.state === "moving").length || null],
  ]} /></div>`;
}

async function move(range, runs, again) {
  let groups = [];
  try {
    groups = (await ask("group list")).filter((g) => g.id !== 0).map((g) => String(g.id));
  } catch {
    groups = [...new Set(runs.map((r) => String(r.group)))];
  }
  const text = range.from === range.to ? String(range.from) : `${range.from}-${range.to}`;
  act({
    title: `Move ${range.from === range.to ? "slot" : "slots"} ${text}`, command: "slot move", args: { slots: text }, plan: true, done: again,
    about: "Keys, their versions, and what makes retries safe go along. Clients notice slower answers for a moment.",
    fields: [{ name: "group", label: "To group", options: groups, value: groups.at(-1) }],
  });
}

const cellMax = 12;

function Map({ owner, range, select }) {
  const canvas = useRef(null);
  const box = useRef(null);
  const { width, theme } = useDrawing(box);
  const [over, setOver] = useState(null);
  const drag = useRef(null);
  const across = width >= 860 ? 128 : 64;
  const cell = Math.max(4, Math.min(cellMax, Math.floor(width / across)));
  const down = slots / across;
  useEffect(() => {
    if (width) draw(canvas.current, owner, range, across, cell);
  }, [owner, range?.from, range?.to, across, cell, width, theme]);

  const at = (e) => {
    const box = canvas.current.getBoundingClientRect();
    const x = Math.max(0, Math.min(across - 1, Math.floor((e.clientX - box.left) / cell)));
    const y = Math.max(0, Math.min(down - 1, Math.floor((e.clientY - box.top) / cell)));
    return y * across + x;
  };
  const press = (e) => {
    if (e.button) return;
    drag.current = at(e);
    canvas.current.setPointerCapture(e.pointerId);
    select(drag.current, drag.current);
  };
  const slide = (e) => {
    const s = at(e);
    if (s !== over) setOver(s);
    if (drag.current != null) select(drag.current, s);
  };
  const r = over != null ? owner[over] : null;
  return html`<div class="map"><div ref=${box}><canvas ref=${canvas} data-testid="slot-map" data-across=${across} data-cell=${cell} role="img" aria-label="Slots by group; the table below has the same"
      onPointerDown=${press} onPointerMove=${slide} onPointerUp=${() => (drag.current = null)} onPointerLeave=${() => setOver(null)}></canvas></div>
    <p class="muted hover">${r ? `slot ${over}: group ${r.group}${r.state === "moving" ? `, moving to group ${r.target}` : ""}` : " "}</p></div>`;
}

function draw(canvas, owner, range, across, cell) {
  const down = slots / across;
  const c = blank(canvas, across * cell, down * cell);
  const style = getComputedStyle(document.body);
  const dark = isDark(style);
  const ink = style.color;
  const gap = cell > 6 ? 1 : 0.5;
  for (let s = 0; s < slots; s++) {
    const r = owner[s];
    const x = (s % across) * cell;
    const y = Math.floor(s / across) * cell;
    c.fillStyle = r ? colour(r.group, dark) : dark ? "#333" : "#ccc";
    c.fillRect(x, y, cell - gap, cell - gap);
    if (r?.state === "moving") {
      c.strokeStyle = ink;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(x, y + cell - gap);
      c.lineTo(x + cell - gap, y);
      c.stroke();
    }
  }
  // A run that has a row's width says its number: colour is not the only sign.
  c.font = "600 11px system-ui, sans-serif";
  c.textBaseline = "middle";
  let from = 0;
  for (let s = 1; s <= slots; s++) {
    if (s < slots && owner[s]?.group === owner[from]?.group) continue;
    if (owner[from] && s - from >= across / 2) {
      const row = Math.floor(from / across) + (from % across > across / 2 ? 1 : 0);
      const last = Math.floor((s - 1) / across);
      const y = (Math.min(row, last) + Math.max(row, last) + 1) / 2;
      const x = row > Math.floor(from / across) || from % across === 0 ? 0 : from % across;
      const text = String(owner[from].group);
      const w = c.measureText(text).width + 8;
      c.fillStyle = dark ? "#0f1216d9" : "#ffffffe6";
      c.fillRect(x * cell + 3, y * cell - 8, w, 16);
      c.fillStyle = ink;
      c.fillText(text, x * cell + 7, y * cell + 0.5);
    }
    from = s;
  }
  if (!range) return;
  // One outline around the range: its first row may begin late, and its last end early.
  const row = (s) => Math.floor(s / across) * cell;
  const col = (s) => (s % across) * cell;
  const a = range.from, b = range.to, wide = across * cell - gap;
  c.beginPath();
  if (row(a) === row(b)) {
    c.rect(col(a), row(a), col(b) + cell - gap - col(a), cell - gap);
  } else {
    c.moveTo(col(a), row(a));
    c.lineTo(wide, row(a));
    c.lineTo(wide, row(b));
    c.lineTo(col(b) + cell - gap, row(b));
    c.lineTo(col(b) + cell - gap, row(b) + cell - gap);
    c.lineTo(0, row(b) + cell - gap);
    c.lineTo(0, row(a) + cell);
    c.lineTo(col(a), row(a) + cell);
    c.closePath();
  }
  c.fillStyle = dark ? "#ffffff26" : "#15181d26";
  c.fill();
  c.strokeStyle = ink;
  c.lineWidth = 2;
  c.stroke();
}
