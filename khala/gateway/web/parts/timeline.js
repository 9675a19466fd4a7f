// How a task's time went: waiting, each phase, each attempt.
import { absolute, between, duration } from "../format.js";
import { STATES, STORY, isOver } from "../words.js";
import { html, useNow } from "../ui.js";
import { Time } from "./basics.js";

/** The spans of the newest attempt: `[{ name, tone, seconds }]`. */
function spans(task, nowMs) {
  const found = [];
  const add = (name, tone, seconds) => seconds !== null && seconds >= 0 && found.push({ name, tone, seconds });
  const { compile, execute } = task.result ?? {};
  const over = task.finished_at;
  if (!task.started_at) {
    add("Waiting", "wait", between(task.created_at, over, nowMs));
    return found;
  }
  add(task.attempt > 1 ? "Before this attempt" : "Waiting", "wait", between(task.created_at, task.started_at));
  if (compile) add("Compile", "compile", compile.wall_time);
  if (execute) add("Execute", "execute", execute.wall_time);
  if (!isOver(task)) {
    const entered = (task.events ?? []).findLast((event) => event.kind === "phase_entered" && event.attempt === task.attempt);
    if (entered) add("Compile", "compile", between(task.started_at, entered.at));
    add(task.phase === "compile" ? "Compile" : "Execute", task.phase === "compile" ? "compile" : "execute", between(entered?.at ?? task.started_at, null, nowMs));
  } else if (!compile && !execute) add("Attempt", "execute", between(task.started_at, over));
  return found;
}

export function Timeline({ task, attempts }) {
  const now = useNow();
  const parts = spans(task, now);
  const whole = between(task.created_at, task.finished_at, now);
  return html`<section class="card">
    <h2>Timeline <span class="soft more">${duration(whole)} in all</span></h2>
    <div class="spans" role="img" aria-label=${parts.map(({ name, seconds }) => `${name} ${duration(seconds)}`).join(", ")}>
      ${parts.map(({ name, tone, seconds }) => html`<span key=${name} class=${`span ${tone}`} style=${{ flexGrow: 1000 * Math.max(seconds / (whole || 1), 0.02) }}></span>`)}
    </div>
    <ul class="legend">${parts.map(({ name, tone, seconds }) => html`<li key=${name}><i class=${`key ${tone}`}></i>${name} <b>${duration(seconds)}</b></li>`)}</ul>
    ${attempts?.length > 0 && html`<${Attempts} attempts=${attempts} />`}
    ${task.events && html`<details><summary>The whole story (${task.events.length})</summary><${Story} events=${task.events} /></details>`}
  </section>`;
}

function Attempts({ attempts }) {
  return html`<h3>Attempts</h3><ol class="attempts">${attempts.map(
    (one) => html`<li key=${one.attempt}><b>${one.attempt}</b>
      <span><a href=${`/executors#${one.executor}`}>${one.executor}</a>, <${Time} at=${one.started_at ?? one.assigned_at} />${
        one.ended_at && one.started_at ? `, took ${duration(between(one.started_at, one.ended_at))}` : ""}
        <br /><span class="soft">${one.outcome ? (STATES[one.outcome]?.word ?? STORY[one.outcome] ?? one.outcome) : "Still going"}${one.detail && `: ${one.detail}`}</span></span></li>`,
  )}</ol>`;
}

function Story({ events }) {
  return html`<ol class="story">${events.map(
    (event) => html`<li key=${event.rev}><time datetime=${event.at} title=${absolute(event.at)}>${new Date(event.at).toLocaleTimeString()}</time>
      <span><b>${STORY[event.kind] ?? event.kind}</b>${event.executor && html` on ${event.executor}`}${event.detail && html`<span class="soft"> ${event.detail}</span>`}</span></li>`,
  )}</ol>`;
}
