// The nodes: who is there, and how they come and go.
import { html, useStore } from "../lib.js";
import { overview } from "../live.js";
import { useQuery, href } from "../router.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Status, Panel, Facts, Copy, Command } from "../parts.js";
import { count, bytes, micros, seconds, percent } from "../format.js";

export function Nodes() {
  const o = useStore(overview);
  const [name, setName] = useQuery("node");
  const rows = o?.nodes || [];
  const found = rows.find((n) => n.name === name);
  return html`<div class="split">
      <${Table} label="Nodes" testid="nodes" columns=${columns} rows=${rows} rowKey=${(n) => n.name} current=${name} open=${(n) => setName(n.name)}
        tools=${html`<button data-testid="token" onClick=${makeToken}>New token</button><button class="primary" data-testid="node-add" onClick=${add}>Add a node</button>`} />
      ${found && html`<${One} n=${found} o=${o} close=${() => setName("")} />`}
    </div>`;
}

const labels = (n) => Object.entries(n.labels || {}).map(([k, v]) => `${k}=${v}`).join(" ");

// known are the rates of a node, or null where this user may not see them or nobody has counted yet.
const known = (n) => (n.rates?.window_ms ? n.rates : null);

const columns = [
  { key: "name", name: "name", width: 16, value: (n) => n.name, cell: (n) => html`<a href=${href("nodes", { node: n.name })}>${n.name}</a>` },
  { key: "status", name: "status", width: 12, value: (n) => n.status, cell: (n) => html`<${Status} is=${n.status} testid=${"node-status-" + n.name} />` },
  { key: "addr", name: "address", width: 22, mono: true, value: (n) => n.addr },
  { key: "role", name: "role", width: 8, value: (n) => n.role },
  { key: "leads", name: "leads", width: 6, num: true, value: (n) => n.leads },
  { key: "replicas", name: "replicas", width: 8, num: true, value: (n) => n.replicas },
  { key: "writes", name: "writes/s", width: 9, num: true, wide: true, value: (n) => known(n)?.writes_per_s, cell: (n) => count(known(n)?.writes_per_s) },
  { key: "cpu", name: "CPU", width: 7, num: true, wide: true, value: (n) => known(n)?.cpu_percent, cell: (n) => percent(known(n)?.cpu_percent) },
  { key: "version", name: "version", width: 9, wide: true, value: (n) => n.version },
  { key: "labels", name: "labels", wide: true, value: labels },
];

function One({ n, o, close }) {
  const args = { node: n.name };
  const leads = (o?.groups || []).filter((g) => g.leader === n.name);
  return html`<${Panel} title=${n.name} close=${close} testid="node-one">
    <${Facts} of=${[
      ["status", html`<${Status} is=${n.status} />`], ["id", html`<code>${n.id}</code>`], ["address", html`<code>${n.addr}</code>`], ["role", n.role],
      ["version", n.version], ["level", n.level], ["weight", n.weight], ["labels", labels(n)],
      ["runs for", n.answered ? seconds(n.uptime_s) : null], ["last heard", n.status === "dead" && n.last_heard_ms ? seconds(n.last_heard_ms / 1000) + " ago" : null], ["no answer", n.answered === false ? n.why || "not asked" : null],
      ["memory", n.rss_bytes ? bytes(n.rss_bytes) : null], ["disk free", n.free_bytes ? bytes(n.free_bytes) : null], ["log", n.log_bytes ? bytes(n.log_bytes) : null], ["log sync p99", n.sync_p99_us ? micros(n.sync_p99_us) : null],
      ["writes/s", known(n) ? count(known(n).writes_per_s) : null], ["reads/s", known(n) ? count(known(n).reads_per_s) : null], ["CPU", known(n) ? percent(known(n).cpu_percent) : null],
      ["leads", leads.length ? leads.map((g) => html`<a key=${g.id} href=${href("groups", { group: g.id })}>${g.id}</a> `) : "no group"], ["replicas", count(n.replicas)],
    ]} />
    <div class="actions">
      ${n.status === "draining"
        ? html`<button data-testid="undrain" onClick=${() => act({ title: `Undrain ${n.name}`, about: "The node may have leaders and replicas again.", command: "node undrain", args })}>Undrain</button>`
        : html`<button data-testid="drain" onClick=${() => act({ title: `Drain ${n.name}`, about: "Its leaders and replicas go to other nodes; it stays a member.", command: "node drain", args, plan: true })}>Drain</button>`}
      <button data-testid="label" onClick=${() => act({ title: `Label ${n.name}`, command: "node label", args, fields: [{ name: "label", label: "Labels", value: labels(n), list: true, help: "K=V, several with blanks between; K= takes one away. Replicas of a group are spread over the values of zone." }] })}>Labels</button>
      <button onClick=${() => act({ title: `Weigh ${n.name}`, command: "node weight", args, fields: [{ name: "weight", label: "Weight", type: "number", min: 0, max: 1000, value: n.weight, help: "How large a part of the data it should hold beside the others: 0 to 1000. Nothing moves before the next rebalance." }] })}>Weight</button>
      <button class="danger" data-testid="remove" onClick=${() => act({ title: `Remove ${n.name}`, about: "It is drained, then taken off the list for good: its id never comes back.", command: "node remove", args, plan: true, danger: true, force: "Do not drain it: its replicas count as lost and are made anew. Only for a node that is dead, and whose disk holds nothing that others lack." })}>Remove</button>
    </div>
  </${Panel}>`;
}

function makeToken() {
  act({
    title: "Make a token", command: "token create", button: "Make it",
    about: "A token is the right of a host to join. It is shown once.",
    fields: [
      { name: "role", label: "The host may be", options: ["server", "client"], value: "server" },
      { name: "uses", label: "For how many hosts", type: "number", min: 1, value: 1 },
      { name: "ttl", label: "Good for", value: "1h", help: "as in 30m or 24h" },
    ],
    show: (t) => html`<p>The token, which nobody can show again:</p><div class="command"><code data-testid="token-text">${t.token}</code><${Copy} text=${t.token} /></div>
      <p>Put it in a file <code>token</code> on the new host that nobody else can read, and start:</p>
      <${Command} line="muster serve --name NAME --listen HOST:4166 --token-file token --standby" />`,
  });
}

function add() {
  act({
    title: "Add nodes", command: "node add", button: "Add",
    about: html`Start the host first, with <code>muster serve --standby</code> and a token. Then it is asked here to join.`,
    fields: [{ name: "addr", label: "Addresses", list: true, help: "HOST:PORT, several with blanks between" }],
  });
}
