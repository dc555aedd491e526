// The keys: a tree by a separator, one key with its value, and what happens to them.
import { html, focus, useAsk, useState, useEffect, useMemo, useRef } from "../lib.js";
import { ask, follow } from "../api.js";
import { useQuery, href } from "../router.js";
import { act, note } from "../act.js";
import { line } from "../commands.js";
import { Table } from "../table.js";
import { Panel, Facts, Failed, Command, Status, none } from "../parts.js";
import { bytes, count, clock, plural, seconds } from "../format.js";
import { bytesOf, utf8, json, hex, msgpack, fromBase64, toBase64 } from "../values.js";

const keysMax = 10_000; // keys that are listed at once
const keysShownMax = 20 * keysMax; // beyond that a person wants a longer prefix
const changesMax = 200; // changes that are kept of a watch

// A key is named by its text, or by its bytes in base64 where it is no text.
const named = (item) => (item.key_base64 != null ? { key_base64: item.key_base64 } : { key: item.key });
const label = (item) => item.key ?? hex(fromBase64(item.key_base64), 64).slice(8, 8 + 47).trim();
const idOf = (item) => (item.key_base64 != null ? "64." + item.key_base64 : "t." + item.key);
const ofID = (id) => (id.startsWith("64.") ? { key_base64: id.slice(3) } : { key: id.slice(2) });

export function Keys() {
  const [prefix, setPrefix] = useQuery("prefix");
  const [separator, setSeparator] = useQuery("by", "/");
  const [flat, setFlat] = useQuery("flat");
  const [id, setID] = useQuery("key");
  const [typed, setTyped] = useState(prefix);
  const [watching, setWatching] = useState(false);
  useEffect(() => setTyped(prefix), [prefix]);
  // The prefix is asked for once it has stood still for a moment, or Enter is pressed.
  useEffect(() => {
    if (typed === prefix) return;
    const t = setTimeout(() => setPrefix(typed), 300);
    return () => clearTimeout(t);
  }, [typed]);
  const [wanted, setWanted] = useState({ prefix, keys: keysMax });
  const limit = wanted.prefix === prefix ? wanted.keys : keysMax;
  const args = { prefix, keys: true, limit };
  const had = useRef({ prefix: null, limit: 0, items: [] });
  // More keys are asked for behind the last one; a reload asks for the whole list.
  const { data, error, loading, again } = useAsk(async (signal) => {
    const { current: is } = had;
    const from = is.prefix === prefix && limit > is.limit ? is.items : [];
    const after = from.length ? { [(from.at(-1).key_base64 != null ? "after_base64" : "after")]: from.at(-1).key_base64 ?? from.at(-1).key } : {};
    const items = [...from, ...(await ask("kv list", { ...args, ...after, limit: limit - from.length }, { signal }))];
    had.current = { prefix, limit, items };
    return items;
  }, [prefix, limit]);
  const rows = useMemo(() => tree(data || [], prefix, flat ? "" : separator), [data, prefix, separator, flat]);
  const parts = crumbs(prefix, separator);
  const openRow = (r) => (r.folder ? setPrefix(r.prefix) : setID(r.id));

  return html`<form class="bar" onSubmit=${(e) => (e.preventDefault(), setPrefix(typed))}>
      <div class="field line"><label for="prefix">Prefix</label><input id="prefix" class="mono grow" data-testid="prefix" value=${typed} spellcheck=${false} autocomplete="off" onInput=${(e) => setTyped(e.target.value)} /></div>
      <div class="field line"><label for="by">Separator</label><input id="by" class="mono short" value=${separator} disabled=${!!flat} onInput=${(e) => setSeparator(e.target.value)} /></div>
      <label class="check"><input type="checkbox" data-testid="flat" checked=${!!flat} onChange=${(e) => setFlat(e.target.checked ? "1" : "")} /> all in one list</label>
      <span class="space"></span>
      <button type="button" aria-pressed=${watching} data-testid="watch" onClick=${() => setWatching(!watching)}>${watching ? "Stop watching" : "Watch"}</button>
      <button type="button" onClick=${again}>Ask again</button>
      <button type="button" class="primary" data-testid="key-new" onClick=${() => create(prefix, (key) => (again(), setID("t." + key)))}>New key</button>
    </form>
    <nav aria-label="Prefix" class="crumbs">${[["all", ""], ...parts].map(([name, to], i, all) => (i === all.length - 1 ? html`<span key=${to} aria-current="location">${name}</span>` : html`<button key=${to} class="link" onClick=${() => setPrefix(to)}>${name}</button>`))}</nav>
    <${Failed} error=${error} />
    ${data?.length >= limit && html`<div class="bar"><span class="muted" role="status" data-testid="keys-shown"><${Status} is="warning" text="more" /> These are the first ${count(data.length)} keys${limit < keysShownMax ? "" : "; a longer prefix shows others"}.</span>
      ${limit < keysShownMax && html`<button type="button" data-testid="keys-more" onClick=${() => setWanted({ prefix, keys: limit + keysMax })}>Show ${count(keysMax)} more</button>`}</div>`}
    <div class="split">
      <${Table} label="Keys" testid="keys" columns=${columns} rows=${rows} rowKey=${(r) => r.id} current=${id} open=${openRow}
        empty=${none(!loading, error, prefix ? "no key begins with this" : "there are no keys")} />
      ${id && html`<${One} key=${id} id=${id} close=${() => setID("")} again=${again} />`}
    </div>
    ${watching && html`<${Watch} prefix=${prefix} changed=${again} />`}
    <p class="same">This is</p><${Command} line=${line("kv list", args)} />`;
}

