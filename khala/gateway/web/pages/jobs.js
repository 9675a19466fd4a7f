// Every job, page by page: how far each is.
import { query } from "../api.js";
import { between, count, duration, number } from "../format.js";
import { html } from "../ui.js";
import { Empty, Loading, Scroll, State, Time, Trouble } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { Pages, usePaged } from "../parts/paged.js";
import { finishedOf, Progress, useEnding } from "../parts/progress.js";

const PAGE = 25;

export function Jobs() {
  return html`<header class="title"><h1>Jobs</h1><p class="actions acts"><a class="button main" href="/jobs/new"><${Icon} name="plus" />New job</a></p></header>
    <${List} />`;
}

function List() {
  const paged = usePaged((token) => `/jobs${query({ page_size: PAGE, page_token: token })}`);
  const { value, problem, reload } = paged;
  useEnding(value?.jobs ?? [], reload);
  if (problem && !value) return html`<${Trouble} problem=${problem} again=${reload} />`;
  if (!value) return html`<${Loading} lines=${8} />`;
  if (!value.jobs.length && paged.first) return html`<${Nothing} />`;
  return html`${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${Table} jobs=${value.jobs} />
    <${Pages} paged=${paged} label="Pages of the list" />`;
}

function Nothing() {
  return html`<${Empty} title="No jobs yet">
    <p>A job is one command for many values: the cluster makes a task of each, and gathers their results in a table.</p>
    <p class="acts"><a class="button main" href="/jobs/new">New job</a></p></${Empty}>`;
}

function Table({ jobs }) {
  return html`<${Scroll} label="List of jobs"><table class="tasks jobs">
    <thead><tr><th>State</th><th>Job</th><th>Progress</th><th>Result</th><th>Owner</th><th>Created</th><th class="number">Took</th></tr></thead>
    <tbody>${jobs.map((job) => html`<tr key=${job.id}>
      <td class="state-cell"><${State} task=${job} /></td>
      <td class="name"><a href=${`/jobs/${job.id}`}>${job.name || html`<code>${job.id}</code>`}</a></td>
      <td class="how-far"><${Progress} job=${job} /><span class="small">${number(finishedOf(job))} of ${number(job.total)}</span></td>
      <td class="soft result">${job.counts.failed > 0 ? `${count(job.counts.failed, "task")} failed` : ""}</td>
      <td class="user">${job.owner}</td>
      <td class="created"><${Time} at=${job.created_at} /></td>
      <td class="number took">${job.finished_at ? duration(between(job.created_at, job.finished_at)) : ""}</td></tr>`)}</tbody></table></${Scroll}>`;
}
