// The events of the cluster, and the trail of a node.
import { html, useStore, useAsk, useEffect, useMemo } from "../lib.js";
import { overview, seen, tell } from "../live.js";
import { ask, follow } from "../api.js";
import { useQuery } from "../router.js";
import { Table } from "../table.js";
import { Status, Failed, Command, none } from "../parts.js";
import { moment, count } from "../format.js";
import { line } from "../commands.js";

const trailMax = 1000; // lines of a trail that are asked for

export function Events() {
  const [what, setWhat] = useQuery("what", "seen");
  return html`<div class="views" role="group" aria-label="What to show">
      <button aria-pressed=${what === "seen"} onClick=${() => setWhat("seen")}>In the cluster</button>
      <button aria-pressed=${what === "trail"} data-testid="trail-tab" onClick=${() => setWhat("trail")}>Trail of a node</button></div>
    ${what === "trail" ? html`<${Trail} />` : html`<${Seen} />`}`;
}

const seenColumns = [
  { key: "at", name: "at", width: 15, value: (e) => e.at, cell: (e) => moment(e.at) },
  { key: "kind", name: "what", width: 14, value: (e) => e.kind.replaceAll("-", " ") },
  { key: "object", name: "of", width: 24, value: (e) => e.object },
  { key: "text", name: "is", value: (e) => e.text, cell: (e) => html`<${Status} is=${e.level} text=${e.text} />` },
];

function Seen() {
  const rows = useStore(seen);
  // Changes of services come from their own stream, while this screen is open.
  useEffect(() => {
    const stop = new AbortController();
    const was = new Map();
    follow("/api/v1/service/watch", {
      signal: stop.signal,
      heard: (e) => {
        const change = JSON.parse(e.data);
        if (change.type === "del") tell({ kind: "service", object: change.name, text: "was removed", level: "warning" });
        for (const n of change.service?.nodes || []) {
          const id = change.name + "\n" + n.id;
          if (was.get(id) !== n.status) tell({ kind: "service", object: `${change.name} ${n.id}`, text: n.status + (n.reason ? ": " + n.reason : ""), level: n.status });
          was.set(id, n.status);
        }
      },
    });
    return () => stop.abort();
  }, []);
  return html`<p class="muted">Nodes, leaders, groups and jobs since this page was opened; services while this screen is open.</p>
    <${Table} label="Events" testid="events" columns=${seenColumns} rows=${rows} rowKey=${(e) => e.key} empty="nothing has changed since this page was opened" />`;
}

const trailColumns = [
  { key: "time", name: "at", width: 15, value: (l) => l.time, cell: (l) => html`<span title=${l.time}>${moment(l.time)}</span>` },
  { key: "verdict", name: "verdict", width: 10, value: (l) => l.verdict, cell: (l) => html`<${Status} is=${l.verdict} />` },
  { key: "who", name: "who", width: 18, value: (l) => l.who },
  { key: "from", name: "from", width: 20, mono: true, wide: true, value: (l) => l.from },
  { key: "type", name: "what", width: 18, value: (l) => l.type },
  { key: "object", name: "object", width: 20, value: (l) => l.object },
  { key: "why", name: "why", value: (l) => l.why },
  { key: "count", name: "times", width: 6, num: true, wide: true, value: (l) => l.count, cell: (l) => count(l.count ?? 1) },
];

function Trail() {
  const o = useStore(overview);
  const [node, setNode] = useQuery("node");
  const args = { node, limit: trailMax };
  const { data, error } = useAsk((signal) => ask("audit tail", args, { signal }), [node], 5_000);
  const rows = useMemo(() => [...(data || [])].reverse(), [data]);
  return html`<div class="bar"><div class="field line"><label for="node">Node</label><select id="node" data-testid="trail-node" value=${node} onChange=${(e) => setNode(e.target.value)}>
      <option value="">the one that answers</option>${(o?.nodes || []).map((n) => html`<option key=${n.id} value=${n.name}>${n.name}</option>`)}</select></div></div>
    <${Failed} error=${error} />
    <${Table} label="Trail" name="t" testid="trail" columns=${trailColumns} rows=${rows} rowKey=${(l) => String(l.seq)} empty=${none(data, error, "the trail has no line yet")} />
    <p class="same">This is</p><${Command} line=${line("audit tail", args)} />`;
}
