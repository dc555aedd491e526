// Small parts that all screens are made of.
import { html, useState, useEffect } from "./lib.js";

const signs = { ok: "●", warning: "▲", error: "■", idle: "○", busy: "◆" };
const levels = {
  ok: "ok", up: "ok", alive: "ok", done: "ok", leader: "ok", replicate: "ok", stable: "ok", allowed: "ok",
  warning: "warning", paused: "warning", draining: "warning", joining: "warning", flapping: "warning", maintenance: "warning", moving: "busy", probe: "warning", snapshot: "warning", noted: "idle",
  error: "error", dead: "error", down: "error", failed: "error", refused: "error", lost: "error",
  running: "busy", unknown: "idle", standby: "idle", cancelled: "idle",
};

// Status is a state with a sign whose shape says what its colour says.
export function Status({ is, text, testid }) {
  const level = levels[is] || "idle";
  return html`<span class=${"status " + level} data-testid=${testid}><span class="sign" aria-hidden="true">${signs[level]}</span>${text ?? is}</span>`;
}

export function Copy({ text, label = "Copy" }) {
  const [done, set] = useState("");
  useEffect(() => {
    if (!done) return;
    const t = setTimeout(() => set(""), 1500);
    return () => clearTimeout(t);
  }, [done]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      set("Copied");
    } catch {
      // Browsers have no clipboard for a page that came over plain HTTP from another host.
      const area = document.createElement("textarea");
      area.value = text;
      (document.querySelector("dialog[open]") || document.body).append(area);
      area.select();
      set(document.execCommand("copy") ? "Copied" : "Select and copy");
      area.remove();
    }
  };
  return html`<button class="quiet copy" onClick=${copy}><span aria-live="polite">${done || label}</span></button>`;
}

// Command is what a person would type for what stands beside it.
export function Command({ line, testid }) {
  return html`<div class="command"><code data-testid=${testid}>${line}</code><${Copy} text=${line} /></div>`;
}

// Failed is an answer that says no: what, and what to do.
export function Failed({ error, testid }) {
  if (!error) return null;
  return html`<div class="failed" role="alert" data-testid=${testid}>
    <${Status} is="error" text=${error.code || "no answer"} />${" "}${error.message}
  </div>`;
}

// Facts is a list of names with what they are; an entry without a value is left out.
export function Facts({ of }) {
  return html`<dl class="facts">${of.filter(([, v]) => v != null && v !== "").map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>`;
}

export function Panel({ title, children, tools, testid, close }) {
  return html`<section class="panel" aria-label=${title} data-testid=${testid}>
    <header><h2>${title}</h2><span class="space"></span>${tools}${close && html`<button class="quiet" onClick=${close} aria-label=${"Close " + title}>✕</button>`}</header>
    ${children}</section>`;
}

// Meter is a part of a whole, as a bar and in words.
export function Meter({ value, max, label }) {
  const part = max > 0 ? Math.min(1, value / max) : 0;
  return html`<span class="meter" role="img" aria-label=${label}><span style=${{ width: (part * 100).toFixed(1) + "%" }}></span></span>`;
}

// none is what a table without rows says: text once there is an answer; that of a question that failed stands above it.
export const none = (data, error, text) => (error ? "not known" : data ? text : "asking …");

export const Loading = ({ what }) => html`<p class="empty" role="status">asking for ${what} …</p>`;
