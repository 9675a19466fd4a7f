// One task: how it stands and why, its output as it comes, what it used, and what can be done with it.
import { BASE, get, newKey, post, submit } from "../api.js";
import { bytes, count, duration, number, sentence } from "../format.js";
import { Live } from "../live.js";
import { go } from "../router.js";
import { shown, specOf } from "../spec.js";
import { isOver, outcome, VERDICTS, whole } from "../words.js";
import { html, throttle, useEffect, useLoaded, useState } from "../ui.js";
import { Code, Copy, Empty, Loading, State, Time, Trouble, Verdict } from "../parts/basics.js";
import { Commands } from "../parts/commands.js";
import { Difference } from "../parts/difference.js";
import { Icon } from "../parts/icons.js";
import { MoreExecutors } from "../parts/more_executors.js";
import { Output } from "../parts/output.js";
import { useCounts } from "../parts/paged.js";
import { Timeline } from "../parts/timeline.js";
import { Usage } from "../parts/usage.js";
import { say, soon } from "../parts/undo.js";

/** The task whole once, and what changes of it after each line of its story. */
async function load(id, signal) {
  const place = `/tasks/${encodeURIComponent(id)}`;
  const [task, { attempts }, why] = await Promise.all([
    get(place, signal),
    get(`${place}/attempts`, signal),
    get(`${place}/explain`, signal).catch(() => null),
  ]);
  return { task, attempts, why };
}

export function TaskPage({ id }) {
  const { value, problem, reload } = useLoaded((signal) => load(id, signal), [id]);
  const known = value !== null;
  useEffect(() => {
    if (!known || isOver(value.task)) return undefined;
    const again = throttle(reload, 300);
    const kinds = ["assigned", "started", "phase_entered", "ended", "lost", "returned", "cancel_requested", "amended", "cancelled", "end"];
    const live = new Live(() => `/tasks/${id}/events?follow=1`, Object.fromEntries(kinds.map((kind) => [kind, again])));
    return () => {
      live.close();
      again.stop();
    };
  }, [id, known]);
  if (!known) return problem ? html`<${Missing} id=${id} problem=${problem} again=${reload} />` : html`<h1 class="unseen">Task</h1><${Loading} lines=${8} />`;
  const { task, attempts, why } = value;
  const compared = task.expected_output !== null && task.result?.execute && task.verdict !== "accepted" && html`<${Compared} task=${task} />`;
  return html`
    <${Head} task=${task} reload=${reload} />
    ${problem && html`<${Trouble} problem=${problem} again=${reload} />`}
    <${Standing} task=${task} why=${why} />
    ${task.state === "pending" && html`<${Queued} again=${reload} />`}
    <div class="columns">
      <div class="stack">
        ${task.verdict === "wrong_answer" && compared}
        <${Output} task=${task} />
        ${task.verdict !== "wrong_answer" && compared}
        <${Asked} task=${task} />
        <${Commands} task=${specOf(task)} />
      </div>
      <div class="stack">
        <${Timeline} task=${task} attempts=${attempts} />
        <${Usage} usage=${why?.usage} enforced=${task.enforced} />
        <${Files} task=${task} />
      </div>
    </div>
  `;
}

function Missing({ id, problem, again }) {
  if (problem.status === 404 || problem.status === 400) {
    return html`<h1 class="unseen">Task</h1><${Empty} title="There is no such task">
      <p>No task <code>${id}</code> is here, or it belongs to somebody else. It may have been removed.</p>
      <p><a class="button" href="/tasks">All tasks</a></p></${Empty}>`;
  }
  return html`<h1 class="unseen">Task</h1><${Trouble} problem=${problem} again=${again} />`;
}

function Head({ task, reload }) {
  const over = isOver(task);
  const name = task.name || `Task ${task.id.slice(-6)}`;
  const [key] = useState(newKey);
  const cancel = () =>
    soon(`${name} is cancelled in 5 seconds`, async (more) => {
      await post(`/tasks/${task.id}/cancel`, {}, more);
      reload();
    });
  const rerun = async () => {
    try {
      go(`/tasks/${(await submit({}, key, `/tasks/${task.id}/retry`)).id}`);
    } catch (problem) {
      say(problem.detail);
    }
  };
  return html`<header class="title">
    <div><h1>${name}</h1>
      <p class="soft"><code class="id">${task.id}</code><${Copy} text=${task.id} label="Copy the id" />
        ${task.owner && html` by ${task.owner},`} created <${Time} at=${task.created_at} />
        ${task.retried_from && html`, again after <a href=${`/tasks/${task.retried_from}`}>${task.retried_from.slice(-6)}</a>`}</p></div>
    <p class="actions acts">
      ${over
        ? html`<button onClick=${rerun}><${Icon} name="run" />Run again</button>`
        : html`<button class="danger" onClick=${cancel} disabled=${task.cancel_requested}><${Icon} name="slash" />Cancel</button>`}
      <a class="button" href=${`/new?from=${task.id}`}><${Icon} name="copy" />Clone and edit</a>
    </p>
  </header>`;
}

/** Where it stands, in plain words, and what to do. */
function Standing({ task, why }) {
  const ended = outcome(task);
  const nobody = task.state === "pending" && why?.executors?.length === 0;
  const tone = ended?.tone ?? { succeeded: "good", pending: "wait" }[task.state] ?? "live";
  return html`<section class=${`standing ${tone}`} aria-live="polite">
      <p class="big"><${State} task=${task} />${task.state !== "pending" && task.executor && html` <span class="soft">on ${task.executor}</span>`}
        ${VERDICTS[task.verdict] && task.verdict !== "wrong_answer" && html` <${Verdict} verdict=${task.verdict} />`}</p>
      ${ended && html`<p><b>${ended.what}</b></p><p>${ended.advice}</p>`}
      ${!ended && (why?.reason || task.reason) && html`<p>${sentence(why?.reason || task.reason)}</p>`}
      ${task.state === "pending" && why?.executors?.some((one) => one.obstacles.length) && html`<${Obstacles} executors=${why.executors} />`}
    </section>
    ${nobody && html`<${MoreExecutors} />`}`;
}

