// The databases of points: their policies, each with its windows on an axis of time, and the groups of the shards.
import { html, useAsk, useStore, useState, useEffect, useRef, useMemo } from "../lib.js";
import { ask } from "../api.js";
import { overview } from "../live.js";
import { useQuery, href } from "../router.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Facts, Failed, Panel, Status, none } from "../parts.js";
import { ago, bytes, count, plural } from "../format.js";
import { blank, colour, isDark, useDrawing } from "../colour.js";
import { fit, lanes, marks, read, shardsText, state, stripes, tell, ticks, utc } from "../windows.js";

// allMax is how many windows are asked for at once if no database is chosen, and often how many are asked for often.
const allMax = 4096;
const often = 1000;
// lanesMax is how many policies are drawn; the table has all of them.
const lanesMax = 24;
const laneHeight = 44; // px; style.css has the same
const gapFrom = 6; // px, the width from which on marks have a whole pixel between them
const least = 60_000; // ms, the shortest span that is shown
const spans = { "newest windows": "", "a day": 1, "a week": 7, "30 days": 30, "a year": 365, "10 years": 3652, "all": "all" };
const dayMs = 86_400_000;

export function Points() {
  const o = useStore(overview);
  const [database, setDatabase] = useQuery("db");
  const [by, setBy] = useQuery("by", "group");
  const [picked, pick] = useQuery("window");
  const [from, setFrom] = useQuery("from");
  const [to, setTo] = useQuery("to");
  const dbs = useAsk((signal) => ask("db list", {}, { signal }), [], 10_000);
  const total = (dbs.data || []).reduce((n, d) => n + d.windows, 0);
  const chosen = database || (total > allMax ? dbs.data[0].name : "");
  const many = (dbs.data || []).some((d) => d.windows > often && (!chosen || chosen === d.name));
  const known = dbs.data != null;
  const listed = useAsk((signal) => (known ? Promise.all([ask("policy list", { database: chosen }, { signal }), ask("window list", { database: chosen }, { signal })]) : null), [chosen, known, many], many ? 60_000 : 5_000);
  const again = () => (dbs.again(), listed.again());

  const [policies, windows] = useMemo(() => (listed.data || [[], []]).map((rows, i) => rows.filter((r) => !chosen || r.database === chosen).map(i ? read : (p) => p)), [listed.data, chosen]);
  const all = useMemo(() => lanes(policies, windows), [policies, windows]);
  const drawn = all.slice(0, lanesMax);
  const span = spanOf(from, to, drawn);
  const setSpan = (s) => (setFrom(s ? String(Math.round(s.from)) : ""), setTo(s ? String(Math.round(s.to)) : ""));
  const found = windows.find((w) => w.key === picked);
  const groups = useMemo(() => new Map((o?.groups || []).map((g) => [g.id, g])), [o]);

  return html`<${Failed} error=${dbs.error || listed.error} />
    <div class="bar">
      <div class="field line"><label for="db">Database</label><select id="db" data-testid="db" value=${chosen} onChange=${(e) => setDatabase(e.target.value)}>
        <option value="" disabled=${total > allMax}>all${total > allMax ? `: ${count(total)} windows are too many` : ""}</option>
        ${(dbs.data || []).map((d) => html`<option key=${d.id} value=${d.name}>${d.name}</option>`)}
        ${chosen && known && !dbs.data.some((d) => d.name === chosen) && html`<option value=${chosen}>${chosen}</option>`}</select></div>
      <div class="field line"><label for="by">Colour by</label><select id="by" data-testid="by" value=${by} onChange=${(e) => setBy(e.target.value)}><option value="group">group</option><option value="node">leading node</option></select></div>
      <span class="space"></span>
      <button class="primary" data-testid="db-create" onClick=${() => act({ title: "Make a database", command: "db create", button: "Make it", done: again, fields: [{ name: "database", label: "Name" }, ...spec], about: "It begins with one policy, which says for how long points are kept." })}>Make a database</button>
      ${chosen && html`<button onClick=${() => act({ title: `Make a policy of ${chosen}`, command: "policy create", args: { database: chosen }, button: "Make it", done: again, fields: [{ name: "policy", label: "Name" }, ...spec] })}>Make a policy</button>`}
      <button data-testid="truncate" onClick=${() => act({ title: chosen ? `Truncate the windows of ${chosen}` : "Truncate windows", command: "window truncate", args: { database: chosen || null }, plan: true, done: again, about: "New points go to new windows, on the groups of now: so new nodes get writes at once. Points that are there stay." })}>Truncate …</button>
      ${chosen && html`<button class="danger" data-testid="db-drop" onClick=${() => act({ title: `Drop the database ${chosen}`, command: "db drop", args: { database: chosen }, plan: true, danger: true, done: () => (setDatabase(""), again()), about: "All its points go with it. Nothing brings them back." })}>Drop …</button>`}
    </div>
    ${o?.limited && html`<p class="muted" data-testid="points-limited">Databases to which you have no right are left out. To give one: <code>muster role grant ROLE read db:NAME</code>; to show all: <code>muster role grant ROLE read cluster</code></p>`}
    <div class="split"><div class="stack">
      <${Axis} lanes=${drawn} more=${all.length - drawn.length} span=${span} set=${setSpan} windows=${windows} paint=${{ by, groups }} pick=${(w) => pick(w.key)} picked=${picked} again=${again} empty=${none(listed.data, dbs.error || listed.error, chosen ? "it has no policy" : "there is no database")} />
      <${Table} label="Windows" testid="windows" columns=${columns} rows=${windows} rowKey=${(w) => w.key} current=${picked} open=${(w) => pick(w.key)} empty=${none(listed.data, listed.error, "there are no windows")} />
      </div>
      ${found && html`<${One} w=${found} groups=${groups} close=${() => pick("")} />`}
    </div>
    <${Hints} />`;
}

