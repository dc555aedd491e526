// How the page speaks to the cluster. It outlives the node that it came from: it knows
// the addresses of all members, asks the one that answered last, and goes to the next
// one when that does not answer.
import { store } from "./lib.js";
import { route } from "./commands.js";

// How long a node may take to begin its answer, in ms. Behind a plan stands the asking of all
// groups, so it is longer than any healthy answer.
const answerMax = 20_000;
// How long a stream may be silent, in ms, until its node counts as gone: nodes send a
// comment each few seconds.
const silenceMax = 15_000;
// How long a query may take until its first rows come, in ms; a person who waits for less cancels it.
const queryMax = 600_000;
// How much of an answer to a query is read, in characters.
const answerCharsMax = 16 << 20;
// How many rows of an answer to a query come at once.
const chunkRows = 1000;
// How long a node that did not answer is asked last, in ms.
const avoidedFor = 5_000;

const tokenKey = "muster.token";
const membersKey = "muster.members";

// badge is who the page speaks for: {token, user, expires}, or null. The token is in
// memory and in the session's storage of this tab, which ends with the tab.
export const badge = store(read(tokenKey));
// loginWanted says that the cluster wants a login before it answers.
export const loginWanted = store(false);
// via is the member that answered last: {origin, name}.
export const via = store({ origin: location.origin, name: "" });

let members = read(membersKey) || [];
const avoided = new Map(); // origin → until when it is asked last

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    if (value == null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing asks for the password again after a reload.
  }
}

// learn takes the members as the overview or the list of nodes has them.
export function learn(nodes) {
  const next = nodes
    .filter((n) => n.addr && n.status !== "standby")
    .map((n) => ({ name: n.name, origin: `${location.protocol}//${n.addr}` }));
  if (!next.length || JSON.stringify(next) === JSON.stringify(members)) return;
  members = next;
  keep(membersKey, members);
  const now = via.get();
  const named = members.find((m) => m.origin === now.origin);
  if (named && named.name !== now.name) via.set(named);
}

export const knownMembers = () => members;

// origins are the members in the order in which they are asked: the one that answered
// last, then the one that served the page, then the others.
function origins() {
  const all = [via.get().origin, location.origin, ...members.map((m) => m.origin)];
  const now = Date.now();
  const late = (o) => (avoided.get(o) || 0) > now;
  const unique = [...new Set(all)];
  return [...unique.filter((o) => !late(o)), ...unique.filter(late)];
}

function answered(origin) {
  avoided.delete(origin);
  if (via.get().origin !== origin) via.set(members.find((m) => m.origin === origin) || { origin, name: "" });
}

function silent(origin) {
  avoided.set(origin, Date.now() + avoidedFor);
  if (via.get().origin !== origin) return;
  const next = origins()[0];
  via.set(members.find((m) => m.origin === next) || { origin: next, name: "" });
}

// Refused is an answer that says no, with what the API says of it: code, message, next.
export class Refused extends Error {
  constructor(status, error, plan) {
    super(error.message || error.text || `the node answered ${status}`);
    this.status = status;
    this.code = error.code || String(status);
    this.plan = plan; // what would be done, where a plan is wanted or the one given is stale
  }
}

// Lost is no answer at all.
export class Lost extends Error {}

function headers(more) {
  const h = { ...more };
  const s = badge.get();
  if (s && !h.Authorization) h.Authorization = "Bearer " + s.token;
  return h;
}

// send asks one member after the other until one answers. What only reads is asked again
// elsewhere. A change is not: whether it arrived is not known then, and the caller says so.
async function send(r, { accept = "application/json", signal, extra } = {}) {
  let last;
  for (const origin of origins()) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), r.within || answerMax);
    try {
      const response = await fetch(origin + r.path, {
        method: r.method,
        headers: headers({ Accept: accept, ...(r.body ? { "Content-Type": r.kind || "application/json" } : {}), ...extra }),
        body: r.body,
        signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
      answered(origin);
      return { response, origin, stop };
    } catch (error) {
      if (signal?.aborted) throw error;
      silent(origin);
      last = origin;
      if (r.method !== "GET" && !r.safe) {
        throw new Lost(`${nameOf(origin)} gave no answer: it may or may not have been done. Look first, then try again; the page asks another node now.`);
      }
    } finally {
      clearTimeout(timer);
    }
  }
  throw new Lost(`no node answers, ${nameOf(last)} the last that was asked; the page goes on trying`);
}

export const nameOf = (origin) => members.find((m) => m.origin === origin)?.name || new URL(origin).host;

async function refusal(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not an answer of the API: what is between may have made it. The status has to do.
  }
  if (response.status === 401) {
    if (badge.get()) forget();
    loginWanted.set(true);
  }
  // InfluxDB's answers have a text in its place.
  const error = typeof body.error === "string" ? { message: body.error } : body.error || {};
  const refused = new Refused(response.status, error, body.plan);
  refused.result = body.result; // of 207: what is done all the same, and why the rest is not
  refused.notes = body.notes || [];
  refused.after = Number(response.headers.get("Retry-After")) || 0; // s
  return refused;
}

// ask carries a command out and returns what its -o json prints: for commands that print
// lines a list of them.
export async function ask(command, args, { signal, plan, token } = {}) {
  const r = route(command, token ? { ...args, plan_token: token } : args, { plan });
  r.safe = plan;
  const { response } = await send(r, { signal });
  // 207: some of it is done. What is not has to be seen.
  if (!response.ok || response.status === 207) throw await refusal(response);
  const text = await response.text();
  const kind = response.headers.get("Content-Type") || "";
  if (kind.includes("ndjson")) return text.split("\n").filter(Boolean).map((l) => JSON.parse(l));
  return text ? JSON.parse(text) : null;
}

