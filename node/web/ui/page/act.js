// Doing something: one dialog for all of it. It shows the command that does the same, asks
// for a plan where the command has one, and carries out that plan and no other.
import { html, store, useStore, useState, useEffect, useLayoutEffect, useRef } from "./lib.js";
import { ask, Lost } from "./api.js";
import { line } from "./commands.js";
import { Command, Failed, Status } from "./parts.js";

const open = store(null);
const notes = store([]);
let noted = 0;

// act opens the dialog. What it is given: {title, command, args, about, fields, check,
// plan, force, danger, done, show}. A field is {name, label, type, value, options, help,
// list}; its value becomes the argument of its name. plan says that the command shows
// one, force that it takes --force. done(answer) is called once it was carried out, and
// show(answer) draws an answer that a person has to see. fill has arguments for fields that
// were left empty; same is the command that is shown, where it can't be made of the arguments.
export const act = (what) => open.set({ ...what, key: ++noted });

// note tells that something was done, for a moment, to eyes and to screen readers.
export function note(text) {
  const n = { id: ++noted, text };
  notes.set([...notes.get().slice(-3), n]);
  setTimeout(() => notes.set(notes.get().filter((o) => o !== n)), 6000);
}

export function Notes() {
  return html`<div class="notes" role="status" data-testid="notes">${useStore(notes).map((n) => html`<p key=${n.id}>${n.text}</p>`)}</div>`;
}

export function Dialog() {
  const what = useStore(open);
  return what && html`<${Act} key=${what.key} what=${what} close=${() => open.set(null)} />`;
}

function Act({ what, close }) {
  const fields = what.fields || [];
  const [values, setValues] = useState(() => Object.fromEntries(fields.map((f) => [f.name, f.value ?? ""])));
  const [force, setForce] = useState(false);
  const [plan, setPlan] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState(null);
  const [stale, setStale] = useState(false);
  const box = useRef(null);

  const args = { ...what.args, ...what.fill };
  for (const f of fields) {
    const v = values[f.name];
    if (v === "" || v === false) continue;
    args[f.name] = f.list ? String(v).split(/[\s,]+/).filter(Boolean) : f.json ? parsed(v) : v;
  }
  if (force) args.force = true;
  const ready = fields.every((f) => f.optional || String(values[f.name] ?? "").trim() !== "");

  useLayoutEffect(() => { // before any key that comes
    box.current.showModal();
    box.current.querySelector("[data-first]")?.focus();
  }, []);

  // The browser gives the focus back to where it was, and then says that the dialog has closed.
  const shut = () => box.current?.close();
  const run = async (work) => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (e) {
      // A plan that has become another one comes with the refusal.
      if (e.plan) {
        setStale(!!plan); // what a person has read is another one
        setPlan(e.plan);
        if (plan) return;
      }
      setError(e);
      if (e instanceof Lost) setPlan(null);
    } finally {
      setBusy(false);
    }
  };
  const makePlan = () => run(async () => {
    setStale(false);
    setPlan((await ask(what.command, args, { plan: true })).plan);
  });
  const carryOut = () => run(async () => {
    const a = await ask(what.command, args, { token: plan?.token });
    what.done?.(a, values);
    if (what.show) return setAnswer({ a });
    note(`${what.title}: ${outcome(a)}`);
    shut();
  });
  const change = (name, value) => {
    setValues({ ...values, [name]: value });
    setPlan(null);
    setError(null);
  };
  // With nothing left to fill in the plan is asked for at once.
  useEffect(() => {
    if (what.plan && !fields.length) makePlan();
  }, [force]);

  const wantsPlan = what.plan && !plan;
  // A plan without a token says why nothing can be done.
  const dead = plan && !plan.token;
  const submit = (e) => {
    e.preventDefault();
    if (!busy && ready && !answer && !dead) wantsPlan ? makePlan() : carryOut();
  };

  return html`<dialog ref=${box} aria-labelledby="act-title" data-testid="dialog" onClose=${close}>
    <form onSubmit=${submit}>
      <h2 id="act-title">${what.title}</h2>
      ${what.about && html`<p>${what.about}</p>`}
      ${!answer && fields.map((f, i) => html`<${Field} key=${f.name} f=${f} value=${values[f.name]} set=${(v) => change(f.name, v)} first=${i === 0} />`)}
      ${!answer && what.force && html`<label class="check"><input type="checkbox" checked=${force} data-testid="force" onChange=${(e) => (setForce(e.target.checked), setPlan(null))} /> <span>${what.force}</span></label>`}
      ${stale && html`<p class="failed" role="alert" data-testid="stale"><${Status} is="warning" text="changed" /> The cluster has changed since the plan was made, and nothing was done. This is the new plan.</p>`}
      ${plan && !answer && html`<div class="plan"><h3>Plan <span class="muted">for the table of index ${plan.index}</span></h3>
        <pre tabindex="0" data-testid="plan">${(plan.lines || []).join("\n") || "nothing has to be done"}</pre></div>`}
      <${Failed} error=${error} testid="dialog-error" />
      ${answer ? what.show(answer.a) : html`<p class="same">This is</p><${Command} line=${what.same || line(what.command, args, !!plan)} testid="dialog-command" />`}
      <div class="buttons">
        <span class="muted" role="status">${busy ? (wantsPlan ? "planning …" : "working …") : ""}</span>
        <button type="button" onClick=${shut} data-testid="dialog-close">${answer ? "Close" : "Cancel"}</button>
        ${!answer && !dead && html`<button type="submit" class=${what.danger && !wantsPlan ? "danger" : "primary"} aria-disabled=${busy} disabled=${!ready} data-first=${!fields.length || undefined} data-testid="dialog-go">
          ${wantsPlan ? "Show the plan" : plan ? "Carry out this plan" : what.button || what.title}</button>`}
      </div>
    </form>
  </dialog>`;
}

function Field({ f, value, set, first }) {
  const id = "field-" + f.name;
  const common = { id, name: f.name, "data-testid": id, "aria-describedby": f.help ? id + "-help" : undefined, "data-first": first || undefined };
  return html`<div class="field"><label for=${id}>${f.label}</label>
    ${f.options
      ? html`<select ...${common} value=${value} onChange=${(e) => set(e.target.value)}>${f.options.map((o) => html`<option key=${o} value=${o}>${o}</option>`)}</select>`
      : f.type === "text-long"
        ? html`<textarea ...${common} rows="8" spellcheck=${false} value=${value} onInput=${(e) => set(e.target.value)}></textarea>`
        : html`<input ...${common} type=${f.type || "text"} value=${value} min=${f.min} max=${f.max} autocomplete="off" spellcheck=${false} onInput=${(e) => set(e.target.value)} />`}
    ${f.help && html`<small id=${id + "-help"}>${f.help}</small>`}</div>`;
}

// parsed is JSON that a person typed; where it is none yet, the text: the node says what is
// wrong with that.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// outcome says in few words what an answer means.
function outcome(a) {
  const job = a && a.kind && a.state ? a : null;
  return job ? `job ${job.id} (${job.kind}) is ${job.state}` : "done";
}