const hintColumns = [
  { key: "node", name: "node", width: 12, value: (h) => h.node },
  { key: "group", name: "group", width: 7, num: true, value: (h) => h.group, cell: (h) => html`<a href=${href("groups", { group: h.group })}>${h.group}</a>` },
  { key: "points", name: "points", width: 12, num: true, value: (h) => h.points, cell: (h) => count(h.points) },
  { key: "bytes", name: "bytes", width: 10, num: true, value: (h) => h.bytes, cell: (h) => bytes(h.bytes) },
  { key: "oldest", name: "oldest", width: 14, value: (h) => h.oldest, cell: (h) => ago(h.oldest) },
  { key: "aside", name: "set aside", width: 10, num: true, wide: true, value: (h) => h.aside },
  { key: "why", name: "in the way", wide: true, value: (h) => h.why },
];

// Hints shows the queues of points that nodes keep for groups. If a node is silent the others' are shown all the same.
function Hints() {
  const { data, error, again } = useAsk((signal) => ask("hint list", {}, { signal }).then((rows) => ({ rows }), (e) => {
    if (!Array.isArray(e.result)) throw e;
    return { rows: e.result, notes: e.notes };
  }), [], 10_000);
  const rows = data?.rows || [];
  return html`<${Panel} title="Points that wait at nodes" testid="hints" tools=${html`<button class="quiet" data-testid="hint-retry" onClick=${() => act({ title: "Try what waits at once", command: "hint retry", done: again })}>Try at once</button>
      <button class="quiet danger" data-testid="hint-purge" disabled=${!rows.length} onClick=${() => act({ title: "Give up what waits", command: "hint purge", plan: true, danger: true, done: again, about: "These points are lost then." })}>Give up …</button>`}>
    <${Failed} error=${error} />${(error || data)?.notes?.map((n, i) => html`<p key=${i}><${Status} is="warning" text=${n} /></p>`)}
    <${Table} label="Hints" name="h" testid="hint-queues" columns=${hintColumns} rows=${rows} rowKey=${(h) => h.node + " " + h.group} empty=${none(data, error, "no points wait")} fit /></${Panel}>`;
}

const spec = [
  { name: "duration", label: "Keep points for", optional: true, help: "30d, 12h, or inf; an hour at least" },
  { name: "window", label: "In windows of", optional: true, help: "1d, 12h; an hour at least" },
  { name: "shards", label: "Shards of a window", type: "number", min: 1, max: 64, optional: true, json: true },
];

// spanOf is the span that the address names, or the one that fits.
function spanOf(from, to, drawn) {
  const span = { from: Number(from), to: Number(to) };
  return from !== "" && to !== "" && span.to - span.from >= least && Math.abs(span.from) < 8.64e15 && Math.abs(span.to) < 8.64e15 ? span : fit(drawn, Date.now());
}