// tree is one level of it: the folders below prefix, each with how many keys it has, and
// the keys that are in none. A separator of "" makes no folders.
function tree(items, prefix, separator) {
  if (!separator) return items.map((i) => ({ ...i, id: idOf(i), name: label(i) }));
  const rows = [];
  const folders = new Map();
  for (const i of items) {
    const at = i.key == null ? -1 : i.key.indexOf(separator, prefix.length);
    if (at < 0) {
      rows.push({ ...i, id: idOf(i), name: i.key == null ? label(i) : i.key.slice(prefix.length) || i.key });
      continue;
    }
    const to = i.key.slice(0, at + separator.length);
    let f = folders.get(to);
    if (!f) {
      f = { folder: true, id: "d." + to, prefix: to, name: to.slice(prefix.length), keys: 0 };
      folders.set(to, f);
      rows.push(f);
    }
    f.keys++;
  }
  return rows;
}

function crumbs(prefix, separator) {
  const all = [];
  if (!separator) return prefix ? [[prefix, prefix]] : [];
  for (let from = 0; from < prefix.length; ) {
    const at = prefix.indexOf(separator, from);
    const end = at < 0 ? prefix.length : at + separator.length;
    all.push([prefix.slice(from, end), prefix.slice(0, end)]);
    from = end;
  }
  return all;
}

const columns = [
  { key: "name", name: "key", mono: true, width: 30, value: (r) => r.name, cell: (r) => (r.folder ? html`<b>${r.name}</b>` : r.name) },
  { key: "keys", name: "keys", width: 9, num: true, value: (r) => r.keys, cell: (r) => (r.folder ? count(r.keys) : html`<span class="muted">–</span>`) },
  { key: "version", name: "version", width: 12, num: true, value: (r) => r.version, cell: (r) => r.version ?? html`<span class="muted">–</span>` },
];

const views = {
  text: ["Text", (b) => utf8(b)],
  json: ["JSON", (b) => json(b)],
  msgpack: ["msgpack", (b) => msgpack(b)],
  hex: ["Hex", (b) => hex(b)],
};