// changing reports whether a text of InfluxQL may change something: it does if it has one of these words anywhere.
export const changing = (text) => /\b(alter|create|delete|drop|grant|into|kill|revoke|set)\b/i.test(text);

// query carries out a text of InfluxQL, in a form as InfluxDB takes it, and hands over each line of the answer as it
// comes, which is JSON. It returns why it did not read on, or "": heard may return such a reason, and then the node is
// told to stop. A text that only reads is asked of the next member if one does not answer.
export async function query({ db, rp, q }, { signal, heard }) {
  const body = new URLSearchParams({ q, chunked: "true", chunk_size: chunkRows, ...(db && { db }), ...(rp && { rp }) }).toString();
  const sent = await send({ method: "POST", path: "/query", body, kind: "application/x-www-form-urlencoded", safe: !changing(q), within: queryMax }, { signal });
  if (!sent.response.ok) throw await refusal(sent.response);
  const reader = sent.response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let chars = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw signal.aborted ? error : new Lost(`${nameOf(sent.origin)} stopped in the middle of the answer: what is shown is a part of it. Ask again; the page asks another node if that one has gone.`);
      });
      if (!done) chars += value.length;
      if (chars > answerCharsMax) return `the answer is longer than the ${answerCharsMax >> 20} MiB that are read`;
      const found = done ? [rest] : (rest + value).split("\n");
      if (!done) rest = found.pop();
      for (const line of found) {
        const enough = line && heard(line);
        if (enough) return enough;
      }
      if (done) return "";
    }
  } finally {
    reader.cancel().catch(() => {});
    sent.stop.abort();
  }
}

// A page that was left may be kept by the browser, to go back to, with its streams open;
// over HTTP/1.1 there are only six connections to a node for all pages. So they are closed
// until it is seen again.
let away = false;
const streams = new Set();
addEventListener("pagehide", () => {
  away = true;
  for (const s of streams) s.abort();
});
addEventListener("pageshow", () => (away = false));

// follow reads server-sent events until signal ends it: heard(event) for each, which is
// {id, event, data}, and lost(true) or lost(false) as the stream is interrupted and goes
// on. It goes on where it was, on another member if need be, because the ids are good on all.
export async function follow(path, { signal, heard, lost = () => {} }) {
  let id = "";
  let wait = 0;
  while (!signal.aborted) {
    let origin = "";
    if (away) await new Promise((seen) => addEventListener("pageshow", seen, { once: true }));
    try {
      const sent = await send({ method: "GET", path }, { signal, accept: "text/event-stream", extra: id ? { "Last-Event-ID": id } : {} });
      origin = sent.origin;
      if (!sent.response.ok) throw await refusal(sent.response);
      lost(false);
      await events(sent, (e) => {
        if (e.id) id = e.id;
        wait = 0;
        heard(e);
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) {
        lost(true, error);
        if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
      }
    }
    if (signal.aborted) return;
    if (away) continue;
    if (origin) silent(origin);
    lost(true);
    // The first try elsewhere is at once: the verdict must not wait for a timer.
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(2000, wait * 2 + 100);
  }
}

// events reads one answer of server-sent events to its end, or until it is silent too long.
async function events({ response, stop }, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { id: "", event: "message", data: [] };
  let timer = setTimeout(() => stop.abort(), silenceMax);
  streams.add(stop);
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), silenceMax);
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const l of lines) {
        const text = l.endsWith("\r") ? l.slice(0, -1) : l;
        if (text === "") {
          if (event.data.length) heard({ ...event, data: event.data.join("\n") });
          event = { id: "", event: "message", data: [] };
          continue;
        }
        const at = text.indexOf(":");
        if (at === 0) continue;
        const name = at < 0 ? text : text.slice(0, at);
        const body = at < 0 ? "" : text.slice(at + 1).replace(/^ /, "");
        if (name === "data") event.data.push(body);
        else if (name === "event" || name === "id") event[name] = body;
      }
    }
  } finally {
    clearTimeout(timer);
    streams.delete(stop);
    reader.cancel().catch(() => {});
  }
}

// loginTries bounds how often a login is tried that is told to come back: passwords are looked
// at one after the other, and after a wrong one not at once.
const loginTries = 5;

export async function login(user, password) {
  let response;
  for (let tries = 1; ; tries++) {
    ({ response } = await send({ method: "POST", path: "/api/v1/auth/login", body: JSON.stringify({ user, password }), safe: true }));
    if (response.ok) break;
    const refused = await refusal(response);
    if (refused.code !== "busy" || !refused.after || tries === loginTries) throw refused;
    await new Promise((done) => setTimeout(done, refused.after * 1000));
  }
  const s = await response.json();
  keep(tokenKey, s);
  badge.set(s);
  loginWanted.set(false);
}

// enter takes a token that was made elsewhere, once a node has said whose it is. Nothing else is asked with it
// before: a node ends a connection over which it was shown one that is none.
export async function enter(token) {
  const { response } = await send(route("auth whoami"), { extra: { Authorization: "Bearer " + token } });
  if (!response.ok) throw await refusal(response);
  const who = await response.json();
  const s = { token, user: who.user, expires: who.expires };
  keep(tokenKey, s);
  badge.set(s);
  loginWanted.set(false);
}

export function forget() {
  keep(tokenKey, null);
  badge.set(null);
}