const columns = [
  { key: "database", name: "database", width: 16, value: (w) => w.database },
  { key: "policy", name: "policy", width: 14, value: (w) => w.policy },
  { key: "id", name: "window", width: 8, num: true, value: (w) => w.id },
  { key: "from", name: "from, UTC", width: 18, value: (w) => utc(w.from) },
  { key: "to", name: "to", width: 18, value: (w) => utc(w.to) },
  { key: "state", name: "state", width: 14, value: (w) => state(w, Date.now()), cell: (w) => html`<${Status} is=${{ "deleted soon": "warning", truncated: "paused", now: "ok" }[state(w, Date.now())] || "unknown"} text=${state(w, Date.now())} />` },
  { key: "groups", name: "shards", wide: true, value: (w) => shardsText(w.groups), cell: (w) => html`<span title=${shardsText(w.groups)}>${shardsText(w.groups)}</span>` },
];

const shardColumns = [
  { key: "shard", name: "shard", width: 6, num: true, value: (s) => s.shard },
  { key: "group", name: "group", width: 7, num: true, value: (s) => s.group, cell: (s) => html`<a href=${href("groups", { group: s.group })}>${s.group}</a>` },
  { key: "leader", name: "leader", width: 12, value: (s) => s.leader },
  { key: "nodes", name: "replicas", value: (s) => s.nodes },
];

function One({ w, groups, close }) {
  const rows = useMemo(() => w.groups.map((group, shard) => ({ shard, group, leader: groups.get(group)?.leader, nodes: (groups.get(group)?.replicas || []).map((r) => r.node).join(" ") })), [w, groups]);
  return html`<${Panel} title=${`Window ${w.id} of ${w.database} · ${w.policy}`} close=${close} testid="window-one">
    <${Facts} of=${[["from, UTC", utc(w.from)], ["to", utc(Date.parse(w.end))], ["state", state(w, Date.now())], ["truncated", w.truncated ? utc(w.to) : null], ["deleted from", w.gone ? utc(w.gone) : null], ["shards", w.groups.length]]} />
    <${Table} label="Shards" name="s" testid="shards" columns=${shardColumns} rows=${rows} rowKey=${(s) => String(s.shard)} fit /></${Panel}>`;
}

// Axis draws the lanes below one axis of time, and tells what it leaves out.
function Axis({ lanes, more, span, set, windows, paint, pick, picked, again, empty }) {
  const box = useRef(null);
  const { width, theme } = useDrawing(box);
  const [told, tellOf] = useState("");
  const shown = useMemo(() => lanes.map((l) => marks(l.windows, span, width || 1)), [lanes, span.from, span.to, width]);
  const length = span.to - span.from;
  const about = (part) => {
    const middle = (span.from + span.to) / 2;
    set({ from: middle - Math.max(least, length * part) / 2, to: middle + Math.max(least, length * part) / 2 });
  };
  const over = (value) => {
    const now = Date.now();
    if (value === "") return set(null);
    if (value !== "all") return set({ from: now - Number(value) * dayMs * 0.9, to: now + Number(value) * dayMs * 0.1 });
    if (windows.length) set({ from: windows.reduce((t, w) => Math.min(t, w.from), Infinity), to: windows.reduce((t, w) => Math.max(t, w.to), -Infinity) });
  };
  const pages = (n) => set({ from: span.from + length * n, to: span.to + length * n });
  // A mark of several windows is looked at closer, one of a single window opened.
  const open = (m) => {
    if (m.windows.length === 1) return pick(m.windows[0]);
    const to = m.windows.reduce((t, w) => Math.max(t, w.to), -Infinity);
    set({ from: m.windows[0].from, to: Math.max(to, m.windows[0].from + least) });
  };
  const now = Date.now();
  const place = (t) => `${(((t - span.from) / length) * 100).toFixed(3)}%`;
  return html`<section class="map axis" aria-label="Windows by time" data-testid="axis">
    <div class="bar">
      <button onClick=${() => pages(-0.5)}>‹ Earlier</button><button onClick=${() => pages(0.5)}>Later ›</button>
      <button data-testid="closer" onClick=${() => about(0.5)}>Closer</button><button onClick=${() => about(2)}>Wider</button>
      <div class="field line"><label for="span">Show</label><select id="span" data-testid="span" value="choose" onChange=${(e) => (over(e.target.value), (e.target.value = "choose"))}><option value="choose">${utc(span.from).slice(0, 16)} to ${utc(span.to).slice(0, 16)}</option>
        ${Object.entries(spans).map(([name, value]) => html`<option key=${name} value=${value}>${name}</option>`)}</select></div>
      <span class="space"></span><button class="quiet" onClick=${again}>Ask again</button></div>
    <div class="ticks" aria-hidden="true" ref=${box}>${ticks(span, width || 1).map((t) => html`<span key=${t.at} style=${{ left: place(t.at) }}>${t.text}</span>`)}</div>
    ${lanes.map((l, i) => html`<${Lane} key=${l.key} l=${l} shown=${shown[i].all} width=${width} theme=${theme} paint=${paint} now=${now >= span.from && now <= span.to ? place(now) : null} open=${open} tellOf=${tellOf} picked=${picked} again=${again} />`)}
    ${!lanes.length && html`<p class="empty">${empty}</p>`}
    <p class="muted hover" data-testid="told">${told || " "}</p>
    <p class="legend muted" data-testid="left-out">${leftOut(shown, more)}</p>
    <p class="legend muted">Times are UTC. A window's stripes are its shards, from the first at the top; their colours, and the numbers where there is room, are those of their ${paint.by === "group" ? "groups" : "groups' leading nodes"}. Hatched: over, deleted soon. A line at the end: truncated. A dotted foot: several windows. Arrows move in a row, Enter opens a window or looks closer.</p></section>`;
}