function One({ id, close, again }) {
  const name = ofID(id);
  const { data, error, loading, again: reload } = useAsk(async (signal) => {
    try {
      return { ...(await ask("kv get", name, { signal })).items[0], came: performance.now() };
    } catch (e) {
      // A key that does not exist is an answer, too.
      if (e.status === 404) return { gone: true };
      throw e;
    }
  }, [id]);
  const [view, setView] = useQuery("as");
  const [edit, setEdit] = useState(null);
  // The time left is asked for again, since a lease may have been kept alive. A person who edits keeps the
  // version that they saw.
  useEffect(() => {
    if (data?.gone) again(); // so that the list drops it too
    if (data?.remaining_ms == null || edit) return;
    const look = () => (document.hidden ? document.addEventListener("visibilitychange", look, { once: true }) : reload());
    const t = setTimeout(look, Math.min(data.remaining_ms + dueWait, leftEvery));
    return () => {
      clearTimeout(t);
      document.removeEventListener("visibilitychange", look);
    };
  }, [data, edit, error]);
  const title = label(name);
  if (!data || data.gone) {
    return html`<${Panel} title=${title} close=${close} testid="key-one"><${Failed} error=${error} />${data?.gone ? html`<p data-testid="key-gone">There is no such key now.</p>` : loading && html`<p class="empty">asking …</p>`}</${Panel}>`;
  }
  const value = bytesOf(data, "value");
  const shown = Object.entries(views).map(([k, [n, f]]) => [k, n, f(value)]).filter(([, , text]) => text != null);
  const best = shown.find(([k]) => k === view) || shown.find(([k]) => k === "json") || shown.find(([k]) => k === "msgpack") || shown[0];
  const done = () => (reload(), again());
  return html`<${Panel} title=${title} close=${close} testid="key-one">
    <${Facts} of=${[
      ["version", html`<span data-testid="key-version">${data.version}</span>`], ["time left", data.remaining_ms == null ? null : html`<${Left} of=${data} />`], ["size", bytes(value.length)], ["slot", html`<a href=${href("slots", { from: data.slot, to: data.slot })}>${data.slot}</a>`],
      ["group", html`<a href=${href("groups", { group: data.group })}>${data.group}</a>`], ["read at", html`<code>${data.at}</code>`],
    ]} />
    ${edit
      ? html`<${Edit} data=${edit.data} value=${edit.value} text=${edit.text} name=${name} close=${() => setEdit(null)} done=${() => (setEdit(null), done())} reload=${() => (setEdit(null), reload())} />`
      : html`<div class="views" role="group" aria-label="Show the value as">${shown.map(([k, n]) => html`<button key=${k} aria-pressed=${k === best[0]} data-testid=${"as-" + k} onClick=${() => setView(k)}>${n}</button>`)}</div>
        <pre class="value" tabindex="0" aria-label="Value" data-testid="value">${best[2]}</pre>
        <div class="actions">
          <button data-testid="edit" onClick=${() => setEdit({ data, value, text: utf8(value) })}>Edit</button>
          <button onClick=${reload}>Ask again</button>
          <button class="danger" data-testid="delete" onClick=${() => act({ title: `Delete ${title}`, button: "Delete", command: "kv del", args: name, danger: true, done })}>Delete</button>
        </div>`}
    <${Command} line=${line("kv get", { key: title })} />
  </${Panel}>`;
}

const leftEvery = 5000; // ms until the time left is asked for again
const dueWait = 300; // ms within which a key that is due is mostly removed

// Left counts down what is left of a key's time, from when the answer came.
function Left({ of }) {
  const [now, set] = useState(performance.now());
  useEffect(() => {
    const t = setInterval(() => set(performance.now()), 500);
    return () => clearInterval(t);
  }, []);
  const ms = of.remaining_ms - Math.max(0, now - of.came);
  return html`<span data-testid="key-left">${ms > 0 ? seconds(ms / 1000) : "due"}</span>${of.lease && html`, <span data-testid="key-lease">with lease <code>${of.lease}</code></span>`}`;
}

