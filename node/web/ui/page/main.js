// The page: its frame, the login, and the table of screens.
import { html, render, focus, useState, useEffect, useRef, useStore } from "./lib.js";
import { useHere, href, go } from "./router.js";
import { badge, loginWanted, via, login, enter, forget, nameOf } from "./api.js";
import { overview, interrupted, start } from "./live.js";
import { Status, Failed } from "./parts.js";
import { Dialog, Notes } from "./act.js";
import { prepare } from "./chart.js";
import { Overview } from "./screens/overview.js";
import { Nodes } from "./screens/nodes.js";
import { Reach } from "./screens/reach.js";
import { Groups } from "./screens/groups.js";
import { Slots } from "./screens/slots.js";
import { Jobs } from "./screens/jobs.js";
import { Keys } from "./screens/keys.js";
import { Points } from "./screens/points.js";
import { Query } from "./screens/query.js";
import { Services } from "./screens/services.js";
import { Events } from "./screens/events.js";
import { Metrics } from "./screens/metrics.js";
import { Logs } from "./screens/logs.js";
import { Settings } from "./screens/settings.js";
import { Users } from "./screens/users.js";

// A screen: its name in the address, what it is called, and the key that follows g.
const screens = [
  ["overview", "Overview", "o", Overview],
  ["nodes", "Nodes", "n", Nodes],
  ["reach", "Reachability", "r", Reach],
  ["groups", "Groups", "g", Groups],
  ["slots", "Slots", "s", Slots],
  ["jobs", "Jobs", "j", Jobs],
  ["keys", "Keys", "k", Keys],
  ["points", "Points", "p", Points],
  ["query", "Query", "q", Query],
  ["services", "Services", "v", Services],
  ["events", "Events", "e", Events],
  ["metrics", "Metrics", "m", Metrics],
  ["logs", "Logs", "l", Logs],
  ["settings", "Settings", "t", Settings],
  ["users", "Users", "u", Users],
];

function App() {
  const wanted = useStore(loginWanted);
  const { screen } = useHere();
  const found = screens.find(([name]) => name === screen) || screens[0];
  const main = useRef(null);
  useKeys();
  useEffect(() => {
    document.title = `${found[1]} · muster`;
  }, [found]);
  if (wanted) return html`<${Login} />`;
  const Screen = found[3];
  return html`
    <a class="skip" href="#main" onClick=${(e) => (e.preventDefault(), main.current.focus())}>To the content</a>
    <${Top} />
    <${Menu} current=${found[0]} />
    <main id="main" ref=${main} tabindex="-1" data-testid=${"screen-" + found[0]}>
      <h1 class=${found[0] === "overview" ? "sr" : ""}>${found[1]}</h1>
      <${Screen} key=${found[0]} />
    </main>
    <${Notes} /><${Dialog} />`;
}

function Top() {
  const o = useStore(overview);
  const why = useStore(interrupted);
  const at = useStore(via);
  const s = useStore(badge);
  return html`<header class="top">
    <a class="name" href=${href("overview")}><img src="/ui/icon.svg" alt="" width="18" height="18" /> <span>${o?.cluster || "muster"}</span></a>
    <a class="verdict" href=${href("overview")} data-testid="verdict" aria-live="polite">
      ${o ? html`<${Status} is=${o.verdict} text=${o.verdict} /> <span class="reason">${o.reason}</span>` : html`<span class="muted">asking …</span>`}</a>
    <span class="space"></span>
    <span class="via" data-testid="via" title="the node that answers">${why ? html`<${Status} is="warning" text="reconnecting" />` : html`<${Status} is="ok" text=${"via " + (at.name || nameOf(at.origin))} />`}</span>
    <${Theme} />
    ${s && html`<button class="quiet" data-testid="logout" onClick=${() => (forget(), loginWanted.set(true))}>${s.user}, log out</button>`}
  </header>`;
}

function Menu({ current }) {
  const here = useRef(null);
  // On a narrow screen the menu is a row that scrolls: what is open has to be in view.
  useEffect(() => here.current?.scrollIntoView({ block: "nearest", inline: "nearest" }), [current]);
  return html`<nav aria-label="Screens"><ul>${screens.map(([name, label, key]) => html`<li key=${name}>
    <a href=${href(name)} ref=${name === current ? here : undefined} aria-current=${name === current ? "page" : undefined} data-testid=${"nav-" + name}>${label}<kbd aria-hidden="true">g ${key}</kbd></a></li>`)}</ul></nav>`;
}

const themes = { auto: "light dark", light: "light", dark: "dark" };

function Theme() {
  const [theme, set] = useState(() => localStorage.getItem("muster.theme") || "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    if (theme === "auto") localStorage.removeItem("muster.theme");
    else localStorage.setItem("muster.theme", theme);
    dispatchEvent(new Event("theme"));
  }, [theme]);
  return html`<label class="theme"><span class="sr">Colours</span><select data-testid="theme" value=${theme} onChange=${(e) => set(e.target.value)}>
    ${Object.keys(themes).map((t) => html`<option key=${t} value=${t}>${t}</option>`)}</select></label>`;
}

function Login() {
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [token, setToken] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (e) => {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await (token ? enter(token.trim()) : login(user, password));
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  return html`<main class="login" data-testid="login"><form onSubmit=${submit}>
    <h1><img src="/ui/icon.svg" alt="" width="22" height="22" /> muster</h1>
    <div class="field"><label for="user">User</label><input id="user" data-testid="login-user" autocomplete="username" ref=${focus} value=${user} onInput=${(e) => setUser(e.target.value)} /></div>
    <div class="field"><label for="password">Password</label><input id="password" data-testid="login-password" type="password" autocomplete="current-password" value=${password} onInput=${(e) => setPassword(e.target.value)} /></div>
    <div class="field"><label for="token">or a token</label><input id="token" data-testid="login-token" type="password" autocomplete="off" value=${token} onInput=${(e) => setToken(e.target.value)} /></div>
    <${Failed} error=${error} testid="login-error" />
    <div class="buttons"><button class="primary" aria-disabled=${busy} disabled=${!token && (!user || !password)} data-testid="login-go">${busy ? "logging in …" : "Log in"}</button></div>
    <p class="muted"><code>muster auth token</code> prints a token of an hour; <code>muster user create</code> makes a user.</p>
  </form></main>`;
}

// useKeys: g and a letter go to a screen, / to the filter of the table.
function useKeys() {
  const pressed = useRef(0);
  useEffect(() => {
    const key = (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]") || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
      if (e.key === "/") {
        const filter = document.querySelector("[data-filter]");
        if (filter) {
          e.preventDefault();
          filter.focus();
        }
      } else if (Date.now() - pressed.current < 1000) {
        const to = screens.find(([, , letter]) => letter === e.key);
        pressed.current = 0;
        if (to) {
          e.preventDefault();
          go(href(to[0]));
        }
      } else if (e.key === "g") pressed.current = Date.now();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
}

start();
render(html`<${App} />`, document.body);
// Charts load their library later: it is fetched now, while the node that served the page is there.
prepare();
