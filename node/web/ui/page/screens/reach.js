// Reachability: what each node says of its links to the others.
import { html, useStore } from "../lib.js";
import { overview } from "../live.js";
import { Status, Loading, Panel, Command } from "../parts.js";
import { Table } from "../table.js";
import { micros, bytes, seconds } from "../format.js";

export function Reach() {
  const o = useStore(overview);
  if (!o) return html`<${Loading} what="what each node measures" />`;
  const nodes = o.nodes || [];
  const names = nodes.map((n) => n.name);
  const links = new Map((o.links || []).map((l) => [l.from + "\n" + l.to, l]));
  return html`<${Panel} title="Round trips, from each node (rows) to each other (columns)" testid="reach">
      <div class="scroll fit" tabindex="0" role="region" aria-label="Reachability">
      <table class="matrix"><thead><tr><td><span class="sr">from</span></td>${names.map((n) => html`<th key=${n} scope="col">${n}</th>`)}</tr></thead>
      <tbody>${nodes.map((n) => html`<tr key=${n.id}><th scope="row">${n.name}</th>${names.map((to) => html`<td key=${to} data-testid=${`link-${n.name}-${to}`}>${n.name === to ? html`<span class="muted">–<span class="sr">itself</span></span>` : html`<${Link} l=${links.get(n.name + "\n" + to)} node=${n} />`}</td>`)}</tr>`)}</tbody></table></div>
      <p class="legend muted"><${Status} is="ok" text="the connection answers, and the other side hears it" /> <${Status} is="warning" text="unheard: the other side hears nothing" /> <${Status} is="error" text="cut: no connection answers" /> <${Status} is="unknown" text="the node that would say it did not answer" /></p>
    </${Panel}>
    <${Table} label="What each node measures" name="d" testid="measures" columns=${columns} rows=${nodes} rowKey=${(n) => n.id} fit />
    <p class="same">This is</p><${Command} line="muster doctor" />`;
}

function Link({ l, node }) {
  if (!l || node?.answered === false) return html`<${Status} is="unknown" text="?" />`;
  if (!l.reached) return html`<span title=${l.why}><${Status} is="error" text="cut" /></span>`;
  if (l.heard === false) return html`<span title=${l.why}><${Status} is="warning" text="unheard" /></span>`;
  return html`<${Status} is="ok" text=${micros(l.rtt_us)} />`;
}

const columns = [
  { key: "name", name: "node", width: 14, value: (n) => n.name },
  { key: "answered", name: "answers", width: 10, value: (n) => (n.answered ? "yes" : "no"), cell: (n) => html`<${Status} is=${n.answered ? "ok" : "error"} text=${n.answered ? "yes" : "no"} />` },
  { key: "uptime", name: "runs for", width: 12, num: true, value: (n) => n.uptime_s, cell: (n) => seconds(n.uptime_s) },
  { key: "p50", name: "sync p50", width: 9, num: true, value: (n) => n.sync_p50_us, cell: (n) => micros(n.sync_p50_us) },
  { key: "p99", name: "sync p99", width: 9, num: true, value: (n) => n.sync_p99_us, cell: (n) => micros(n.sync_p99_us) },
  { key: "free", name: "disk free", width: 10, num: true, value: (n) => n.free_bytes, cell: (n) => bytes(n.free_bytes) },
  { key: "log", name: "log", width: 10, num: true, wide: true, value: (n) => n.log_bytes, cell: (n) => bytes(n.log_bytes) },
  { key: "clock", name: "clock ahead", width: 12, num: true, wide: true, value: (n) => n.clock_ahead_ms, cell: (n) => (n.clock_ahead_ms == null ? "–" : `${n.clock_ahead_ms} ms`) },
  { key: "start", name: "starts", width: 7, num: true, wide: true, value: (n) => n.start },
];
