// The form of a new job: the values first, then the template that they go into; with the equal commands.
import { get, submit } from "../api.js";
import { formOf } from "../form.js";
import { count, number } from "../format.js";
import { go } from "../router.js";
import { specOf } from "../spec.js";
import { blankJob, filled, jobFieldOf, jobOf, outlook } from "../sweep.js";
import { html, useEffect, useMemo, useState } from "../ui.js";
import { Loading, Trouble } from "../parts/basics.js";
import { JobCommands } from "../parts/commands.js";
import { Area, Choice, Text } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";
import { useSending } from "../parts/sending.js";
import { About, Compile, Execute } from "../parts/task_fields.js";

const KINDS = [["range", "whole numbers"], ["values", "a list"], ["matrix", "every combination of lists"], ["csv", "a table (CSV)"]];
const EXAMPLE = { job: "squares", kind: "range", valueName: "n", start: "1", stop: "101", step: "1", name: "square of {n}", executeCommand: "echo $(({n} * {n}))" };

export function NewJob() {
  const from = new URLSearchParams(location.search).get("from");
  const [form, setForm] = useState(from ? null : blankJob());
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!from) return;
    get(`/tasks/${encodeURIComponent(from)}`).then((task) => setForm({ ...blankJob(), ...formOf(specOf(task)) }), setProblem);
  }, [from]);
  return html`<h1>New job</h1>
    ${!form && !problem && html`<${Loading} lines=${8} />`}
    ${!form && html`<${Trouble} problem=${problem} />`}
    ${form && html`<${Form} form=${form} setForm=${setForm} />`}`;
}

function Form({ form, setForm }) {
  const job = useMemo(() => jobOf(form), [form]);
  const sending = useSending(job, async (key) => go(`/jobs/${(await submit(job, key, "/jobs")).id}`));
  const { problem, busy } = sending;
  const set = (name) => (value) => setForm((old) => ({ ...old, [name]: value }));
  const field = { form, set, wrong: jobFieldOf(problem?.field ?? "", form), problem };
  return html`<form class="columns even" onSubmit=${sending.submit} noValidate>
    <div class="stack">
      <p class="examples">A job makes one task for each value. <button type="button" class="quiet" onClick=${() => setForm({ ...blankJob(), ...EXAMPLE })}>Begin with an example</button></p>
      <fieldset class="card"><legend>Values</legend>
        <${Text} ...${field} name="job" title="Name of the job" hint="To find it by" />
        <${Choice} ...${field} name="kind" title="The values are" choices=${KINDS} />
        <${Values} field=${field} />
      </fieldset>
      <${Execute} field=${field} />
      <${Compile} field=${field} />
    </div>
    <div class="stack">
      <${Outlook} job=${job} />
      <fieldset class="card"><legend>Bounds</legend>
        <${Text} ...${field} name="maxParallel" title="Most at a time" kind="number" hint="Empty: as many as there is room for" />
        <${Text} ...${field} name="maxFailures" title="Most failures" kind="number" hint="After more than these the rest is cancelled; empty: any number" />
      </fieldset>
      <${About} field=${field} title="About each task" name="Name of each task" hint="It may hold values, as in run {index}" />
      <${Trouble} problem=${problem} />
      <p class="actions acts"><button class="main" disabled=${busy}><${Icon} name="run" />${busy ? "Sending…" : "Create the job"}</button></p>
      <${JobCommands} job=${job} />
    </div>
  </form>`;
}

function Values({ field }) {
  const name = html`<${Text} ...${field} name="valueName" title="Their name" mono hint=${`In the template {${field.form.valueName || "value"}} stands for one`} />`;
  switch (field.form.kind) {
    case "range":
      return html`${name}<div class="side-by-side">
        <${Text} ...${field} name="start" title="From" kind="number" />
        <${Text} ...${field} name="stop" title="To before" kind="number" placeholder="100" />
        <${Text} ...${field} name="step" title="Step" kind="number" /></div>`;
    case "values":
      return html`${name}<${Area} ...${field} name="list" title="Values" rows=${6} hint="One a line" />`;
    case "matrix":
      return html`<${Area} ...${field} name="matrix" title="Lists" rows=${5} placeholder=${"rate = 0.1, 0.01\nseed = 1, 2, 3"} hint="A name and its values a line; there is a task for every combination" />`;
    default:
      return html`<${Area} ...${field} name="csv" title="Table" rows=${6} placeholder=${"input,size\na.txt,10\nb.txt,20"} hint="The first line names the columns; every other one is a task" />`;
  }
}

/** What will come of it, before it is sent. */
function Outlook({ job }) {
  const found = outlook(job.array);
  const command = job.task.execute?.command ?? job.task.compile?.command ?? "";
  const text = typeof command === "string" ? command : command.join(" ");
  return html`<section class="card" aria-label="What it makes"><h2>What it makes ${found && html`<span class="more"><b>${count(found.total, "task")}</b></span>`}</h2>
    ${!found && html`<p class="soft">Give values, and the first and the last task are shown here.</p>`}
    ${found && !text && html`<p class="soft">Give a command, and the first and the last task are shown here.</p>`}
    ${found && text && html`<dl class="pairs ends">
      <dt>Task 0</dt><dd><pre>${filled(text, found.first, 0)}</pre></dd>
      ${found.total > 1 && html`<dt>Task ${number(found.total - 1)}</dt><dd><pre>${filled(text, found.last, found.total - 1)}</pre></dd>`}
    </dl>`}
    <p class="small">Values go into commands, input, files and names as they are: in a shell command, put quotes around what may hold blanks.</p>
  </section>`;
}
