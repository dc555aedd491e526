// The groups: who leads, how far each replica is, and where the replicas are.
import { html, useStore } from "../lib.js";
import { overview } from "../live.js";
import { useQuery, href } from "../router.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Status, Panel, Facts } from "../parts.js";
import { count } from "../format.js";

// index is the index of a log id, as in g1/2.17.
const index = (logID) => Number(String(logID || "").split(".")[1] || 0);
// worst is how many entries the replica that is most behind lacks of what is committed; null
// where nobody knows.
const worst = (g) => (g.replicas || []).reduce((w, r) => (r.lag == null ? w : Math.max(w ?? 0, r.lag)), null);

export function Groups() {
  const o = useStore(overview);
  const [id, setID] = useQuery("group");
  const rows = o?.groups || [];
  const found = rows.find((g) => String(g.id) === id);
  return html`<div class="split">
      <${Table} label="Groups" testid="groups" columns=${columns} rows=${rows} rowKey=${(g) => String(g.id)} current=${id} open=${(g) => setID(String(g.id))}
        tools=${html`<button class="primary" data-testid="group-create" onClick=${() => act({ title: "Make a group", command: "group create", button: "Make it", about: "It owns no slots yet: move some to it, or rebalance." })}>Make a group</button>`} />
      ${found && html`<${One} g=${found} nodes=${o?.nodes || []} close=${() => setID("")} />`}
    </div>`;
}

const columns = [
  { key: "id", name: "group", width: 7, num: true, value: (g) => g.id, cell: (g) => html`<a href=${href("groups", { group: g.id })}>${g.id}</a>` },
  { key: "leader", name: "leader", width: 14, value: (g) => g.leader, cell: (g) => (g.leader ? html`<a href=${href("nodes", { node: g.leader })}>${g.leader}</a>` : html`<${Status} is="error" text="none" />`) },
  { key: "term", name: "term", width: 6, num: true, value: (g) => g.term },
  { key: "commit", name: "committed", width: 16, mono: true, value: (g) => index(g.commit), cell: (g) => g.commit },
  { key: "slots", name: "slots", width: 7, num: true, value: (g) => g.slots },
  { key: "lag", name: "most behind", width: 11, num: true, value: worst, cell: (g) => (worst(g) == null ? html`<span class="muted">–</span>` : count(worst(g))) },
  { key: "replicas", name: "replicas", wide: true, value: (g) => (g.replicas || []).map((r) => r.node).join(" "), cell: (g) => (g.replicas || []).map((r) => html`<span key=${r.id} class=${"chip " + r.role}>${r.node}${r.node === g.leader ? html` <b title="leads">L</b>` : ""}</span>`) },
];

function One({ g, nodes, close }) {
  const meta = g.id === 0;
  const has = (g.replicas || []).map((r) => r.node);
  const free = nodes.filter((n) => !has.includes(n.name) && n.status === "alive").map((n) => n.name);
  const args = { group: String(g.id) };
  return html`<${Panel} title=${`Group ${g.id}${meta ? ", the meta group" : ""}`} close=${close} testid="group-one">
    <${Facts} of=${[["leader", g.leader || html`<${Status} is="error" text="none" />`], ["term", g.term], ["committed", html`<code>${g.commit}</code>`], ["slots", html`<a href=${href("slots")}>${count(g.slots)}</a>`]]} />
    <h3>Replicas</h3>
    <div class="scroll fit" tabindex="0" role="region" aria-label="Replicas"><table class="plain"><thead><tr><th scope="col">node</th><th scope="col">role</th><th scope="col">state</th><th scope="col" class="num">log id</th><th scope="col" class="num">behind</th><th scope="col"><span class="sr">do</span></th></tr></thead>
    <tbody>${(g.replicas || []).map((r) => html`<tr key=${r.id}>
      <td>${r.node}</td><td>${r.role}</td><td><${Status} is=${r.state} /></td><td class="num mono">${r.match || "–"}</td><td class="num">${r.lag ?? "–"}</td>
      <td class="wrap">${r.node !== g.leader && r.role === "voter" && html`<button data-testid=${"transfer-" + r.node} onClick=${() => act({ title: `Let ${r.node} lead group ${g.id}`, command: "group promote", args: { ...args, node: r.node }, plan: true })}>Let lead</button>`}
        ${html`<button class="quiet danger" onClick=${() => act({ title: `Take group ${g.id} off ${r.node}`, command: "group del", args: { ...args, node: r.node }, plan: true, danger: true, about: "The group's replicas are yours from then on: no setting changes their number." })}>Take off<span class="sr"> ${r.node}</span></button>`}</td></tr>`)}</tbody></table></div>
    <div class="actions">
      ${free.length > 0 && html`<button onClick=${() => act({ title: `A replica for group ${g.id}`, command: "group add", args, plan: true, fields: [{ name: "node", label: "On the node", options: free, value: free[0] }] })}>Add a replica</button>`}
      ${!meta && html`<button class="danger" disabled=${g.slots > 0} title=${g.slots > 0 ? "it owns slots" : undefined} onClick=${() => act({ title: `Remove group ${g.id}`, command: "group remove", args: { id: String(g.id) }, plan: true, danger: true, done: close, about: "Its number is not given again." })}>Remove</button>`}
    </div>
    ${!meta && g.slots > 0 && html`<p class="muted">To replace a replica: add one on another node, then take the old one off. A group that owns slots can't be removed.</p>`}
  </${Panel}>`;
}
