// The settings of the cluster.
import { html, useAsk, useMemo } from "../lib.js";
import { ask } from "../api.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Failed, Status, none } from "../parts.js";

// Those that change groups show a plan first.
const planned = new Set(["replicas", "meta-voters"]);

export function Settings() {
  const { data, error, again } = useAsk((signal) => ask("setting list", {}, { signal }), [], 10_000);
  const columns = useMemo(() => [
    { key: "name", name: "setting", width: 15, value: (s) => s.name },
    { key: "value", name: "value", width: 12, mono: true, value: (s) => s.value, cell: (s) => html`<span data-testid=${"setting-" + s.name}>${s.value}</span>` },
    { key: "default", name: "default", width: 10, mono: true, value: (s) => s.default, cell: (s) => (s.value === s.default ? html`<span class="muted">${s.default}</span>` : html`<${Status} is="noted" text=${s.default} />`) },
    { key: "range", name: "from – to", width: 16, mono: true, wide: true, value: (s) => (s.min || s.max ? `${s.min} – ${s.max}` : "") },
    { key: "do", name: "do", width: 9, cell: (s) => html`<button class="quiet" data-testid=${"set-" + s.name} onClick=${() => change(s, again)}>Change<span class="sr"> ${s.name}</span></button>` },
    { key: "about", name: "what it is", value: (s) => s.about, wide: true, cell: (s) => html`<span title=${s.about}>${s.about}</span>` },
  ], []);
  return html`<${Failed} error=${error} />
    <${Table} label="Settings" testid="settings" columns=${columns} rows=${data || []} rowKey=${(s) => s.name} empty=${none(data, error, "there are no settings")} />`;
}

function change(s, done) {
  act({
    title: `Change ${s.name}`, command: "setting set", args: { name: s.name }, about: s.about, plan: planned.has(s.name), button: "Change it", done,
    fields: [{ name: "value", label: "Value", value: s.value, optional: true, help: `${s.min || s.max ? `${s.min} to ${s.max}; ` : ""}the default is ${s.default}, and nothing sets it back to that` }],
    fill: { value: "" },
  });
}
