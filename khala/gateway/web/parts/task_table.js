// Tasks in rows, to compare them.
import { between, duration, number } from "../format.js";
import { isOver, summary } from "../words.js";
import { html } from "../ui.js";
import { Scroll, State, Time } from "./basics.js";

/** With `selected`, a set of ids, they can be chosen; those `ofJob` are told by their number in it. */
export function TaskTable({ tasks, label, selected = null, setSelected, ofJob = false }) {
  const toggle = (id) => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    setSelected(next);
  };
  return html`<${Scroll} label=${label}><table class="tasks">
    <thead><tr>${selected && html`<th class="acts"><span class="unseen">Selected</span></th>`}${ofJob && html`<th class="number">No.</th>`}<th>State</th><th>Task</th><th>Result</th>${!ofJob && html`<th>User</th>`}<th>Executor</th><th>${ofJob ? "Finished" : "Created"}</th><th class="number">Took</th></tr></thead>
    <tbody>${tasks.map((task) => html`<tr key=${task.id}>
      ${selected && html`<td class="pick acts">${!isOver(task) && html`<input type="checkbox" aria-label=${`Select ${task.name || task.id}`} checked=${selected.has(task.id)} onChange=${() => toggle(task.id)} />`}</td>`}
      ${ofJob && html`<td class="pick number">${number(task.job_index)}</td>`}
      <td class="state-cell"><${State} task=${task} /></td>
      <td class="name"><a href=${`/tasks/${task.id}`}>${task.name || (ofJob ? `Task ${number(task.job_index)}` : html`<code>${task.id}</code>`)}</a></td>
      <td class="soft result">${summary(task)}</td>
      ${!ofJob && html`<td class="user">${task.owner || ""}${task.user ? ` ${task.user}` : ""}</td>`}
      <td class="executor">${task.executor ?? ""}</td>
      <td class="created">${ofJob ? task.finished_at && html`<${Time} at=${task.finished_at} />` : html`<${Time} at=${task.created_at} />`}</td>
      <td class="number took">${task.started_at && task.finished_at ? duration(between(task.started_at, task.finished_at)) : ""}</td></tr>`)}</tbody></table></${Scroll}>`;
}
