// The controls of a form: each with its label, its hint, and what is wrong with it.
import { ask } from "../api.js";
import { html, useState } from "../ui.js";
import { Icon } from "./icons.js";

const INLINE = 256 * 1024;

/** A labelled control with its hint and what is wrong with it. */
function Labelled({ name, title, hint, wrong, problem, children }) {
  const bad = wrong === name;
  const described = [hint && `${name}-hint`, bad && `${name}-bad`].filter(Boolean).join(" ") || null;
  return html`<div class="field"><label for=${name}>${title}</label>
    ${children({ id: name, name, "aria-describedby": described, "aria-invalid": bad ? "true" : null })}
    ${hint && html`<small id=${`${name}-hint`}>${hint}</small>`}
    ${bad && html`<small class="wrong" id=${`${name}-bad`}><${Icon} name="alert" />${problem.detail}</small>`}</div>`;
}

export function Text({ form, set, name, kind = "text", unit, mono, placeholder, title, ...rest }) {
  return html`<${Labelled} name=${name} title=${unit ? `${title} (${unit})` : title} ...${rest}>${(attributes) =>
    html`<input ...${attributes} inputmode=${kind === "number" ? "decimal" : null} class=${`${mono ? "mono" : ""} ${kind}`} placeholder=${placeholder}
      autocomplete="off" spellcheck="false" value=${form[name]} onInput=${(event) => set(name)(event.target.value)} />`}</${Labelled}>`;
}

export function Area({ form, set, name, rows = 3, ...rest }) {
  return html`<${Labelled} name=${name} ...${rest}>${(attributes) =>
    html`<textarea ...${attributes} rows=${rows} class="mono" spellcheck="false" value=${form[name]} onInput=${(event) => set(name)(event.target.value)} />`}</${Labelled}>`;
}

export function Choice({ form, set, name, choices, ...rest }) {
  return html`<${Labelled} name=${name} ...${rest}>${(attributes) =>
    html`<select ...${attributes} value=${form[name]} onChange=${(event) => set(name)(event.target.value)}>
      ${choices.map(([value, title]) => html`<option key=${value} value=${value}>${title}</option>`)}</select>`}</${Labelled}>`;
}

/** A file from this computer, or a name and a text. */
export function Source({ form, set, name, file, title, where, wrong, problem }) {
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
