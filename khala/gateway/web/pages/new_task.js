// The form of a new task, with the equal commands.
import { get, submit } from "../api.js";
import { EXAMPLES } from "../example.js";
import { blank, fieldOf, formOf, taskOf } from "../form.js";
import { go } from "../router.js";
import { specOf } from "../spec.js";
import { html, useEffect, useMemo, useState } from "../ui.js";
import { Loading, Trouble } from "../parts/basics.js";
import { Commands } from "../parts/commands.js";
import { Icon } from "../parts/icons.js";
import { useSending } from "../parts/sending.js";
import { About, Compile, Execute } from "../parts/task_fields.js";

export function NewTask() {
  const from = new URLSearchParams(location.search).get("from");
  const [form, setForm] = useState(from ? null : blank());
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!from) return;
    get(`/tasks/${encodeURIComponent(from)}`).then((task) => setForm(formOf(specOf(task))), setProblem);
  }, [from]);
  return html`<header class="title"><h1>${from ? "Clone and edit" : "New task"}</h1>
      <p><a href=${from ? `/jobs/new?from=${encodeURIComponent(from)}` : "/jobs/new"}>Many like it, with different values: a job</a></p></header>
    ${!form && !problem && html`<${Loading} lines=${8} />`}
    ${!form && html`<${Trouble} problem=${problem} />`}
    ${form && html`<${Form} form=${form} setForm=${setForm} />`}`;
}

function Form({ form, setForm }) {
  const task = useMemo(() => taskOf(form), [form]);
  const sending = useSending(task, async (key) => go(`/tasks/${(await submit(task, key)).id}`));
  const { problem, busy } = sending;
  const set = (name) => (value) => setForm((old) => ({ ...old, [name]: value }));
  const field = { form, set, wrong: fieldOf(problem?.field ?? ""), problem };
  return html`<form class="columns even" onSubmit=${sending.submit} noValidate>
    <div class="stack">
      <p class="examples">Begin with ${Object.entries(EXAMPLES).map(([name, { title, task: example }]) => html`<button key=${name} type="button" class="quiet" onClick=${() => setForm(formOf(example))}>${title}</button>`)}</p>
      <${Compile} field=${field} />
      <${Execute} field=${field} />
    </div>
    <div class="stack">
      <${About} field=${field} title="About it" name="Name" hint="To find it by" />
      <${Trouble} problem=${problem} />
      <p class="actions acts"><button class="main" disabled=${busy}><${Icon} name="run" />${busy ? "Sending…" : "Run it"}</button></p>
      <${Commands} task=${task} />
    </div>
  </form>`;
}