// leftOut tells how many windows are drawn, and how many are not.
function leftOut(shown, more) {
  let single = 0, joined = 0, together = 0, earlier = 0, later = 0;
  for (const s of shown) {
    earlier += s.earlier;
    later += s.later;
    for (const m of s.all) {
      if (m.windows.length === 1) single++;
      else (joined++, (together += m.windows.length));
    }
  }
  return [
    `${plural(single, "window")} drawn`,
    joined && `${count(together)} more in ${plural(joined, "mark")} that stand for several`,
    earlier && `${count(earlier)} not drawn: earlier`,
    later && `${count(later)} not drawn: later`,
    more > 0 && `${plural(more, "policy", "policies")} not drawn beyond the first ${lanesMax}: choose a database`,
  ].filter(Boolean).join("; ") + ".";
}

function Lane({ l, shown, width, theme, paint, now, open, tellOf, picked, again }) {
  const canvas = useRef(null);
  const [at, setAt] = useState(-1);
  const hues = useMemo(() => huesOf(paint), [paint.by, paint.groups]);
  // The overview comes each second: only another leader makes another picture.
  const look = [...new Set(l.windows.flatMap((w) => w.groups))].map((g) => hues(g).n).join();
  useEffect(() => {
    if (width) draw(canvas.current, shown, width, hues);
  }, [shown, width, theme, look]);
  const here = at >= 0 ? shown[Math.min(at, shown.length - 1)] : null;
  const text = here ? tell(here, Date.now()) : "";
  const go = (i) => {
    i = Math.max(-1, Math.min(shown.length - 1, i));
    setAt(i);
    tellOf(shown[i] ? `${l.database} · ${l.name}: ${tell(shown[i], Date.now())}` : "");
  };
  const under = (e) => {
    const x = e.clientX - canvas.current.getBoundingClientRect().left;
    return shown.findLastIndex((m) => x >= m.x && x < m.x + m.width);
  };
  const key = (e) => {
    const to = { ArrowRight: at + 1, ArrowLeft: Math.max(0, at - 1), Home: 0, End: shown.length - 1 }[e.key];
    if (to !== undefined) go(to);
    else if (e.key === "Enter" && here) open(here);
    else return;
    e.preventDefault();
  };
  const current = shown.find((m) => m.windows.some((w) => w.key === picked));
  const box = (m, name) => m && html`<div class=${name} style=${{ left: m.x + "px", width: m.width + "px" }}></div>`;
  return html`<div class="lane"><div class="bar"><h2>${l.database} · ${l.name}</h2><span class="muted">${l.default ? "default, " : ""}${l.duration === "inf" ? "for ever" : "for " + l.duration}, in windows of ${l.window}${l.shards ? ", " + plural(l.shards, "shard") : ""}; ${plural(l.windows.length, "window")}</span><span class="space"></span>
      <a href=${href("query", { db: l.database, rp: l.name })} data-testid=${`query-${l.database}-${l.name}`}>Query<span class="sr"> ${l.name} of ${l.database}</span></a>
      <button class="quiet" data-testid=${`alter-${l.database}-${l.name}`} onClick=${() => act({ title: `Change ${l.name} of ${l.database}`, command: "policy alter", args: { database: l.database, policy: l.name }, plan: true, done: again, fields: spec.map((f) => ({ ...f, value: String(l[f.name] || "") })), about: "Windows that are there stay as they are. What is kept for a shorter time may be over at once." })}>Change<span class="sr"> ${l.name} of ${l.database}</span></button>
      ${!l.default && html`<button class="quiet" onClick=${() => act({ title: `Make ${l.name} the default of ${l.database}`, command: "policy default", args: { database: l.database, policy: l.name }, done: again })}>Make default<span class="sr"> ${l.name} of ${l.database}</span></button>
        <button class="quiet danger" onClick=${() => act({ title: `Drop ${l.name} of ${l.database}`, command: "policy drop", args: { database: l.database, policy: l.name }, plan: true, danger: true, done: again })}>Drop<span class="sr"> ${l.name} of ${l.database}</span></button>`}</div>
    <div class="track" role="slider" tabindex="0" aria-label=${`Windows of ${l.database} · ${l.name}`} aria-valuemin="0" aria-valuemax=${Math.max(0, shown.length - 1)} aria-valuenow=${Math.max(0, at)} aria-valuetext=${text || `${plural(shown.length, "mark")}; arrows move, Enter opens`} data-testid=${`lane-${l.database}-${l.name}`} data-marks=${shown.length}
      onKeyDown=${key} onFocus=${() => at < 0 && go(0)} onBlur=${() => go(-1)} onPointerMove=${(e) => go(under(e))} onPointerLeave=${() => go(-1)} onClick=${(e) => shown[under(e)] && open(shown[under(e)])}>
      <canvas ref=${canvas} aria-hidden="true"></canvas>${box(current, "chosen")}${box(here, "here")}${now && html`<div class="now" style=${{ left: now }} title="now"></div>`}</div></div>`;
}

