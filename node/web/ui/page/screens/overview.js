// The cluster at a glance: one verdict, why, and the command that comes next; then what
// it is made of, and what it is doing.
import { html, useStore } from "../lib.js";
import { overview, samples, interrupted, seen } from "../live.js";
import { href } from "../router.js";
import { count, bytes, plural, micros, clock } from "../format.js";
import { Status, Command, Panel, Loading, Meter } from "../parts.js";

const headlines = { ok: "All is well", warning: "Needs attention", error: "Something is wrong" };

export function Overview() {
  const o = useStore(overview);
  const why = useStore(interrupted);
  if (!o) return why ? html`<p class="empty" role="status">${why}</p>` : html`<${Loading} what="the overview" />`;
  const findings = o.findings || [];
  return html`
    <section class=${"verdict-box " + o.verdict} aria-label="Verdict" data-testid="verdict-box">
      <h2><${Status} is=${o.verdict} text=${headlines[o.verdict] || o.verdict} /></h2>
      <p data-testid="reason">${o.reason}</p>
      ${o.next && o.verdict !== "ok" && html`<div class="next"><span>Next:</span> ${/^muster /.test(o.next) ? html`<${Command} line=${o.next} testid="next" />` : html`<span data-testid="next">${o.next}</span>`}</div>`}
      ${findings.length > 0 && html`<details open=${findings.length > 1 && findings.length < 6}><summary>${plural(findings.length, "finding")}</summary><ul>${findings.map((p, i) => html`<li key=${i}><${Status} is=${p.severity} />${" "}${p.what}${p.remedy && html`<br /><span class="muted">${p.remedy}</span>`}</li>`)}</ul></details>`}
      ${o.limited && html`<p class="muted" data-testid="limited">${o.limited}</p>`}
    </section>
    <${Tiles} o=${o} />
    <div class="columns">
      <${Board} o=${o} />
      <div class="stack"><${Work} o=${o} /><${Lately} /></div>
    </div>`;
}

function Tiles({ o }) {
  const past = useStore(samples);
  const rates = past.at(-1)?.cluster;
  const shown = rates ? rateTiles : [];
  const alive = (o.nodes || []).filter((n) => n.status === "alive").length;
  const led = (o.groups || []).filter((g) => g.leader).length;
  return html`<ul class="tiles" aria-label="Figures">
    <li><span>nodes alive</span><b>${alive} <small>of ${count(o.nodes?.length)}</small></b></li>
    <li><span>groups led</span><b>${led} <small>of ${count(o.groups?.length)}</small></b></li>
    ${shown.map((t) => html`<li key=${t.name}><span>${t.name}</span><b>${t.as(rates[t.key])}</b><${Spark} name=${t.key} past=${past} /></li>`)}</ul>`;
}

// The rates that have a tile, by the names that they have in the overview.
const rateTiles = [
  { name: "writes/s", key: "writes_per_s", as: count },
  { name: "reads/s", key: "reads_per_s", as: count },
  { name: "write p99", key: "write_p99_us", as: micros },
  { name: "read p99", key: "read_p99_us", as: micros },
  { name: "log sync p99", key: "sync_p99_us", as: micros },
  { name: "to the logs", key: "log_bytes_per_s", as: (n) => bytes(n) + "/s" },
];

const sparkMax = 120; // seconds

// Spark is the last two minutes of one rate, as a line without an axis.
function Spark({ name, past }) {
  const values = past.slice(-sparkMax).map((s) => s.cluster[name] ?? 0);
  const from = sparkMax - values.length;
  const top = Math.max(1, ...values);
  const points = values.map((v, i) => `${(((from + i) / (sparkMax - 1)) * 100).toFixed(1)},${(20 - (v / top) * 18).toFixed(1)}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 100 21" preserveAspectRatio="none" aria-hidden="true"><polyline points=${points} /></svg>`;
}

const marks = { leader: ["L", "leads"], voter: ["•", "votes"], learner: ["○", "copies"] };
const groupsMax = 200;

// Board is which node has which group.
function Board({ o }) {
  const nodes = o.nodes || [];
  const groups = (o.groups || []).slice(0, groupsMax);
  return html`<${Panel} title="Nodes and groups" testid="board" tools=${html`<a href=${href("nodes")}>nodes</a> <a href=${href("groups")}>groups</a>`}>
    <div class="scroll fit" tabindex="0" role="region" aria-label="Which node has which group">
    <table class="board"><thead><tr><th scope="col">node</th><th scope="col">status</th>${groups.map((g) => html`<th key=${g.id} scope="col" class="mark"><a href=${href("groups", { group: g.id })}><span class="sr">group </span>${g.id}</a></th>`)}</tr></thead>
    <tbody>${nodes.map((n) => html`<tr key=${n.id} data-testid=${"overview-node-" + n.name}>
      <th scope="row"><a href=${href("nodes", { node: n.name })}>${n.name}</a></th><td><${Status} is=${n.status} /></td>
      ${groups.map((g) => {
        const r = (g.replicas || []).find((r) => r.node === n.name);
        const kind = r && (g.leader === n.name ? "leader" : r.role);
        return html`<td key=${g.id} class=${"mark " + (kind || "")} title=${kind ? `${n.name} ${marks[kind]?.[1]} group ${g.id}` : undefined}>${kind ? marks[kind]?.[0] : ""}</td>`;
      })}</tr>`)}
      ${groups.some((g) => !g.leader) && html`<tr><th scope="row">no leader</th><td></td>${groups.map((g) => html`<td key=${g.id} class="mark">${g.leader ? "" : html`<${Status} is="error" text="" /><span class="sr">group ${g.id} has no leader</span>`}</td>`)}</tr>`}
    </tbody></table></div>
    <p class="legend muted"><span><b>L</b> leads</span><span><b>•</b> votes</span><span><b>○</b> copies</span>${o.groups?.length > groupsMax ? html`<span>the first ${groupsMax} of ${count(o.groups.length)} groups</span>` : ""}</p>
  </${Panel}>`;
}

function Work({ o }) {
  const jobs = (o.jobs || []).filter((j) => j.state === "running" || j.state === "paused");
  return html`<${Panel} title="Jobs under way" testid="overview-jobs" tools=${html`<a href=${href("jobs")}>all jobs</a>`}>
    ${jobs.length
      ? html`<ul class="jobs">${jobs.map((j) => html`<li key=${j.id}><a href=${href("jobs", { job: j.id })}>job ${j.id}</a> ${j.kind} <${Status} is=${j.state} /> <${Meter} value=${j.done} max=${j.total} label=${`${j.done} of ${j.total} ${j.unit}`} /> ${count(j.done)}/${count(j.total)} ${j.unit}</li>`)}</ul>`
      : html`<p class="empty">no job is running</p>`}
  </${Panel}>`;
}

const latelyMax = 8;

function Lately() {
  const rows = useStore(seen).slice(0, latelyMax);
  return html`<${Panel} title="Lately" testid="lately" tools=${html`<a href=${href("events")}>all events</a>`}>
    ${rows.length ? html`<ul class="lately">${rows.map((e) => html`<li key=${e.key}><time>${clock(e.at)}</time><span><${Status} is=${e.level} text="" /> ${e.text}</span></li>`)}</ul>` : html`<p class="empty">nothing has changed since this page was opened</p>`}
  </${Panel}>`;
}
