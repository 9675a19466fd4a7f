// One job: how far it is and at what pace, what failed, its tasks, and the table of its results.
import { BASE, get, newKey, post, query, submit } from "../api.js";
import { between, count, duration, number, sentence } from "../format.js";
import { go } from "../router.js";
import { isOver, REASONS } from "../words.js";
import { html, useLoaded, useNow, useState } from "../ui.js";
import { Code, Copy, Empty, Loading, State, Time, Trouble } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";
import { Pages, useCounts, usePaged } from "../parts/paged.js";
import { Counts, finishedOf, Progress, useEnding } from "../parts/progress.js";
import { TaskTable } from "../parts/task_table.js";
import { shown } from "../spec.js";
import { say, soon } from "../parts/undo.js";

const PAGE = 50;
const MOST_FAILED = 200;

export function JobPage({ id }) {
  const { value: job, problem, reload } = useLoaded((signal) => get(`/jobs/${encodeURIComponent(id)}`, signal), [id]);
  useCounts(job && isOver(job) ? null : reload);
  useEnding(job ? [job] : [], reload);
  if (!job) return problem ? html`<${Missing} id=${id} problem=${problem} again=${reload} />` : html`<h1 class="unseen">Job</h1><${Loading} lines=${8} />`;
  return html`
    <${Head} job=${job} reload=${reload} />
    ${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${Standing} job=${job} />
    <div class="cards">
      <${Results} job=${job} />
      <${Asked} job=${job} />
      ${job.counts.failed > 0 && html`<${Failures} job=${job} />`}
    </div>
    <${Tasks} job=${job} />`;
}

function Missing({ id, problem, again }) {
  if (problem.status === 404 || problem.status === 400) {
    return html`<h1 class="unseen">Job</h1><${Empty} title="There is no such job">
      <p>No job <code>${id}</code> is here, or it belongs to somebody else.</p>
      <p><a class="button" href="/jobs">All jobs</a></p></${Empty}>`;
  }
  return html`<h1 class="unseen">Job</h1><${Trouble} problem=${problem} again=${again} />`;
}

function Head({ job, reload }) {
  const name = job.name || `Job ${job.id.slice(-6)}`;
  const cancel = () =>
    soon(`${name} is cancelled in 5 seconds`, async (more) => {
      await post(`/jobs/${job.id}/cancel`, {}, more);
      reload();
    });
  return html`<header class="title">
    <div><h1>${name}</h1>
      <p class="soft"><code class="id">${job.id}</code><${Copy} text=${job.id} label="Copy the id" />
        ${job.owner && html` by ${job.owner},`} created <${Time} at=${job.created_at} />
        ${job.retried_from && html`, again after <a href=${`/jobs/${job.retried_from}`}>${job.retried_from.slice(-6)}</a>`}</p></div>
    <p class="actions acts">${isOver(job) ? html`<${Again} job=${job} />` : html`<button class="danger" onClick=${cancel} disabled=${job.cancel_requested}><${Icon} name="slash" />Cancel</button>`}</p>
  </header>`;
}

/** A new job of those tasks that did not do well. */
function Again({ job: { id, counts } }) {
  const [keys] = useState(() => ({ failed: newKey(), "failed,cancelled": newKey() }));
  const retry = async (state) => {
    try {
      go(`/jobs/${(await submit({}, keys[state], `/jobs/${id}/retry?state=${state}`)).id}`);
    } catch (problem) {
      say(problem.detail);
    }
  };
  const { failed, cancelled } = counts;
  return html`${failed > 0 && html`<button onClick=${() => retry("failed")}><${Icon} name="run" />Retry ${number(failed)} failed</button>`}
    ${cancelled > 0 && html`<button onClick=${() => retry("failed,cancelled")}><${Icon} name="run" />Retry ${failed ? `all ${number(failed + cancelled)}` : `${number(cancelled)} cancelled`}</button>`}`;
}

function Standing({ job }) {
  const now = useNow();
  const done = finishedOf(job);
  const took = between(job.created_at, job.finished_at, now);
  const tone = { succeeded: "good", failed: "bad", cancelled: "off", pending: "wait" }[job.state] ?? "live";
  const left = !isOver(job) && !job.cancel_requested && done > 0 && took > 0 ? ((job.total - done) * took) / done : null;
  return html`<section class=${`standing ${tone}`}>
    <p class="big" aria-live="polite"><${State} task=${job} /> <b>${number(done)}</b> of ${count(job.total, "task")} finished</p>
    ${job.reason && html`<p>${sentence(job.reason)}</p>`}
    <${Progress} job=${job} />
    <${Counts} job=${job} />
    <p class="small">${isOver(job) ? `It took ${duration(took)}` : `For ${duration(took)}`}${done > 0 && took > 0 ? `, ${pace(done / took)}` : ""}${left === null ? "" : `; about ${duration(left)} more at this pace`}.</p>
  </section>`;
}

