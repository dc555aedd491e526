// The state of the cluster now: one stream of events, which any member can continue, and
// the changes that went by in it.
import { store } from "./lib.js";
import { follow, learn, badge } from "./api.js";

// overview is the newest one, or null before the first.
export const overview = store(null);
// interrupted says why no member sends events at the moment; "" while one does.
export const interrupted = store("");
// seen is what changed, newest first: {key, at, kind, object, text, level}. It begins with what
// the node notes for others who look by the same user, or did in the last ten seconds.
export const seen = store([]);
// samples are the figures of each overview, oldest first: {at, cluster, nodes}; nodes by name.
export const samples = store([]);

const seenMax = 2000;
const samplesMax = 3600; // an hour of one each second
let number = 0;

// tell adds to what was seen, oldest first. A change may be told twice, by two members: its key is the
// same.
export function tell(...changes) {
  const known = new Set(seen.get().map((c) => c.key));
  const fresh = changes.map((c) => ({ at: Date.now(), ...c, key: c.key || "page " + ++number })).filter((c) => !known.has(c.key));
  if (fresh.length) seen.set([...fresh.reverse(), ...seen.get()].sort((a, b) => b.at - a.at).slice(0, seenMax));
}

// The kinds of changes that are no good news, and those that are.
const bad = new Set(["node-lost", "node-removed"]);
const good = new Set(["node-back", "node-added"]);

const change = (e) => ({
  key: e.key, at: new Date(e.at).getTime(), kind: e.kind, text: e.text,
  object: e.node || (e.group != null ? "group " + e.group : e.job != null ? "job " + e.job : "cluster"),
  level: e.state || (bad.has(e.kind) ? "warning" : good.has(e.kind) ? "ok" : "noted"),
});

let stop = null;

// start follows the events until the next start, with whatever badge there is then.
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
      if (data.rates?.window_ms) keep(data);
      overview.set(data);
    },
  });
}

badge.follow((s) => s && start());

// keep adds the figures of an overview to the samples. A node that did not answer has a gap.
function keep(data) {
  const nodes = {};
  for (const n of data.nodes || []) {
    if (n.answered) nodes[n.name] = { ...figures(n.rates), rss_bytes: n.rss_bytes, free_bytes: n.free_bytes };
  }
  samples.set([...samples.get(), { at: Date.now() / 1000, cluster: figures(data.rates), nodes }].slice(-samplesMax));
}

// figures are rates without the nest: of a latency that nothing was measured of, nothing.
function figures(rates) {
  const { write_latency: write, read_latency: read, sync_latency: sync, ...rest } = rates || {};
  const of = (l, name) => (l?.count ? l[name] : null);
  return {
    ...rest,
    write_p50_us: of(write, "p50_us"), write_p99_us: of(write, "p99_us"),
    read_p50_us: of(read, "p50_us"), read_p99_us: of(read, "p99_us"),
    sync_p50_us: of(sync, "p50_us"), sync_p99_us: of(sync, "p99_us"),
  };
}
