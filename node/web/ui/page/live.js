// What the cluster is like now: one stream of events, which any member can send on, and
// what was seen go by in it.
import { store } from "./lib.js";
import { follow, learn, session } from "./api.js";

// overview is the newest one, or null before the first.
export const overview = store(null);
// interrupted says why no member sends events at the moment; "" while one does.
export const interrupted = store("");
// seen is what changed, newest first: {key, at, kind, object, text, level}. It begins with what
// the nodes remember from before the page was opened.
export const seen = store([]);
// samples are the rates of each overview, oldest first: {at, …numbers}.
export const samples = store([]);

const seenMax = 2000;
const samplesMax = 7200; // two hours of one each second
let number = 0;

// tell adds to what was seen. A change may be told twice, by two members: its key is the
// same.
export function tell(...changes) {
  const known = new Set(seen.get().map((c) => c.key));
  const fresh = changes.map((c) => ({ at: Date.now(), ...c, key: c.key || "page " + ++number })).filter((c) => !known.has(c.key));
  if (fresh.length) seen.set([...fresh, ...seen.get()].sort((a, b) => b.at - a.at).slice(0, seenMax));
}

// The kinds of changes that are no good news, and those that are.
const bad = new Set(["node-lost", "node-removed"]);
const good = new Set(["node-back", "node-added", "job-ended"]);

const change = (e) => ({
  key: e.key, at: new Date(e.at).getTime(), kind: e.kind, text: e.text,
  object: e.node || (e.group != null ? "group " + e.group : e.job != null ? "job " + e.job : "cluster"),
  level: bad.has(e.kind) ? "warning" : good.has(e.kind) ? "ok" : "noted",
});

let stop = null;

// start follows the events until the next start, with whatever session there is then.
export function start() {
  stop?.abort();
  stop = new AbortController();
  follow("/api/v1/events", {
    signal: stop.signal,
    lost: (yes, error) => {
      const why = yes ? error?.message || "the node that sent events does not answer; asking another" : "";
      if (why !== interrupted.get()) interrupted.set(why);
    },
    heard: (e) => {
      const data = JSON.parse(e.data);
      if (e.event === "change") tell(change(data));
      if (e.event !== "overview") return;
      learn(data.nodes || []);
      tell(...(data.events || []).map(change));
      // Rates are of the time between two looks, and a node that has just begun to look has none.
      if (data.rates?.window_ms) samples.set([...samples.get(), { at: Date.now(), ...numbers(data.rates) }].slice(-samplesMax));
      overview.set(data);
    },
  });
}

session.follow((s) => s && start());

// numbers takes the numbers out of a nest of objects: {a: {b: 1}} is {"a.b": 1}.
function numbers(of, before = "", into = {}) {
  for (const [k, v] of Object.entries(of || {})) {
    if (typeof v === "number") into[before + k] = v;
    else if (v && typeof v === "object" && !Array.isArray(v)) numbers(v, before + k + ".", into);
  }
  return into;
}