const pace = (perSecond) =>
  perSecond >= 1 ? `${number(Number(perSecond.toFixed(perSecond < 10 ? 1 : 0)))} tasks a second` : `${number(Number((perSecond * 60).toFixed(1)))} tasks a minute`;

const CHOICES = [["", "All"], ["pending,assigned,running", "Not finished"], ["succeeded", "Succeeded"], ["failed", "Failed"], ["cancelled", "Cancelled"]];

function Tasks({ job }) {
  const [state, setState] = useState("");
  return html`<section class="card of-job"><h2>Its tasks <a class="more" href=${`/tasks?job_id=${job.id}`}>With all filters</a></h2>
    <div class="chips" role="group" aria-label="States">${CHOICES.map(
      ([value, title]) => html`<button key=${value} class="chip" aria-pressed=${String(value === state)} onClick=${() => setState(value)}>${title}</button>`,
    )}</div>
    <${List} key=${state} job=${job} state=${state} /></section>`;
}

function List({ job, state }) {
  const paged = usePaged((token) => `/tasks${query({ job_id: job.id, state, order_by: "created_at", view: "minimal", page_size: PAGE, page_token: token })}`, {
    all: !isOver(job),
  });
  const { value, problem, reload } = paged;
  if (problem && !value) return html`<${Trouble} problem=${problem} again=${reload} />`;
  if (!value) return html`<${Loading} lines=${10} />`;
  if (!value.tasks.length && paged.first) return html`<p class="soft">${state ? "None of its tasks is in this state." : "Its tasks are being made."}</p>`;
  return html`${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${TaskTable} tasks=${value.tasks} label="Tasks of the job" ofJob />
    ${(paged.newer || paged.older) && html`<${Pages} paged=${paged} label="Pages of its tasks" words=${["Before", "After"]} />`}`;
}

function Results({ job }) {
  const place = `${BASE}/jobs/${job.id}/results`;
  const done = finishedOf(job);
  return html`<section class="card"><h2>Results</h2>
    <p>A line for each task${isOver(job) ? "" : " that is finished"}: its values, how it ended, and the beginning of what it printed.</p>
    ${done > 0
      ? html`<p class="actions"><a class="button" download href=${`${place}.csv`}><${Icon} name="down" />CSV</a>
          <a class="button" download href=${`${place}.ndjson`}><${Icon} name="down" />NDJSON</a></p>`
      : html`<p class="soft">None is finished yet.</p>`}</section>`;
}

/** Why the first of them failed. */
function Failures({ job }) {
  const { value } = useLoaded(
    (signal) => get(`/tasks${query({ job_id: job.id, state: "failed", order_by: "created_at", view: "minimal", page_size: MOST_FAILED })}`, signal),
    [job.id, Math.min(job.counts.failed, MOST_FAILED)],
  );
  if (!value) return html`<section class="card"><h2>Why they failed</h2><${Loading} lines=${2} /></section>`;
  const reasons = new Map();
  for (const { exit_reason: reason } of value.tasks) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const sorted = [...reasons].sort(([, a], [, b]) => b - a);
  return html`<section class="card"><h2>Why they failed</h2>
    ${value.next_page_token && html`<p class="small">Of the first ${number(MOST_FAILED)} that did</p>`}
    <ul class="bars">${sorted.map(
      ([reason, many]) => html`<li key=${reason}><a href=${`/tasks?job_id=${job.id}&exit_reason=${reason}`}>${REASONS[reason] ?? reason}</a>
        <span class="number">${number(many)}</span><meter class="bad" max=${sorted[0][1]} value=${many} aria-hidden="true"></meter></li>`,
    )}</ul></section>`;
}

function Asked({ job }) {
  const { task } = job;
  return html`<section class="card"><h2>What was asked</h2>
    ${task.compile && html`<h3>Compile</h3><${Code} label="compile command" text=${shown(task.compile.command)} />`}
    ${task.execute && html`<h3>Execute</h3><${Code} label="execute command" text=${shown(task.execute.command)} />`}
    <dl class="pairs">
      <dt>Values of</dt><dd>${[...job.names, "index"].map((name) => html`<code key=${name} class="chip">{${name}}</code> `)}</dd>
      <dt>At a time</dt><dd>${job.max_parallel === null ? "as many as there is room for" : `at most ${number(job.max_parallel)}`}</dd>
      <dt>Failures</dt><dd>${job.max_failures === null ? "any number" : `after more than ${number(job.max_failures)} the rest is cancelled`}</dd>
      <dt>Files given</dt><dd>${task.inputs.map(({ path }) => path).join(", ") || "none"}</dd>
    </dl></section>`;
}
