// The services, and one of them: its instances, what their checks found, and what clients
// would be given.
import { html, useAsk, useState } from "../lib.js";
import { ask } from "../api.js";
import { useQuery } from "../router.js";
import { act } from "../act.js";
import { line } from "../commands.js";
import { Table } from "../table.js";
import { Panel, Facts, Failed, Command, Status, Meter, none } from "../parts.js";
import { ago, count, moment } from "../format.js";

const up = (s) => (s.nodes || []).filter((n) => n.status === "up").length;
const counted = (s) => (s.nodes || []).filter((n) => n.status !== "maintenance").length;
// state is what a service is by its instances.
const state = (s) => (!s.nodes?.length ? "unknown" : up(s) === counted(s) && counted(s) ? "up" : up(s) ? "warning" : s.nodes.every((n) => n.status === "unknown") ? "unknown" : counted(s) ? "down" : "maintenance");
const words = { warning: "in part" };
const newest = (s) => (s.nodes || []).reduce((t, n) => (n.since > t ? n.since : t), "");

export function Services() {
  const [name, setName] = useQuery("service");
  const { data, error, again } = useAsk((signal) => ask("service list", {}, { signal }), [], 5_000);
  return html`<${Failed} error=${error} />
    <div class="split">
      <${Table} label="Services" testid="services" columns=${columns} rows=${data || []} rowKey=${(s) => s.name} current=${name} open=${(s) => setName(s.name)} empty=${none(data, error, "no service is registered")}
        tools=${html`<button class="primary" data-testid="service-new" onClick=${() => register(again)}>Register</button>`} />
      ${name && html`<${One} key=${name} name=${name} close=${() => setName("")} list=${again} />`}
    </div>`;
}

const columns = [
  { key: "name", name: "service", width: 26, value: (s) => s.name },
  { key: "type", name: "type", width: 8, value: (s) => s.type },
  { key: "state", name: "status", width: 13, value: state, cell: (s) => html`<${Status} is=${state(s)} text=${words[state(s)]} />` },
  { key: "up", name: "up", width: 9, num: true, value: up, cell: (s) => `${up(s)} of ${counted(s)}` },
  { key: "since", name: "last change", width: 14, wide: true, value: newest, cell: (s) => ago(newest(s)) },
];

// The facts of an instance beside its settings.
const own = new Set(["id", "status", "since", "reason", "changes", "checked_by"]);
const settings = (n) => Object.entries(n).filter(([k]) => !own.has(k)).map(([k, v]) => `${k}=${typeof v === "object" ? JSON.stringify(v) : v}`).join(" ");