// Edit writes only over the version that was shown: somebody else's change in between is
// not lost but told.
function Edit({ data, value, text, name, close, done, reload }) {
  const binary = text == null;
  const [typed, setTyped] = useState(binary ? [...value].map((b) => b.toString(16).padStart(2, "0")).join(" ") : text);
  const [ttl, setTTL] = useState("");
  const [error, setError] = useState(null);
  const digits = binary ? typed.replace(/\s+/g, "") : "";
  const valid = !binary || /^([0-9a-f]{2})*$/i.test(digits);
  const what = binary ? { value_base64: valid ? toBase64(Uint8Array.from(digits.match(/../g) || [], (d) => parseInt(d, 16))) : "" } : { value: typed };
  const args = { ...name, ...what, if_version: data.version, ...(ttl ? { ttl } : {}) };
  const save = async (e) => {
    e.preventDefault();
    try {
      await ask("kv set", args);
      note("written");
      done();
    } catch (error) {
      setError(error);
    }
  };
  return html`<form onSubmit=${save}>
    <div class="field"><label for="edit">${binary ? "Value, in hexadecimal" : "Value"}</label><textarea id="edit" class="mono" rows="10" data-testid="edit-text" spellcheck=${false} ref=${focus} value=${typed} onInput=${(e) => setTyped(e.target.value)}></textarea></div>
    <div class="field"><label for="edit-ttl">Time to live</label><input id="edit-ttl" data-testid="edit-ttl" placeholder="for ever" value=${ttl} onInput=${(e) => setTTL(e.target.value)} /><small>as in 30s or 12h; empty makes it last for ever, whatever it had before</small></div>
    <${Failed} error=${error} testid="edit-error" />
    ${error?.status === 409 && html`<p><button type="button" onClick=${reload} data-testid="edit-reload">Show what it is now</button></p>`}
    <div class="buttons"><span class="muted">only over version ${data.version}</span><button type="button" onClick=${close}>Cancel</button><button class="primary" disabled=${!valid} data-testid="edit-save">Write</button></div>
    <${Command} line=${line("kv set", { key: label(name), value: binary ? "-" : typed, if_version: data.version, ttl })} />
  </form>`;
}

function create(prefix, done) {
  act({
    title: "Write a new key", command: "kv set", button: "Write", args: { if_absent: true },
    fields: [{ name: "key", label: "Key", value: prefix }, { name: "value", label: "Value", type: "text-long", optional: true }, { name: "ttl", label: "Time to live", optional: true, help: "as in 30s or 12h; for ever, if empty" }],
    fill: { value: "" },
    done: (_, v) => done(v.key),
  });
}

// Watch shows what happens to the keys of a prefix, from when it was opened.
function Watch({ prefix, changed }) {
  const [all, set] = useState([]);
  const [state, setState] = useState("begins …");
  const number = useRef(0);
  useEffect(() => {
    const stop = new AbortController();
    set([]);
    follow("/api/v1/kv/watch" + (prefix ? "?prefix=" + encodeURIComponent(prefix) : ""), {
      signal: stop.signal,
      lost: (yes, error) => setState(yes ? error?.message || "interrupted; going on elsewhere" : "watching"),
      heard: (e) => {
        const change = JSON.parse(e.data);
        if (e.event === "error" || change.error) return setState(change.error?.message || "ended by an error");
        if (change.type === "end") return setState("ended: " + change.reason);
        if (change.type === "progress") return setState("watching");
        set((s) => [{ ...change, n: ++number.current, seen: Date.now() }, ...s].slice(0, changesMax));
        changed();
      },
    });
    return () => stop.abort();
  }, [prefix]);
  return html`<${Panel} title="What happens to them" testid="watch-panel" tools=${html`<span class="muted" role="status" data-testid="watch-state">${state}</span>`}>
    ${all.length ? html`<div class="scroll low" tabindex="0" role="region" aria-label="Changes"><table class="plain"><thead><tr><th scope="col">seen</th><th scope="col">what</th><th scope="col">key</th><th scope="col" class="num">version</th><th scope="col">value</th></tr></thead>
      <tbody>${all.map((c) => html`<tr key=${c.n}><td>${clock(c.seen)}</td><td>${c.type}</td><td class="mono">${label(c)}</td><td class="num">${c.version}</td><td class="mono cut">${c.value ?? (c.value_base64 ? plural(fromBase64(c.value_base64).length, "byte") : "")}</td></tr>`)}</tbody></table></div>`
    : html`<p class="empty">nothing yet</p>`}
    <${Command} line=${line("kv watch", { prefix })} />
  </${Panel}>`;
}
