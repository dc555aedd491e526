// The jobs: what moves, how far it is, how fast, and until when.
import { html, useStore, useAsk, useMemo } from "../lib.js";
import { overview } from "../live.js";
import { ask } from "../api.js";
import { useQuery } from "../router.js";
import { act } from "../act.js";
import { Table } from "../table.js";
import { Status, Panel, Facts, Failed, Meter, none } from "../parts.js";
import { bytes, count, seconds } from "../format.js";

export function Jobs() {
  const o = useStore(overview);
  const states = (o?.jobs || []).map((j) => j.id + j.state).join();
  // The list has all jobs, also those that ended long ago; how far one is, and how fast, comes
  // with each overview.
  const { data, error, again } = useAsk((signal) => ask("job list", {}, { signal }), [states], 5_000);
  const [id, setID] = useQuery("job");
  const rows = useMemo(() => {
    const live = new Map((o?.jobs || []).map((j) => [j.id, j]));
    return (data || o?.jobs || []).map((j) => ({ ...j, ...live.get(j.id) }));
  }, [data, o]);
  const found = rows.find((j) => j.id === id);
  return html`<${Failed} error=${error} />
    <div class="split">
      <${Table} label="Jobs" testid="jobs" columns=${columns} rows=${rows} rowKey=${(j) => j.id} current=${id} open=${(j) => setID(j.id)} empty=${none(data, error, "no job has run yet")} />
      ${found && html`<${One} j=${found} close=${() => setID("")} again=${again} />`}
    </div>`;
}

const pacing = (j) => (j.state !== "running" ? "–" : j.bytes_per_s ? bytes(j.bytes_per_s) + "/s" : j.per_s ? `${j.per_s.toFixed(1)} ${j.unit}/s` : "–");

// A leader deletes keys before the table notes how many, and a job that has ended takes no note.
const done = (j) => (j.kind === "delete" && ["cancelled", "failed"].includes(j.state) ? "at least " : "") + count(j.done);

const columns = [
  { key: "id", name: "job", width: 6, num: true, value: (j) => Number(j.id), cell: (j) => j.id },
  { key: "kind", name: "kind", width: 10, value: (j) => j.kind },
  { key: "state", name: "state", width: 11, value: (j) => j.state, cell: (j) => html`<${Status} is=${j.state} testid=${"job-state-" + j.id} />` },
  { key: "done", name: "done", width: 24, value: (j) => (j.total ? j.done / j.total : 0), cell: (j) => html`<${Meter} value=${j.done} max=${j.total} label=${`${done(j)} of ${j.total}`} /> ${done(j)}/${count(j.total)} ${j.unit}` },
  { key: "bytes", name: "bytes", width: 18, num: true, wide: true, value: (j) => j.bytes, cell: (j) => (j.bytes_total ? `${bytes(j.bytes || 0)} of ${bytes(j.bytes_total)}` : html`<span class="muted">–</span>`) },
  { key: "rate", name: "rate", width: 12, num: true, wide: true, value: (j) => j.bytes_per_s ?? j.per_s, cell: pacing },
  { key: "left", name: "left", width: 10, num: true, value: (j) => j.left_s, cell: (j) => (j.left_s == null ? html`<span class="muted">–</span>` : seconds(j.left_s)) },
  { key: "why", name: "why", wide: true, value: (j) => [j.node, j.group != null ? "group " + j.group : "", j.why].filter(Boolean).join(" · ") },
];

function One({ j, close, again }) {
  const args = { id: j.id };
  const over = !["running", "paused"].includes(j.state);
  return html`<${Panel} title=${`Job ${j.id}`} close=${close} testid="job-one">
    <${Facts} of=${[
      ["kind", j.kind], ["state", html`<${Status} is=${j.state} testid="job-state" />`], ["done", `${done(j)} of ${count(j.total)} ${j.unit}`],
      ["bytes", j.bytes_total ? `${bytes(j.bytes || 0)} of ${bytes(j.bytes_total)}` : null], ["rate", pacing(j)], ["left", j.left_s == null ? null : seconds(j.left_s)],
      ["node", j.node], ["group", j.group], ["why", j.why],
    ]} />
    <${Meter} value=${j.done} max=${j.total} label=${`${done(j)} of ${j.total}`} />
    <div class="actions">
      ${j.state === "running" && html`<button data-testid="job-pause" onClick=${() => act({ title: `Pause job ${j.id}`, command: "job pause", args, done: again, about: "What is under way is finished; nothing new is begun." })}>Pause</button>`}
      ${j.state === "paused" && html`<button data-testid="job-resume" onClick=${() => act({ title: `Resume job ${j.id}`, command: "job resume", args, done: again })}>Resume</button>`}
      ${!over && html`<button class="danger" data-testid="job-cancel" onClick=${() => act({ title: `Cancel job ${j.id}`, command: "job cancel", args, danger: true, done: again, about: "What has been moved stays where it is; the rest stays where it was." })}>Cancel</button>`}
      ${over && html`<span class="muted">It has ended.</span>`}
    </div>
  </${Panel}>`;
}
