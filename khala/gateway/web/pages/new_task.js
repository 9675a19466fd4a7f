// The form of a new task: KV2's fields first, what is rarer below; with the equal commands.
import { ask, get, submit } from "../api.js";
import { EXAMPLES } from "../example.js";
import { blank, fieldOf, formOf, taskOf } from "../form.js";
import { go } from "../router.js";
import { specOf } from "../spec.js";
import { html, useEffect, useMemo, useState } from "../ui.js";
import { Loading, Trouble } from "../parts/basics.js";
import { Commands } from "../parts/commands.js";
import { Icon } from "../parts/icons.js";

const INLINE = 256 * 1024;

export function NewTask() {
  const from = new URLSearchParams(location.search).get("from");
  const [form, setForm] = useState(from ? null : blank());
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!from) return;
    get(`/tasks/${encodeURIComponent(from)}`).then((task) => setForm(formOf(specOf(task))), setProblem);
  }, [from]);
  return html`<h1>${from ? "Clone and edit" : "New task"}</h1>
    ${!form && !problem && html`<${Loading} lines=${8} />`}
    ${!form && html`<${Trouble} problem=${problem} />`}
    ${form && html`<${Form} form=${form} setForm=${setForm} />`}`;
}

function Form({ form, setForm }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [key, setKey] = useState(() => newKey());
  const wrong = fieldOf(problem?.field ?? "");
  const task = useMemo(() => taskOf(form), [form]);
  useEffect(() => setKey(newKey()), [task]);
  const set = (name) => (value) => setForm((old) => ({ ...old, [name]: value }));
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      go(`/tasks/${(await submit(task, key)).id}`);
    } catch (error) {
      setProblem(error);
      setBusy(false);
      queueMicrotask(() => document.querySelector("[aria-invalid=true]")?.focus());
    }
  };
  const field = { form, set, wrong, problem };
  return html`<form class="columns even" onSubmit=${send} noValidate>
    <div class="stack">
      <p class="examples">Begin with ${Object.entries(EXAMPLES).map(([name, { title, task: example }]) => html`<button key=${name} type="button" class="quiet" onClick=${() => setForm(formOf(example))}>${title}</button>`)}</p>
      <fieldset class="card"><legend>Compile <small>leave empty if there is nothing to compile</small></legend>
        <${Source} ...${field} name="source" file="compileFile" title="Source" where="at the top of the task's directory" />
        <${Text} ...${field} name="compileCommand" title="Compile command" mono placeholder="g++ -o main main.cpp" />
        <${Text} ...${field} name="compileTimeout" title="Compile timeout" unit="seconds" kind="number" hint="Empty: no limit of its own" />
      </fieldset>
      <fieldset class="card"><legend>Execute</legend>
        <${Text} ...${field} name="executeCommand" title="Execute command" mono placeholder="./main" hint="A shell command; it runs in the task's directory" />
        <${Area} ...${field} name="executeInput" title="Execute input" hint="What it reads from standard input" />
        <${Source} ...${field} name="data" file="dataFile" title="Execute data" where="in the folder data" />
        <${Text} ...${field} name="executeTimeout" title="Execute timeout" unit="seconds" kind="number" hint="Empty: no limit of its own" />
        <${Area} ...${field} name="expected" title="Expected output" hint="If given, what it prints is compared with this" />
      </fieldset>
    </div>
    <div class="stack">
      <fieldset class="card"><legend>About it</legend>
        <${Text} ...${field} name="name" title="Name" hint="To find it by" />
        <${Text} ...${field} name="user" title="User id" kind="number" hint="A number of your own, as in KV2" />
        <details open=${form.more}><summary>More</summary>
          <${Text} ...${field} name="labels" title="Labels" placeholder="course=algo, week=3" />
          <${Text} ...${field} name="priority" title="Priority" kind="number" hint="−100 to 100; higher runs sooner" />
          <${Text} ...${field} name="memory" title="Memory limit" unit="MiB" kind="number" />
          <${Text} ...${field} name="cpus" title="CPUs that it occupies" kind="number" placeholder="1" />
          <${Text} ...${field} name="outputs" title="Files to keep" mono placeholder="out/**, *.txt" />
          <${Choice} ...${field} name="checker" title="Compare output" choices=${[["", "line by line, without blanks at their ends"], ["exact", "byte by byte"], ["tokens", "word by word"], ["float", "numbers nearly equal"]]} />
          <${Choice} ...${field} name="isolation" title="Isolation" choices=${[["none", "none"], ["basic", "basic"], ["strict", "strict"]]} />
          <label class="check"><input type="checkbox" checked=${form.network} onChange=${(event) => set("network")(event.target.checked)} /> It may use the network</label>
        </details>
      </fieldset>
      <${Trouble} problem=${problem} />
      <p class="actions"><button class="main" disabled=${busy}><${Icon} name="run" />${busy ? "Sending…" : "Run it"}</button></p>
      <${Commands} task=${task} />
    </div>
  </form>`;
}