function One({ name, close, list }) {
  const { data, error, again } = useAsk((signal) => ask("service get", { name }, { signal }), [name], 2_000);
  if (!data) return html`<${Panel} title=${name} close=${close} testid="service-one"><${Failed} error=${error} /></${Panel}>`;
  const done = () => (again(), list());
  const changes = (data.nodes || []).flatMap((n) => (n.changes || []).map((c) => ({ ...c, instance: n.id }))).sort((a, b) => (a.at < b.at ? 1 : -1));
  const rest = Object.entries(data).filter(([k]) => !["name", "type", "nodes"].includes(k));
  return html`<${Panel} title=${data.name} close=${close} testid="service-one">
    <${Failed} error=${error} />
    <${Facts} of=${[["type", data.type], ["status", html`<${Status} is=${state(data)} text=${words[state(data)]} />`], ["up", `${up(data)} of ${counted(data)}`], ...rest.map(([k, v]) => [k, typeof v === "object" ? JSON.stringify(v) : String(v)])]} />
    <h3>Instances</h3>
    <div class="scroll fit" tabindex="0" role="region" aria-label="Instances"><table class="plain"><thead><tr><th scope="col">instance</th><th scope="col">status</th><th scope="col">why</th><th scope="col"><span class="sr">do</span></th></tr></thead>
    <tbody>${(data.nodes || []).map((n) => {
      const away = n.status === "maintenance";
      return html`<tr key=${n.id}><th scope="row" class="mono" title=${settings(n)}>${n.id}</th><td><${Status} is=${n.status} testid=${"instance-" + n.id} /><br /><small title=${n.since}>${ago(n.since)}</small></td><td class="wrap">${n.reason || "–"}${n.checked_by && html`<br /><small class="muted" data-testid=${"checked-by-" + n.id}>checked by ${n.checked_by}</small>`}</td>
        <td><button data-testid=${"maintain-" + n.id} onClick=${() => act({ title: away ? `Take ${n.id} back in` : `Take ${n.id} out`, command: "service maintain", args: { name, instance: n.id, state: away ? "off" : "on" }, done, about: away ? "It has the status again that its checks say." : "Nobody is sent to it while it is in maintenance; its checks go on." })}>${away ? "Back in" : "Take out"}</button></td></tr>`;
    })}</tbody></table></div>
    <h3>Last changes</h3>
    ${changes.length ? html`<div class="scroll low" tabindex="0" role="region" aria-label="Last changes"><table class="plain"><thead><tr><th scope="col">at</th><th scope="col">instance</th><th scope="col">to</th><th scope="col">why</th></tr></thead>
      <tbody>${changes.map((c, i) => html`<tr key=${i}><td title=${c.at}>${moment(c.at)}</td><td class="mono">${c.instance}</td><td><${Status} is=${c.to} /></td><td class="wrap">${c.reason || "–"}</td></tr>`)}</tbody></table></div>` : html`<p class="empty">none yet</p>`}
    <${Pick} name=${name} nodes=${data.nodes || []} />
    <div class="actions"><button class="danger" onClick=${() => act({ title: `Delete ${name}`, button: "Delete", command: "service del", args: { name }, danger: true, done: () => (close(), list()), about: "Its instances are checked no more, and nobody is given them." })}>Delete</button></div>
    <${Command} line=${line("service get", { name })} />
  </${Panel}>`;
}

const picks = 200;
const atOnce = 8;

// Pick asks as clients do, many times, and shows who was given how often.
function Pick({ name, nodes }) {
  const [got, setGot] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    const count = new Map();
    let left = picks;
    let wrong = null;
    const one = async () => {
      while (left-- > 0 && !wrong) {
        try {
          const { node } = await ask("service pick", { name });
          count.set(node.id, (count.get(node.id) || 0) + 1);
        } catch (e) {
          wrong = e;
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    setGot({ count, wrong });
    setBusy(false);
  };
  const sum = got ? [...got.count.values()].reduce((a, b) => a + b, 0) : 0;
  return html`<h3>Try it</h3>
    <p><button data-testid="try-pick" disabled=${busy} onClick=${go}>${busy ? "picking …" : `Pick ${picks} times`}</button> <span class="muted">as clients do, without ${"--sticky"}</span></p>
    ${got && html`<${Failed} error=${got.wrong} />${sum > 0 && html`<table class="plain" data-testid="histogram"><thead><tr><th scope="col">instance</th><th scope="col">share</th><th scope="col" class="num">picked</th></tr></thead><tbody>${nodes.map((n) => {
      const c = got.count.get(n.id) || 0;
      return html`<tr key=${n.id}><th scope="row" class="mono">${n.id}</th><td><${Meter} value=${c} max=${sum} label=${`${c} of ${sum}`} /></td><td class="num">${count(c)}</td></tr>`;
    })}</tbody></table>`}`}`;
}

const example = `[{"name": "web", "type": "tcp",
  "node": [{"host": "10.0.0.1", "port": "80"},
           {"host": "10.0.0.2", "port": "80"}]}]`;

function register(done) {
  act({
    title: "Register services", command: "service set", button: "Register", same: "muster service set -f FILE",
    about: "A JSON list, as the command's FILE has it. Each service replaces the one of its name as a whole.",
    fields: [{ name: "services", label: "Services", type: "text-long", value: example, json: true }],
    done,
  });
}