/** The place in the queue changes with the counts of tasks, without a line in the task's own story. */
function Queued({ again }) {
  useCounts(again);
  return null;
}

function Obstacles({ executors }) {
  return html`<details><summary>What keeps ${count(executors.length, "executor")} from it</summary>
    <ul>${executors.map((one) => html`<li key=${one.id}><b>${one.id}</b>: ${one.obstacles.join("; ") || "nothing"}</li>`)}</ul></details>`;
}

/** The output from its beginning, for the comparison: the result has only a part of a long one. */
const COMPARED = 256 * 1024;

function Compared({ task }) {
  const { stdout } = task.result.execute;
  const all = whole(stdout);
  const { value } = useLoaded(async (signal) => {
    if (all !== null) return all;
    const answer = await fetch(`${BASE}/tasks/${task.id}/logs/execute/stdout`, { signal, headers: { Range: `bytes=0-${COMPARED - 1}` } });
    if (!answer.ok) throw new Error(String(answer.status));
    return new TextDecoder().decode(await answer.arrayBuffer());
  }, [task.id, stdout.size]);
  const actual = all ?? value;
  if (actual === null) return html`<section class="card"><h2>Expected and actual output</h2><div class="diff"><${Loading} lines=${16} /></div></section>`;
  return html`<${Difference} expected=${task.expected_output} actual=${actual} checker=${task.checker} cut=${stdout.size > COMPARED} />`;
}

function Files({ task }) {
  const files = task.outputs ?? [];
  if (!files.length && !task.output_globs.length) return null;
  const place = `${BASE}/tasks/${task.id}/outputs`;
  return html`<section class="card"><h2>Files that it made</h2>
    ${files.length === 0 && html`<p class="soft">${isOver(task) ? "Nothing matched" : "Collected at its end"}: ${task.output_globs.map(({ glob }) => glob).join(", ")}</p>`}
    <ul class="rows">${files.map(
      (file) => html`<li key=${file.path}><${Icon} name="file" /><a download href=${`${place}/${file.path.split("/").map(encodeURIComponent).join("/")}`}>${file.path}</a>
        <span class="soft end">${bytes(file.size)}</span></li>`,
    )}</ul>
    ${files.length > 1 && html`<p><a class="button" download href=${`${place}.zip`}><${Icon} name="down" />All as a zip</a></p>`}
  </section>`;
}

/** What was asked for. */
function Asked({ task }) {
  const labels = Object.entries(task.labels);
  const constraints = Object.entries(task.constraints);
  const { cpus, memory } = task.resources;
  return html`<section class="card"><h2>What was asked</h2>
    ${task.compile && html`<h3>Compile</h3><${Code} label="compile command" text=${shown(task.compile.command)} />`}
    ${task.execute && html`<h3>Execute</h3><${Code} label="execute command" text=${shown(task.execute.command)} />`}
    ${task.execute?.stdin && html`<details><summary>Standard input (${bytes(task.execute.stdin.length)})</summary><${Code} label="standard input" text=${task.execute.stdin} /></details>`}
    ${task.inputs.map((input) => html`<details key=${input.path}><summary>${input.path}</summary>${input.content !== undefined && input.encoding === "utf-8" ? html`<${Code} label=${input.path} text=${input.content} />` : html`<p class="soft">A stored file, not text.</p>`}</details>`)}
    <dl class="pairs">
      ${task.job_id && html`<dt>Job</dt><dd><a href=${`/jobs/${task.job_id}`}>${task.job_id.slice(-6)}</a>, task ${number(task.job_index)}</dd>`}
      <dt>User</dt><dd>${task.user}</dd>
      <dt>Priority</dt><dd>${task.priority}</dd>
      ${labels.length > 0 && html`<dt>Labels</dt><dd>${labels.map(([key, value]) => html`<a key=${key} class="chip" href=${`/tasks?label=${encodeURIComponent(`${key}=${value}`)}`}>${key}=${value}</a> `)}</dd>`}
      ${constraints.length > 0 && html`<dt>Runs where</dt><dd>${constraints.map(([key, value]) => html`<span key=${key} class="chip">${key}=${value}</span> `)}</dd>`}
      ${cpus !== 1 && html`<dt>CPUs</dt><dd>${number(cpus)}</dd>`}
      ${memory > 0 && html`<dt>Memory</dt><dd>${bytes(memory)}</dd>`}
      ${task.isolation !== "basic" && html`<dt>Isolation</dt><dd>${task.isolation}</dd>`}
      ${(task.network || task.isolation === "strict") && html`<dt>Network</dt><dd>${task.network ? "yes" : "no"}</dd>`}
      <dt>Attempts</dt><dd>at most ${task.retry.max_attempts}</dd>
      ${task.queue_timeout !== null && html`<dt>Waits</dt><dd>at most ${duration(task.queue_timeout)} at a time</dd>`}
      ${task.depends_on.length > 0 && html`<dt>Starts when</dt><dd>${task.depends_on.map(({ task_id: other, condition }) => html`<div key=${other}><a href=${`/tasks/${other}`}><code>${other}</code></a> has ${condition}</div>`)}</dd>`}
    </dl></section>`;
}