const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

/** A labelled control with its hint and what is wrong with it. */
function Labelled({ name, title, hint, wrong, problem, children }) {
  const bad = wrong === name;
  const described = [hint && `${name}-hint`, bad && `${name}-bad`].filter(Boolean).join(" ") || null;
  return html`<div class="field"><label for=${name}>${title}</label>
    ${children({ id: name, name, "aria-describedby": described, "aria-invalid": bad ? "true" : null })}
    ${hint && html`<small id=${`${name}-hint`}>${hint}</small>`}
    ${bad && html`<small class="wrong" id=${`${name}-bad`}><${Icon} name="alert" />${problem.detail}</small>`}</div>`;
}

function Text({ form, set, name, kind = "text", unit, mono, placeholder, title, ...rest }) {
  return html`<${Labelled} name=${name} title=${unit ? `${title} (${unit})` : title} ...${rest}>${(attributes) =>
    html`<input ...${attributes} inputmode=${kind === "number" ? "decimal" : null} class=${`${mono ? "mono" : ""} ${kind}`} placeholder=${placeholder}
      autocomplete="off" spellcheck="false" value=${form[name]} onInput=${(event) => set(name)(event.target.value)} />`}</${Labelled}>`;
}

function Area({ form, set, name, rows = 3, ...rest }) {
  return html`<${Labelled} name=${name} ...${rest}>${(attributes) =>
    html`<textarea ...${attributes} rows=${rows} class="mono" spellcheck="false" value=${form[name]} onInput=${(event) => set(name)(event.target.value)} />`}</${Labelled}>`;
}

function Choice({ form, set, name, choices, ...rest }) {
  return html`<${Labelled} name=${name} ...${rest}>${(attributes) =>
    html`<select ...${attributes} value=${form[name]} onChange=${(event) => set(name)(event.target.value)}>
      ${choices.map(([value, title]) => html`<option key=${value} value=${value}>${title}</option>`)}</select>`}</${Labelled}>`;
}

/** A file from this computer, or a name and a text. */
function Source({ form, set, name, file, title, where, wrong, problem }) {
  const [state, setState] = useState("");
  const chosen = form[file];
  const take = async (event) => {
    const [picked] = event.target.files;
    if (!picked) return;
    setState("Sending the file…");
    try {
      set(file)(await stored(picked));
      setState("");
    } catch (error) {
      setState(error.detail ?? "The file could not be sent.");
    }
    event.target.value = "";
  };
  return html`<div class="field" role="group" aria-label=${title}>
    <span class="label">${title} <small>a file, or a name and its text; ${where}</small></span>
    ${chosen
      ? html`<p class="chosen"><${Icon} name="file" />${chosen.name} <button type="button" class="quiet" onClick=${() => set(file)(null)}>Remove</button></p>`
      : html`<input class="mono" id=${`${name}Name`} aria-label=${`${title}: file name`} aria-invalid=${wrong === `${name}Name` ? "true" : null} placeholder=${name === "source" ? "main.cpp" : "numbers.txt"} spellcheck="false" autocomplete="off"
          value=${form[`${name}Name`]} onInput=${(event) => set(`${name}Name`)(event.target.value)} />
        <textarea class="mono" rows=${name === "source" ? 10 : 3} aria-label=${`${title}: text`} spellcheck="false" value=${form[`${name}Text`]} onInput=${(event) => set(`${name}Text`)(event.target.value)} />`}
    <label class="button file"><${Icon} name="file" />Choose a file (a zip is unpacked)<input type="file" aria-label=${`${title}: file`} onChange=${take} /></label>
    <small role="status">${state}</small>
    ${wrong === `${name}Name` && html`<small class="wrong"><${Icon} name="alert" />${problem.detail}</small>`}
  </div>`;
}

/** Small text goes with the task; anything else is stored first. `{ name, content | sha256, zip }`. */
async function stored(file) {
  const zip = /\.(zip|tar|tgz|tar\.gz)$/i.test(file.name);
  if (!zip && file.size <= INLINE) {
    try {
      return { name: file.name, content: new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()) };
    } catch {
      // not text: it is stored as it is
    }
  }
  const { sha256 } = await ask("POST", "/files", { body: file });
  return { name: file.name, sha256, zip };
}
