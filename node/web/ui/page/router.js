// The place of the page: a screen's name and a query, in the address, so that a link or a
// reload shows the same. All of it is replaced without asking a node.
import { store, useStore } from "./lib.js";

const root = "/ui/";
const here = store(parse());

function parse() {
  const path = location.pathname.startsWith(root) ? location.pathname.slice(root.length) : "";
  return { screen: path.split("/")[0] || "overview", query: new URLSearchParams(location.search) };
}

addEventListener("popstate", () => here.set(parse()));

// A link within the page is followed without leaving it, unless a person asks for a new
// tab.
addEventListener("click", (e) => {
  const a = e.target.closest?.("a[href]");
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey || a.target || !a.getAttribute("href").startsWith(root)) return;
  e.preventDefault();
  go(a.getAttribute("href"));
});

export function go(href) {
  history.pushState(null, "", href);
  here.set(parse());
}

// href is the address of a screen with a query.
export function href(screen, query = {}) {
  const q = new URLSearchParams(Object.entries(query).filter(([, v]) => v != null && v !== "")).toString();
  return root + (screen === "overview" ? "" : screen) + (q ? "?" + q : "");
}

export const useHere = () => useStore(here);

// useQuery is one part of the query as a component's state: its value, and how it is set.
// An empty value takes it out of the address.
export function useQuery(name, otherwise = "") {
  const { query } = useHere();
  const set = (value) => {
    const q = new URLSearchParams(location.search);
    if (value == null || value === "" || value === otherwise) q.delete(name);
    else q.set(name, value);
    const text = q.toString();
    history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
    here.set(parse());
  };
  return [query.get(name) ?? otherwise, set];
}
