// Whether all is as it must be: what the nodes find, whether replicas agree, and where two
// logs part.
import { html, useStore, useAsk, useState } from "../lib.js";
import { overview } from "../live.js";
import { ask } from "../api.js";
import { act } from "../act.js";
import { line } from "../commands.js";
import { Status, Panel, Failed, Command, Loading } from "../parts.js";
import { Table } from "../table.js";
import { count } from "../format.js";

export function Logs() {
  return html`<${Doctor} /><${Check} /><${Diff} />`;
}

function Doctor() {
  const { data, error, again } = useAsk((signal) => ask("doctor", {}, { signal }), []);
  return html`<${Panel} title="What the nodes find" testid="doctor" tools=${html`<button class="quiet" onClick=${again}>Ask again</button>`}>
    <${Failed} error=${error} />
    ${!data ? !error && html`<${Loading} what="findings" />` : data.findings.length
      ? html`<ul class="findings">${data.findings.map((f, i) => html`<li key=${i}><${Status} is=${f.severity} /> <div>${f.what}<br /><span class="muted">${f.remedy}</span></div></li>`)}</ul>`
      : html`<p><${Status} is="ok" text="nothing needs attention" /></p>`}
    <${Command} line="muster doctor" /></${Panel}>`;
}

const checkColumns = [
  { key: "id", name: "group", width: 7, num: true, value: (g) => g.id },
  { key: "index", name: "at index", width: 12, num: true, value: (g) => g.index, cell: (g) => (g.index ? count(g.index) : "–") },
  { key: "replicas", name: "replicas", width: 9, num: true, value: (g) => g.replicas },
  { key: "agree", name: "result", value: (g) => (g.agree ? "agree" : "differ") + " " + (g.why || ""), cell: (g) => html`<${Status} is=${g.agree ? "ok" : g.index ? "error" : "warning"} text=${g.agree ? "agree" : g.why || (g.differing || []).map((d) => `${d.node}: ${d.state} ${(d.parts || []).join(", ")}`).join("; ")} />` },
];

// Check writes an entry into each group's log, so it is done when a person asks for it.
function Check() {
  const [data, set] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      set(await ask("check", {}));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  const differ = data?.groups.some((g) => !g.agree && g.index);
  return html`<${Panel} title="Do replicas agree?" testid="check" tools=${html`<button data-testid="check-go" disabled=${busy} onClick=${go}>${busy ? "comparing …" : "Compare them"}</button>`}>
    <${Failed} error=${error} />
    ${data && html`<p data-testid="check-result"><${Status} is=${data.ok ? "ok" : "error"} text=${data.ok ? "all replicas of all groups agree" : "not all agree"} /></p>
      <${Table} label="Groups compared" name="c" columns=${checkColumns} rows=${data.groups} rowKey=${(g) => String(g.id)} fit />`}
    ${differ && html`<div class="actions"><button class="danger" onClick=${() => act({ title: "Rebuild what differs", command: "check", args: { fix: true }, plan: true, danger: true, done: go })}>Rebuild what differs …</button></div>`}
    <${Command} line="muster check" /></${Panel}>`;
}

const diffColumns = [
  { key: "group", name: "group", width: 7, num: true, value: (g) => g.group },
  { key: "common", name: "in common up to", width: 18, mono: true, value: (g) => g.common },
  { key: "left", name: "then only left", width: 14, num: true, value: (g) => (g.left || []).length },
  { key: "right", name: "then only right", width: 14, num: true, value: (g) => (g.right || []).length },
  { key: "diverged", name: "result", value: (g) => (g.diverged ? "diverged" : "no divergence"), cell: (g) => html`<${Status} is=${g.diverged ? "error" : "ok"} text=${g.diverged ? "diverged" : "no divergence"} />` },
];

function Diff() {
  const o = useStore(overview);
  const names = (o?.nodes || []).map((n) => n.name);
  const [chosen, setChosen] = useState({});
  const left = chosen.left || names[0];
  const right = chosen.right || names[1];
  const [data, set] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async (e) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const rows = await ask("log diff", { left, right });
      set([rows].flat());
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  const pick = (side, value) => html`<select id=${side} data-testid=${side} value=${value} onChange=${(e) => setChosen({ ...chosen, [side]: e.target.value })}>${names.map((n) => html`<option key=${n} value=${n}>${n}</option>`)}</select>`;
  return html`<${Panel} title="Compare two logs" testid="diff">
    <form class="bar" onSubmit=${go}><div class="field line"><label for="left">Left</label>${pick("left", left)}</div><div class="field line"><label for="right">right</label>${pick("right", right)}</div>
      <button data-testid="diff-go" disabled=${busy || !left || !right || left === right}>${busy ? "comparing …" : "Compare"}</button></form>
    <${Failed} error=${error} />
    ${data && html`<${Table} label="Logs compared" name="l" testid="diffs" columns=${diffColumns} rows=${data} rowKey=${(g) => String(g.group)} fit />`}
    ${left && right && html`<${Command} line=${line("log diff", { left, right })} />`}</${Panel}>`;
}