// huesOf returns what says of a group which colour it has, and what is written into it: its own number, or its leader.
function huesOf({ by, groups }) {
  if (by !== "node") return (g) => ({ n: g, text: String(g) });
  const names = [...new Set([...groups.values()].map((g) => g.leader))].filter(Boolean).sort();
  return (g) => {
    const leader = groups.get(g)?.leader;
    return leader ? { n: names.indexOf(leader) + 1, text: leader } : { n: null, text: "?" };
  };
}

function draw(canvas, shown, width, hues) {
  const c = blank(canvas, width, laneHeight);
  const style = getComputedStyle(document.body);
  const dark = isDark(style);
  c.font = "600 10px system-ui, sans-serif";
  c.textBaseline = "middle";
  for (const m of shown) {
    const wide = Math.max(1, m.width - (m.width > gapFrom ? 1 : 0.5));
    for (const s of stripes(m, laneHeight)) {
      const { n, text } = hues(s.group);
      c.fillStyle = n == null ? (dark ? "#444" : "#bbb") : colour(n, dark);
      c.fillRect(m.x, s.from, wide, s.to - s.from);
      if (s.to - s.from < 10 || c.measureText(text).width > wide - 6) continue;
      c.fillStyle = style.color;
      c.fillText(text, m.x + 3, (s.from + s.to) / 2);
    }
    c.strokeStyle = c.fillStyle = style.color;
    c.lineWidth = 1;
    const [w] = m.windows;
    if (m.windows.length > 1) {
      for (let x = 0; x < wide; x += 4) c.fillRect(m.x + x, laneHeight - 3, 2, 3);
    } else if (w.gone != null) {
      c.save();
      c.beginPath();
      c.rect(m.x, 0, wide, laneHeight);
      c.clip();
      c.beginPath();
      for (let x = -laneHeight; x < wide; x += 6) {
        c.moveTo(m.x + x, laneHeight);
        c.lineTo(m.x + x + laneHeight, 0);
      }
      c.stroke();
      c.restore();
    } else if (w.truncated) c.fillRect(m.x + wide - 2, 0, 2, laneHeight);
  }
}
