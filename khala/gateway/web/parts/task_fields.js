// What describes a task, or the template of many: KV2's fields first, what is rarer below.
import { html } from "../ui.js";
import { Area, Choice, Source, Text } from "./fields.js";

/** `field`: the form, how one of its values is set, and what is wrong. */
export function Compile({ field }) {
  return html`<fieldset class="card"><legend>Compile <small>leave empty if there is nothing to compile</small></legend>
    <${Source} ...${field} name="source" file="compileFile" title="Source" where="at the top of the task's directory" />
    <${Text} ...${field} name="compileCommand" title="Compile command" mono placeholder="g++ -o main main.cpp" />
    <${Text} ...${field} name="compileTimeout" title="Compile timeout" unit="seconds" kind="number" hint="Empty: no limit of its own" />
  </fieldset>`;
}

export function Execute({ field }) {
  return html`<fieldset class="card"><legend>Execute</legend>
    <${Text} ...${field} name="executeCommand" title="Execute command" mono placeholder="./main" hint="A shell command; it runs in the task's directory" />
    <${Area} ...${field} name="executeInput" title="Execute input" hint="What it reads from standard input" />
    <${Source} ...${field} name="data" file="dataFile" title="Execute data" where="in the folder data" />
    <${Text} ...${field} name="executeTimeout" title="Execute timeout" unit="seconds" kind="number" hint="Empty: no limit of its own" />
    <${Area} ...${field} name="expected" title="Expected output" hint="If given, what it prints is compared with this" />
  </fieldset>`;
}

/** `name`: what its name is called here. */
export function About({ field, title, name, hint }) {
  const { form, set } = field;
  return html`<fieldset class="card"><legend>${title}</legend>
    <${Text} ...${field} name="name" title=${name} hint=${hint} />
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
  </fieldset>`;
}
